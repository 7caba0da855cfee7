"""Model folders: what training writes and everyone else reads.

A folder holds two files, neither of them a pickle:

- ``model.json`` says what the model is: format version, task, skeleton, configurations, labels, and the card (licences
  of its data, scores with their protocols). It names the weights file and its SHA-256.
- ``model-DIGEST.safetensors`` holds the tensors under their published names (DIGEST: the start of that SHA-256).

Each file is written aside and renamed, ``model.json`` last. That one rename is the moment at which a new model replaces
the old: a kill at any time leaves the one or the other whole, or, in a new folder, none. One writer at a time.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.dstformer import DSTformer, DSTformerConfig
from motion_encoder.heads import ActionHeadConfig, ActionModel
from motion_encoder.skeletons import H36M17

Task = Literal["encoder", "pose3d", "action"]
Model = DSTformer | ActionModel

DESCRIPTION = "model.json"
FORMAT_VERSION = 1
_FIX = "Save or fetch the model again."


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of ``model.json``."""

    format_version: int
    task: str
    skeleton: str
    weights: str
    """Name of the weights file."""
    sha256: str
    """Of the weights file."""
    encoder: dict
    head: dict | None
    labels: list | None
    card: dict

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ValueError(f"task: expected one of {get_args(Task)}, found {self.task!r}")
        for name in ("head", "labels"):
            if (getattr(self, name) is not None) != (self.task == "action"):
                raise ValueError(f"{name}: expected in an action model and null in another; this is for {self.task!r}")
        if self.skeleton != H36M17.name:
            raise ValueError(f"skeleton: expected {H36M17.name!r}, found {self.skeleton!r}")
        if Path(self.weights).name != self.weights:
            raise ValueError(f"weights: expected the name of a file beside it, found {self.weights!r}")


C = TypeVar("C", Description, DSTformerConfig, ActionHeadConfig)


def save(folder: str | Path, model: Model, *, task: Task, card: ModelCard) -> None:
    """Write a model folder, or replace the model in one.

    Args:
        folder: where to; made if it is not there.
        model: an encoder or 3D pose model (``DSTformer``), or an ``ActionModel``.
        task: what the model is for.
        card: licences of the data, scores, and what else is known.

    Raises:
        ValueError: a task that does not fit the model, or a card with facts that JSON cannot hold.
    """
    if task not in get_args(Task) or (task == "action") != isinstance(model, ActionModel):
        raise ValueError(f"{folder}: task {task!r} does not fit a {type(model).__name__}; tasks: {get_args(Task)}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    weights = safetensors.torch.save(state, metadata={"format": "pt"})
    sha256 = hashlib.sha256(weights).hexdigest()
    is_action = isinstance(model, ActionModel)
    description = Description(
        format_version=FORMAT_VERSION,
        task=task,
        skeleton=H36M17.name,
        weights=f"model-{sha256[:12]}.safetensors",
        sha256=sha256,
        encoder=asdict(model.encoder.config if is_action else model.config),
        head=asdict(model.head.config) if is_action else None,
        labels=list(model.labels) if is_action else None,
        card=card.to_tree(),
    )
    _publish(Path(folder), description, weights)


def _publish(folder: Path, description: Description, weights: bytes) -> None:
    try:
        text = json.dumps(vars(description), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: the card holds what JSON cannot: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / description.weights, weights)
    _write_whole(folder / DESCRIPTION, text.encode())
    for old in folder.glob("model-*.safetensors*"):
        if old.name != description.weights:
            old.unlink()


def _write_whole(path: Path, data: bytes) -> None:
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_folder(folder: str | Path) -> Model:
    """Read a model folder: a ``DSTformer`` or an ``ActionModel`` on the CPU, in eval mode, with its ``card``.

    Raises:
        ValueError: the folder holds no model, one of a newer format, or one whose files do not fit each other; the
            message lists what is wrong.
    """
    folder = Path(folder)
    try:
        description = _parse(folder / DESCRIPTION)
        with torch.device("meta"):
            model = _build(description)
    except ValueError as error:
        raise ValueError(f"{folder / DESCRIPTION}: {error}") from error
    tensors = _read_weights(folder / description.weights, description.sha256)
    if problems := _differences(model.state_dict(), tensors):
        raise ValueError(
            f"{folder / description.weights}: does not fit {DESCRIPTION}: {'; '.join(problems)}. "
            f"The two files are of different models. {_FIX}"
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _parse(path: Path) -> Description:
    if not path.is_file():
        raise ValueError("no such file: this is no model folder, or saving was not finished")
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}. {_FIX}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"expected an object with a number as format_version, found {str(values)[:80]}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"format version {version}, but this motion_encoder reads up to {FORMAT_VERSION}. Upgrade motion_encoder."
        )
    return _from_json(Description, values)


def _build(description: Description) -> Model:
    """Make the model without its weights, if the default device is "meta"."""
    unused = torch.Generator()
    model: Model = DSTformer(_from_json(DSTformerConfig, description.encoder), unused)
    if description.head is not None and description.labels is not None:
        model = ActionModel(model, tuple(description.labels), _from_json(ActionHeadConfig, description.head), unused)
    model.card = ModelCard.from_tree(description.card)
    return model


def _from_json(kind: type[C], values: dict) -> C:
    """Make a dataclass of these values, or raise a ValueError that lists the missing, the unknown, the mistyped."""
    types: dict[str, Any] = {field.name: field.type for field in fields(kind)}
    problems = [f"missing {name!r}" for name in sorted(types.keys() - values.keys())]
    problems += [f"unknown {name!r}" for name in sorted(values.keys() - types.keys())]
    values = {name: _number(value, types.get(name)) for name, value in values.items()}
    for name in sorted(types.keys() & values.keys()):
        if not isinstance(values[name], types[name]):
            problems.append(f"{name!r} of the wrong type: {values[name]!r}")
    if problems:
        raise ValueError(f"{kind.__name__}: {'; '.join(problems)}. {_FIX}")
    return kind(**values)


def _number(value: Any, annotation: Any) -> Any:
    """JSON does not tell 2.0 from 2."""
    return float(value) if annotation is float and type(value) is int else value


def _read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file, but {DESCRIPTION} names it. {_FIX}")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: damaged: expected SHA-256 {sha256}, found {found}. {_FIX}")
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected safetensors: {error}. {_FIX}") from error


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """In words: which tensors are missing, unknown, or of another shape or type."""
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unknown {name}" for name in found if name not in expected]
    for name in expected:
        if name in found and _kind(expected[name]) != _kind(found[name]):
            problems.append(f"{name}: expected {_kind(expected[name])}, found {_kind(found[name])}")
    return problems


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
