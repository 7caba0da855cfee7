"""One door to every model: a folder, or a name in an MLflow registry.

A pull needs nothing but this package and MLflow (``mlflow-skinny`` will do); MLflow is imported when it is asked for.
Only the model folder is read from what was pulled: no code that came with it runs.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from motion_encoder.checkpoints import DESCRIPTION, Model, load_folder

REGISTRY_SCHEMES = ("models:/", "runs:/")
_ACCEPTED = "a model folder, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/NAME"


def load(where: str | Path) -> Model:
    """Return the model at ``where``: a ``DSTformer`` or an ``ActionModel``, in eval mode, with its ``card``.

    Args:
        where: a model folder, or ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/RUN_ID/NAME`` in the
            registry that ``MLFLOW_TRACKING_URI`` names.

    Raises:
        ValueError: there is no model at ``where``, or not one that this version can read.
        ModuleNotFoundError: a registry is asked for and MLflow is not installed.
    """
    if str(where).startswith(REGISTRY_SCHEMES):
        return _pull(str(where))
    folder = Path(where)
    if not folder.is_dir():
        problem = "this is a file" if folder.is_file() else "there is no such folder"
        raise ValueError(f"{where}: {problem}. Expected {_ACCEPTED}.")
    return load_folder(folder)


def _pull(uri: str) -> Model:
    try:
        from mlflow import get_registry_uri
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{uri}: reading a registry needs MLflow: pip install mlflow") from error

    with TemporaryDirectory(prefix="motion_encoder_") as scratch:
        try:
            tree = download_artifacts(artifact_uri=uri, dst_path=scratch)
        except MlflowException as error:
            registry = f"{get_registry_uri()} (MLFLOW_TRACKING_URI)"
            raise ValueError(f"{uri}: cannot be pulled from the registry {registry}: {error}") from error
        found = sorted(Path(tree).rglob(DESCRIPTION))
        if len(found) != 1:
            raise ValueError(f"{uri}: expected one {DESCRIPTION} in what was pulled, found {len(found)}")
        return load_folder(found[0].parent)
