"""Load any model: from a local folder or file, a URL, or an MLflow registry.

Files are recognised by their content: our own format (``checkpoints``) and those of other code
(``foreign_checkpoints``). Remote models are first downloaded into a temporary folder, without unrelated files. A
registry needs only this package and MLflow (``mlflow-skinny`` is enough), a URL needs fsspec; both are imported when
they are needed. No code that is stored with a model is run.
"""

import logging
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
from motion_encoder.io.foreign_checkpoints import Part, is_published_file, open_published, read_published
from motion_encoder.io.model_spec import Description, StoredModel, naming
from motion_encoder.model.motion_model import MotionModel

logger = logging.getLogger(__name__)

REGISTRY_SCHEMES = ("models:/", "runs:/")
_ACCEPTED = (
    "a model folder, a .safetensors file of this library, an official or MMPose file, the URL of one of these, "
    "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/NAME"
)


def load(
    where: str | Path,
    *,
    part: Part | None = None,
    num_heads: int | None = None,
    labels: tuple[str, ...] | None = None,
    weights: str | None = None,
) -> MotionModel:
    """Return the model at ``where``: a ``DSTformer`` or a model of another task, in eval mode, with its ``card``.

    Args:
        where: a model folder, a ``.safetensors`` file of this library, an official ``.bin``, an MMPose ``.pth``, or a
            state dict of such a network from ``torch.save``, Lightning or safetensors; the URL of one of these
            (``s3://…``, ``https://…``, any fsspec URL); or ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``,
            ``runs:/RUN_ID/NAME`` in the registry at ``MLFLOW_TRACKING_URI``.
        part: "encoder" for the encoder of an action model, or of an official one-shot or mesh file, whose heads are not
            supported. Its card has the licences and facts, but not the scores, which are those of the whole model.
        num_heads: number of attention heads of an official or MMPose file, which does not state it. By default 8, as in
            all published models, and a warning is logged.
        labels: class names of an official action file; "class 0", "class 1", ... by default.
        weights: the set of weights to use if a file of other code has several, for example those of training and their
            moving average; the error message lists their names.

    Raises:
        ValueError: there is no model at ``where``, this version cannot read it, or an option has no effect on it.
        ModuleNotFoundError: a registry needs MLflow, or a URL needs fsspec or a package of fsspec's, which is missing.
    """
    return load_with_task(where, part=part, num_heads=num_heads, labels=labels, weights=weights)[0]


def load_with_task(
    where: str | Path,
    *,
    part: Part | None = None,
    num_heads: int | None = None,
    labels: tuple[str, ...] | None = None,
    weights: str | None = None,
) -> tuple[MotionModel, str]:
    """Return the model and the name of its task; arguments and errors as in ``load``.

    Official and MMPose files do not distinguish pretrained encoders from 3D pose models: both count as the latter.
    """
    with local_copy(where) as path, naming(path / DESCRIPTION if path.is_dir() else path):
        stored = _read(path, part, num_heads, labels, weights)
        for assumed in stored.assumed:
            logger.warning("%s: %s", where, assumed)
        return _part_of(stored.assemble(), stored, part)


def describe(where: str | Path) -> Description:
    """Return the description of a model without reading its weights into memory; errors as in ``load``."""
    with local_copy(where) as path, naming(path / DESCRIPTION if path.is_dir() else path):
        if path.is_dir():
            return describe_folder(path)
        if is_published_file(path):
            return open_published(path).fit(part=None).description
        return describe_file(path)


def _read(
    path: Path, part: Part | None, num_heads: int | None, labels: tuple[str, ...] | None, weights: str | None
) -> StoredModel:
    if not path.is_dir() and is_published_file(path):
        return read_published(path, part=part, num_heads=num_heads, labels=labels, weights=weights)
    for name, value in (("num_heads", num_heads), ("labels", labels), ("weights", weights)):
        if value is not None:
            raise ValueError(
                f"{name} is for official and MMPose files; a model of this library states it: leave it out"
            )
    return read_folder(path) if path.is_dir() else read_file(path)


def _part_of(model: MotionModel, stored: StoredModel, part: Part | None) -> tuple[MotionModel, str]:
    if part is None:
        return model, stored.description.task
    if (encoder := model.encoder) is not model:
        encoder.head.requires_grad_(True)
        encoder.card = replace(model.card, scores=())
        return encoder, "encoder"
    if not stored.is_part:
        raise ValueError('part="encoder": the model is already an encoder (with its 3D head): leave part out')
    return model, "encoder"


@contextmanager
def local_copy(where: str | Path) -> Iterator[Path]:
    """Yield the local file or folder at ``where``, or a temporary copy of a remote one, which is deleted afterwards.

    Raises:
        ValueError: as in ``load``. Errors from inside the ``with`` block name ``where`` instead of the copy.
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
            raise ValueError(f"{where}: no such folder or file. Expected {_ACCEPTED}.")
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
        raise ValueError(f"{uri}: expected one {DESCRIPTION} in the downloaded files, found {len(found)}")
    return found[0].parent


def _fetch(url: str, scratch: Path) -> Path:
    """Copy a file, or the two files of a model folder, without listing it (web servers cannot list)."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{url}: reading a URL needs fsspec: pip install fsspec") from error

    copy = scratch / "model"
    try:
        filesystem, place = fsspec.url_to_fs(url.rstrip("/"))
        is_folder = "?" not in place and filesystem.exists(
            f"{place}/{DESCRIPTION}"
        )  # a URL with a query is a single file
        if is_folder:
            copy.mkdir()
            filesystem.get_file(f"{place}/{DESCRIPTION}", str(copy / DESCRIPTION))
            weights = weights_name((copy / DESCRIPTION).read_bytes())
            filesystem.get_file(f"{place}/{weights}", str(copy / weights))
        else:
            filesystem.get_file(place, str(copy))
    except ImportError as error:
        raise ModuleNotFoundError(f"{url}: {error}. Install it with pip.") from error
    except Exception as error:  # each kind of storage raises its own exceptions
        raise ValueError(f"{url}: cannot be fetched: {type(error).__name__}: {error}. Expected {_ACCEPTED}.") from error
    return copy
