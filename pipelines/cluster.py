"""Joining Ray, wherever the job runs: inside ``ray job submit``, against a named cluster, or on this machine alone.

Promises that the checkout this file belongs to is first on the path of every worker, before anything installed, so
that ``import datasets`` finds ours even where Hugging Face's library of that name is installed too. A cluster that
happens to run on this machine is joined only if ``RAY_ADDRESS`` says so.
"""

import logging
import os
from pathlib import Path

import ray

CHECKOUT = Path(__file__).resolve().parents[1]
_NOT_SHIPPED = [".git", ".venv", "quickstart", "runs", "mlruns", "mlflow.db", "**/__pycache__"]
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": os.environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"),
}


def connect(*, num_cpus: int | None = None) -> None:
    """Start or join Ray once per process; later calls do nothing.

    ``num_cpus`` sizes a cluster that is started here; it has no say over one that is joined.
    """
    if ray.is_initialized():
        return
    os.environ.update(_QUIET)
    settings = {"logging_level": logging.ERROR}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # ray job submit: the job's working_dir is already on every path
        ray.init(runtime_env={"env_vars": _QUIET}, **settings)
    elif "RAY_ADDRESS" in os.environ:
        ray.init(
            runtime_env={"working_dir": str(CHECKOUT), "excludes": _NOT_SHIPPED, "env_vars": _QUIET},
            **settings,
        )
    else:
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # nobody preempts this machine
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=True,  # Ray Train asks its state service whether a run's controller still lives
            dashboard_port=0,
            runtime_env={"env_vars": {**_QUIET, "PYTHONPATH": _python_path()}},
            **settings,
        )


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(CHECKOUT), *filter(None, inherited.split(os.pathsep))])
