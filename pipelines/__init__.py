"""The jobs, one file per job. Only this package uses Ray Train and MLflow tracking."""
