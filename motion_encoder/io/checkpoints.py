"""Models at rest: what training writes and everyone else reads, as a folder or as one file. Neither is a pickle.

A model is its description (``model_spec``) and tensors under their published names. They are kept in one of two ways:

- A folder. ``model.json`` is the description, with the name of the weights file and its SHA-256;
  ``model-DIGEST.safetensors`` holds the tensors (DIGEST: the start of that SHA-256).
- One ``.safetensors`` file, to hand on. The description is the text ``motion_encoder`` of its metadata, and ``sha256``
  is the digest of that text and of the tensors' bytes.

Each file is written aside and renamed, in a folder ``model.json`` last. That one rename is the moment at which a new
model replaces the old: a kill at any time leaves the one or the other whole, or, in a new place, none. One writer at a
time.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.io.model_spec import Description, StoredModel, naming
from motion_encoder.json_data import FIX, json_object
from motion_encoder.model.motion_model import MotionModel

DESCRIPTION = "model.json"
METADATA, DIGEST = "motion_encoder", "sha256"
MAX_HEADER = 100_000_000
"""Bytes of a safetensors header, as the format has it."""


def save(folder: str | Path, model: MotionModel, *, task: str, card: ModelCard) -> None:
    """Write a model folder, or replace the model in one.

    Args:
        folder: where to; made if it is not there.
        model: an encoder or 3D pose model (``DSTformer``), or a model of another task, such as ``ActionModel``.
        task: what the model is for.
        card: licences of the data, scores, and what else is known.

    Raises:
        ValueError: a task that does not fit the model, weights that are not float32, or a card with facts that JSON
            cannot hold. What is in the folder stays as it is.
    """
    folder = Path(folder)
    with naming(folder):
        _check_float32(model)
    weights = safetensors.torch.save(tensors_of(model), metadata={"format": "pt"})
    sha256 = hashlib.sha256(weights).hexdigest()
    name = f"model-{sha256[:12]}.safetensors"
    with naming(folder):
        text = Description.of(model, task=task, card=card).to_json(weights=name, sha256=sha256)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, weights)
    write_whole(folder / DESCRIPTION, text.encode())
    for old in folder.glob("model-*.safetensors*"):
        if old.name != name:
            old.unlink()


def save_file(path: str | Path, model: MotionModel, *, task: str, card: ModelCard) -> None:
    """Write one ``.safetensors`` file, or replace it; arguments and errors as in ``save``."""
    path = Path(path)
    with naming(path):
        _check_float32(model)
        text = Description.of(model, task=task, card=card).to_json()
    tensors = tensors_of(model)
    digest = _digest(text, safetensors.torch.save(tensors))
    data = safetensors.torch.save(tensors, metadata={"format": "pt", METADATA: text, DIGEST: digest})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)


def _check_float32(model: MotionModel) -> None:
    kinds = {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()}
    if kinds != {torch.float32}:
        raise ValueError(f"expected weights in float32, found {sorted(map(str, kinds))}: convert with model.float()")


def tensors_of(model: MotionModel) -> dict[str, Tensor]:
    """Return the model's tensors on the CPU, in order.

    Raises:
        ValueError: weights that are not float32.
    """
    _check_float32(model)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_folder(folder: str | Path) -> MotionModel:
    """Read a model folder: a ``DSTformer`` or a model of another task on the CPU, in eval mode, with its ``card``.

    Raises:
        ValueError: the folder holds no model, one of a newer format, or one whose files do not fit each other; the
            message lists what is wrong.
    """
    with naming(Path(folder) / DESCRIPTION):
        return read_folder(Path(folder)).assemble()


def read_folder(folder: Path) -> StoredModel:
    """Read both files of a model folder; errors as in ``load_folder``."""
    description, weights, sha256 = _parse_folder(folder)
    if not (folder / weights).is_file():
        raise ValueError(f"names {weights} as the weights, but there is no such file beside it. {FIX}")
    data = (folder / weights).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{weights} is damaged: expected SHA-256 {sha256}, found {found}. {FIX}")
    return StoredModel(description=description, tensors=_tensors(data))


def describe_folder(folder: Path) -> Description:
    """Read only what the folder says of its model; errors as in ``load_folder``, but those of the weights' content."""
    return _parse_folder(folder)[0]


def weights_name(model_json: bytes) -> str:
    """Return the name of the weights file that goes with the text of a ``model.json``.

    Raises:
        ValueError: the text is not of a model folder.
    """
    return _weights_name(json_object(model_json))


def _parse_folder(folder: Path) -> tuple[Description, str, str]:
    """Return the description, and name and SHA-256 of the weights."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError("no such file: this is no model folder, or saving was not finished")
    values = json_object(path.read_bytes())
    beside = {"weights", "sha256"} & values.keys()
    description = Description.parse({name: value for name, value in values.items() if name not in beside})
    return description, _weights_name(values), _text(values, "sha256")


def _weights_name(values: Mapping[str, Any]) -> str:
    weights = _text(values, "weights")
    if Path(weights).name != weights or weights in ("", ".", ".."):
        raise ValueError(f"weights: expected the name of a file beside it, found {weights!r}")
    return weights


def _text(values: Mapping[str, Any], name: str) -> str:
    if not isinstance(values.get(name), str):
        raise ValueError(f"{name}: expected text, found {values.get(name)!r}. {FIX}")
    return values[name]


def read_file(path: Path) -> StoredModel:
    """Read one ``.safetensors`` file that ``save_file`` wrote.

    Raises:
        ValueError: a file of something else, of a newer format, or damaged.
    """
    data = path.read_bytes()
    text, expected = _metadata(io.BytesIO(data))
    if (found := _digest(text, data)) != expected:
        raise ValueError(f"damaged: expected SHA-256 {expected}, found {found}. {FIX}")
    return StoredModel(description=Description.from_json(text), tensors=_tensors(data))


def describe_file(path: Path) -> Description:
    """Read only what the file says of its model; errors as in ``read_file``, but those of the tensors' content."""
    with path.open("rb") as file:
        return Description.from_json(_metadata(file)[0])


def _metadata(file: io.BufferedIOBase) -> tuple[str, str]:
    """Return the text of the description and the digest: a header is its length in 8 bytes, then JSON."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, MAX_HEADER))
    if not header.startswith(b"{"):
        raise ValueError(
            "expected a safetensors file of ours, or an official or MMPose file: its content is none of these"
        )
    metadata = json_object(header).get("__metadata__")
    if not isinstance(metadata, dict) or METADATA not in metadata:
        raise ValueError(
            f"safetensors without {METADATA!r} in their metadata: not one of our models. "
            "A file of bare tensors does not say what it is; convert the official or MMPose file that it came from."
        )
    return _text(metadata, METADATA), _text(metadata, DIGEST)


def _digest(text: str, data: bytes) -> str:
    """The SHA-256 of the description and of all bytes of tensors."""
    digest = hashlib.sha256(text.encode())
    digest.update(memoryview(data)[8 + int.from_bytes(data[:8], "little") :])
    return digest.hexdigest()


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise ValueError(f"expected safetensors: {error}. {FIX}") from error
