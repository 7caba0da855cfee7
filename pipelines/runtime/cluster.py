"""Start or join Ray, for a job in ``ray job submit``, a job on the cluster at ``RAY_ADDRESS``, or a local job.

On every worker, the checkout of this file is first on the import path, so that ``import datasets`` finds our package
even if Hugging Face's library of the same name is installed. A cluster that is already running on this machine is
joined only if ``RAY_ADDRESS`` is set.
"""

import importlib.util
import logging
import os
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import ray

CHECKOUT = Path(__file__).resolve().parents[2]
_NOT_SHIPPED = [".git", ".venv", "quickstart", "runs", "mlruns", "mlartifacts", "mlflow.db", "**/__pycache__"]
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_DEDUP_LOGS": "0",  # progress lines differ only in their numbers, so Ray would drop them
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": os.environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"),
}


_SHIPPED = ("MOTION_BODY_MODELS",)
"""Environment variables of the driver that readers need on every node."""


def connect(*, num_cpus: int | None = None, outside: Collection[str] = ()) -> None:
    """Start or join Ray once per process; later calls do nothing.

    Args:
        num_cpus: number of CPUs of a cluster that is started here; no effect on a cluster that is joined.
        outside: modules that the user named, such as ``lab_motion.reader``, which workers have to import, too. Local
            workers import them from the same path as the driver; for a cluster, their packages are uploaded.

    Raises:
        ValueError: a module cannot be found, or there is no cluster at ``RAY_ADDRESS``.
    """
    if ray.is_initialized():
        return
    os.environ.update(_QUIET)
    settings = _QUIET | {name: os.environ[name] for name in _SHIPPED if name in os.environ}
    packages = packages_of(outside)
    shipped = {"py_modules": [str(package) for package in packages]} if packages else {}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # ray job submit: the job's working_dir is already on every path
        ray.init(runtime_env=_runtime_env(settings) | shipped, logging_level=logging.ERROR)
    elif "RAY_ADDRESS" in os.environ:
        _join(_runtime_env(settings) | shipped | {"working_dir": str(CHECKOUT), "excludes": _NOT_SHIPPED})
    else:
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # this machine cannot be preempted
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=True,  # Ray Train asks its state service whether a run's controller is alive
            dashboard_port=0,
            runtime_env=_runtime_env({**settings, "PYTHONPATH": _python_path(packages)}),
            logging_level=logging.ERROR,
        )


def packages_of(modules: Iterable[str]) -> list[Path]:
    """Return the folder or file of each module's top-level package, except for packages that all workers have.

    Raises:
        ValueError: there is no such module on the path.
    """
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    places = {_place(module.partition(".")[0]) for module in modules}
    return sorted(place for place in places if place.parent not in {CHECKOUT, *installed})


def _place(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    found = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    if not found or found[0] is None:
        raise ValueError(
            f"{package}: expected a module that can be imported, found none. Run from the folder that contains it, or "
            "add that folder to PYTHONPATH."
        )
    return Path(found[0]).resolve()


def _runtime_env(env_vars: Mapping[str, str]) -> dict[str, Any]:
    return {"env_vars": dict(env_vars), "worker_process_setup_hook": f"{__name__}.{set_ray_address.__name__}"}


def set_ray_address() -> None:
    """Set RAY_ADDRESS to the worker's own cluster; Ray runs this first in every worker.

    Ray Train's watchdog asks "the cluster on this machine" whether a run is still alive. If there are two clusters, it
    might ask the wrong one, which would report the run as dead, and the watchdog would stop its workers.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def _join(runtime_env: dict[str, Any]) -> None:
    try:
        ray.init(runtime_env=runtime_env, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ValueError(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: expected a Ray cluster at this address, found none that accepts "
            f"the connection ({error}). If the cluster requires a token, set RAY_AUTH_MODE=token. To run only on this "
            "machine, unset RAY_ADDRESS."
        ) from error


def _python_path(packages: Iterable[Path]) -> str:
    inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(CHECKOUT), *inherited, *(str(package.parent) for package in packages)])
