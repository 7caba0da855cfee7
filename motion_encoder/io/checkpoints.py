"""Stored models in our own format: a folder or a single file, neither of which is a pickle.

A model consists of its description (``model_spec``) and of tensors under their published names. There are two forms:

- A folder. ``model.json`` is the description, with the name and the SHA-256 of the weights file;
  ``model-DIGEST.safetensors`` has the tensors (DIGEST: the start of that SHA-256).
- A single ``.safetensors`` file, which is easy to share. Its metadata entry ``motion_encoder`` is the description, and
  ``sha256`` is the digest of that text and of the tensors' bytes.

Each file is written to a temporary name and then renamed; in a folder, ``model.json`` is renamed last. With this rename
the new model replaces the old one: a process that is killed at any time leaves either the old or the new model complete
(or, in a new folder, no model). Only one process may write a model at a time.
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
"""Largest safetensors header in bytes that the format allows."""


def save(folder: str | Path, model: MotionModel, *, task: str, card: ModelCard) -> None:
    """Write a model folder, or replace the model in one.

    Args:
        folder: the folder to write; it is created if it does not exist.
        model: an encoder or 3D pose model (``DSTformer``), or a model of another task, such as ``ActionModel``.
        task: name of the model's task.
        card: licences of the data, scores, and other facts.

    Raises:
        ValueError: the task does not fit the model, the weights are not float32, or the card has facts that JSON cannot
            represent. The folder is then unchanged.
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
        ValueError: the weights are not float32.
    """
    _check_float32(model)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: it is there completely or not at all."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_folder(folder: str | Path) -> MotionModel:
    """Read a model folder: a ``DSTformer`` or a model of another task on the CPU, in eval mode, with its ``card``.

    Raises:
        ValueError: the folder has no model, its format is newer, or its files do not fit each other; the message lists
            the problems.
    """
    with naming(Path(folder) / DESCRIPTION):
        return read_folder(Path(folder)).assemble()


def read_folder(folder: Path) -> StoredModel:
    """Read both files of a model folder; errors as in ``load_folder``."""
    description, weights, sha256 = _parse_folder(folder)
    if not (folder / weights).is_file():
        raise ValueError(f"names the weights file {weights}, which is not in the same folder. {FIX}")
    data = (folder / weights).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{weights} is damaged: expected SHA-256 {sha256}, found {found}. {FIX}")
    return StoredModel(description=description, tensors=_tensors(data))


def describe_folder(folder: Path) -> Description:
    """Read the description in a model folder, but not the weights; errors as in ``load_folder``."""
    return _parse_folder(folder)[0]


def weights_name(model_json: bytes) -> str:
    """Return the name of the weights file that a ``model.json`` states.

    Raises:
        ValueError: the text is not a ``model.json``.
    """
    return _weights_name(json_object(model_json))


def _parse_folder(folder: Path) -> tuple[Description, str, str]:
    """Return the description, and the name and SHA-256 of the weights file."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError("no such file: the folder is not a model folder, or saving was not finished")
    values = json_object(path.read_bytes())
    beside = {"weights", "sha256"} & values.keys()
    description = Description.parse({name: value for name, value in values.items() if name not in beside})
    return description, _weights_name(values), _text(values, "sha256")


def _weights_name(values: Mapping[str, Any]) -> str:
    weights = _text(values, "weights")
    if Path(weights).name != weights or weights in ("", ".", ".."):
        raise ValueError(f"weights: expected the name of a file in the same folder, found {weights!r}")
    return weights


def _text(values: Mapping[str, Any], name: str) -> str:
    if not isinstance(values.get(name), str):
        raise ValueError(f"{name}: expected text, found {values.get(name)!r}. {FIX}")
    return values[name]


def read_file(path: Path) -> StoredModel:
    """Read one ``.safetensors`` file that ``save_file`` wrote.

    Raises:
        ValueError: the file has other contents, a newer format, or is damaged.
    """
    data = path.read_bytes()
    text, expected = _metadata(io.BytesIO(data))
    if (found := _digest(text, data)) != expected:
        raise ValueError(f"damaged: expected SHA-256 {expected}, found {found}. {FIX}")
    return StoredModel(description=Description.from_json(text), tensors=_tensors(data))


def is_ours(path: Path) -> bool:
    """Return whether a safetensors file has a description, which means that ``save_file`` wrote it.

    A file with a damaged header counts as ours, so that reading it reports the damage.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            metadata = json_object(file.read(min(length, MAX_HEADER))).get("__metadata__")
        except ValueError:
            return True
    return isinstance(metadata, dict) and METADATA in metadata


def describe_file(path: Path) -> Description:
    """Read the description in a single file, but not the tensors; errors as in ``read_file``."""
    with path.open("rb") as file:
        return Description.from_json(_metadata(file)[0])


def _metadata(file: io.BufferedIOBase) -> tuple[str, str]:
    """Return the description's text and the digest from a header, which is its length in 8 bytes, then JSON."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, MAX_HEADER))
    metadata = json_object(header).get("__metadata__")
    if not isinstance(metadata, dict) or METADATA not in metadata:
        raise ValueError(f"expected a safetensors file of this library, found no {METADATA!r} in its metadata")
    return _text(metadata, METADATA), _text(metadata, DIGEST)


def _digest(text: str, data: bytes) -> str:
    """Return the SHA-256 of the description and of all bytes of the tensors."""
    digest = hashlib.sha256(text.encode())
    digest.update(memoryview(data)[8 + int.from_bytes(data[:8], "little") :])
    return digest.hexdigest()


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise ValueError(f"expected safetensors: {error}. {FIX}") from error
