"""The jobs, one file per job. The only place that knows Ray Train and MLflow."""
