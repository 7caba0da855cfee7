"""One door to every model: a folder or file on this machine, anywhere that fsspec reaches, or in an MLflow registry.

Files are known by their content: ours (``checkpoints``), official and MMPose ones (``published``). What lies elsewhere
is fetched into a temporary folder first, and only what makes the model. A pull from a registry needs nothing but this
package and MLflow (``mlflow-skinny`` will do), a URL needs fsspec; both are imported when they are asked for. No code
that came with a model runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from motion_encoder.io.checkpoints import (
    DESCRIPTION,
    describe_file,
    describe_folder,
    read_file,
    read_folder,
    weights_name,
)
from motion_encoder.io.foreign_checkpoints import Part, is_torch_file, open_published, read_published
from motion_encoder.io.model_spec import Description, StoredModel, naming
from motion_encoder.model.motion_model import MotionModel

REGISTRY_SCHEMES = ("models:/", "runs:/")
_ACCEPTED = (
    "a model folder, a .safetensors file of ours, an official or MMPose file, the URL of one of these, "
    "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/NAME"
)


def load(
    where: str | Path, *, part: Part | None = None, num_heads: int | None = None, labels: tuple[str, ...] | None = None
) -> MotionModel:
    """Return the model at ``where``: a ``DSTformer`` or a model of another task, in eval mode, with its ``card``.

    Args:
        where: a model folder, a ``.safetensors`` file of ours, an official ``.bin``, an MMPose ``.pth``; the URL of one
            of these (``s3://…``, ``https://…``, whatever fsspec knows); or ``models:/NAME@ALIAS``,
            ``models:/NAME/VERSION``, ``runs:/RUN_ID/NAME`` in the registry that ``MLFLOW_TRACKING_URI`` names.
        part: "encoder" for the encoder of an action model, or of an official one-shot or mesh file, whose heads this
            version has not. Its card keeps licences and facts; scores are those of the whole model, and stay with it.
        num_heads: attention heads of an official or MMPose file, which does not show them; 8, as in all published
            models, if it is left out.
        labels: names of the classes of an official action file; "class 0", "class 1", ... if they are left out.

    Raises:
        ValueError: there is no model at ``where``, not one that this version can read, or an option does nothing there.
        ModuleNotFoundError: a registry or URL is asked for, and MLflow, fsspec or what fsspec needs is not installed.
    """
    return load_with_task(where, part=part, num_heads=num_heads, labels=labels)[0]


def load_with_task(
    where: str | Path, *, part: Part | None = None, num_heads: int | None = None, labels: tuple[str, ...] | None = None
) -> tuple[MotionModel, str]:
    """Return the model and what it is for; arguments and errors as in ``load``.

    Official and MMPose files do not tell pretrained encoders from 3D pose models: they count as the latter.
    """
    with local_copy(where) as path, naming(path / DESCRIPTION if path.is_dir() else path):
        stored = _read(path, part, num_heads, labels)
        return _part_of(stored.assemble(), stored, part)


def describe(where: str | Path) -> Description:
    """Return what a model says of itself, without reading its weights into memory; errors as in ``load``."""
    with local_copy(where) as path, naming(path / DESCRIPTION if path.is_dir() else path):
        if path.is_dir():
            return describe_folder(path)
        if is_torch_file(path):
            return open_published(path).fit(part=None).description
        return describe_file(path)


def _read(path: Path, part: Part | None, num_heads: int | None, labels: tuple[str, ...] | None) -> StoredModel:
    if not path.is_dir() and is_torch_file(path):
        return read_published(path, part=part, num_heads=num_heads, labels=labels)
    for name, value in (("num_heads", num_heads), ("labels", labels)):
        if value is not None:
            raise ValueError(f"{name} is for official and MMPose files; a model of ours states it itself: leave it out")
    return read_folder(path) if path.is_dir() else read_file(path)


def _part_of(model: MotionModel, stored: StoredModel, part: Part | None) -> tuple[MotionModel, str]:
    if part is None:
        return model, stored.description.task
    if (encoder := model.encoder) is not model:
        encoder.head.requires_grad_(True)
        encoder.card = replace(model.card, scores=())
        return encoder, "encoder"
    if not stored.is_part:
        raise ValueError('part="encoder": this is an encoder with its 3D head, and has no other parts: leave part out')
    return model, "encoder"


@contextmanager
def local_copy(where: str | Path) -> Iterator[Path]:
    """Give the file or folder at ``where``, or a temporary copy that goes afterwards.

    Raises:
        ValueError: as in ``load``. Those that come out of the body name ``where`` instead of the copy.
        ModuleNotFoundError: as in ``load``.
    """
    if isinstance(where, str) and (where.startswith(REGISTRY_SCHEMES) or "://" in where):
        with TemporaryDirectory(prefix="motion_encoder_") as scratch:
            copy = (_pull if where.startswith(REGISTRY_SCHEMES) else _fetch)(where, Path(scratch))
            try:
                yield copy
            except ValueError as error:
                raise ValueError(str(error).replace(str(copy), where.rstrip("/"))) from error
    else:
        if not Path(where).exists():
            raise ValueError(f"{where}: there is no such folder or file. Expected {_ACCEPTED}.")
        yield Path(where)


def _pull(uri: str, scratch: Path) -> Path:
    try:
        from mlflow import get_registry_uri
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{uri}: reading a registry needs MLflow: pip install mlflow") from error

    try:
        tree = download_artifacts(artifact_uri=uri, dst_path=str(scratch))
    except MlflowException as error:
        registry = f"{get_registry_uri()} (MLFLOW_TRACKING_URI)"
        raise ValueError(f"{uri}: cannot be pulled from the registry {registry}: {error}") from error
    found = sorted(Path(tree).rglob(DESCRIPTION))
    if len(found) != 1:
        raise ValueError(f"{uri}: expected one {DESCRIPTION} in what was pulled, found {len(found)}")
    return found[0].parent


def _fetch(url: str, scratch: Path) -> Path:
    """Copy a file, or the two files of a model folder. No listing is needed: web servers have none."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{url}: reading a URL needs fsspec: pip install fsspec") from error

    copy = scratch / "model"
    try:
        filesystem, place = fsspec.url_to_fs(url.rstrip("/"))
        is_folder = "?" not in place and filesystem.exists(f"{place}/{DESCRIPTION}")  # a query names one file
        if is_folder:
            copy.mkdir()
            filesystem.get_file(f"{place}/{DESCRIPTION}", str(copy / DESCRIPTION))
            weights = weights_name((copy / DESCRIPTION).read_bytes())
            filesystem.get_file(f"{place}/{weights}", str(copy / weights))
        else:
            filesystem.get_file(place, str(copy))
    except ImportError as error:
        raise ModuleNotFoundError(f"{url}: {error}. Install it with pip.") from error
    except Exception as error:  # each kind of storage has errors of its own
        raise ValueError(f"{url}: cannot be fetched: {type(error).__name__}: {error}. Expected {_ACCEPTED}.") from error
    return copy
