"""Joining Ray, wherever the job runs: inside ``ray job submit``, against a named cluster, or on this machine alone.

Promises that the checkout this file belongs to is first on the path of every worker, before anything installed, so
that ``import datasets`` finds ours even where Hugging Face's library of that name is installed too. A cluster that
happens to run on this machine is joined only if ``RAY_ADDRESS`` says so.
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
    "RAY_DEDUP_LOGS": "0",  # progress lines differ in their numbers alone
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": os.environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"),
}


_SHIPPED = ("MOTION_BODY_MODELS",)
"""Settings of the driver's that readers need on every node, where they are set."""


def connect(*, num_cpus: int | None = None, outside: Collection[str] = ()) -> None:
    """Start or join Ray once per process; later calls do nothing.

    Args:
        num_cpus: Size of a cluster that is started here; one that is joined has its own.
        outside: Modules that the user named, such as ``lab_motion.reader``: workers must be able to import them too.
            Workers on this machine find them where the driver does; to a cluster their packages are shipped.

    Raises:
        ValueError: A module cannot be found, or there is no cluster at ``RAY_ADDRESS``.
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
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # nobody preempts this machine
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=True,  # Ray Train asks its state service whether a run's controller still lives
            dashboard_port=0,
            runtime_env=_runtime_env({**settings, "PYTHONPATH": _python_path(packages)}),
            logging_level=logging.ERROR,
        )


def packages_of(modules: Iterable[str]) -> list[Path]:
    """Return the folder of each module's package, or its file, unless the checkout or the environment has it.

    Raises:
        ValueError: There is no such module on the path.
    """
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    places = {_place(module.partition(".")[0]) for module in modules}
    return sorted(place for place in places if place.parent not in {CHECKOUT, *installed})


def _place(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    found = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    if not found or found[0] is None:
        raise ValueError(
            f"{package}: expected a module that can be imported, found none. Run from the folder that has it, or put "
            "that folder on PYTHONPATH."
        )
    return Path(found[0]).resolve()


def _runtime_env(env_vars: Mapping[str, str]) -> dict[str, Any]:
    return {"env_vars": dict(env_vars), "worker_process_setup_hook": f"{__name__}.{know_own_cluster.__name__}"}


def know_own_cluster() -> None:
    """Run first in every worker: name its cluster to what looks for one.

    Ray Train's helpers ask "the cluster on this machine" whether a run still lives. Where there are two, they would ask
    the wrong one, hear that it is dead, and take its workers away.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def _join(runtime_env: dict[str, Any]) -> None:
    try:
        ray.init(runtime_env=runtime_env, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ValueError(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: expected a Ray cluster there, found none that lets us in "
            f"({error}). If it asks for a token, set RAY_AUTH_MODE=token; to run on this machine alone, unset "
            "RAY_ADDRESS."
        ) from error


def _python_path(packages: Iterable[Path]) -> str:
    inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(CHECKOUT), *inherited, *(str(package.parent) for package in packages)])
