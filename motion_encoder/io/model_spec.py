"""The description of a stored model: everything except its tensors, and how to build the model from both.

Model folders, single files and the official or MMPose files that we write contain the same description: task, skeleton,
encoder, settings of the head, and the card (licences of the data, scores with their protocols).

Format versions: 3 has ``module``, the settings of any task's head in ``head``, and ``clip_frames`` in the card. 2 had
labels outside the head; 1 had neither ``learned_fusion`` nor ``published_means``. All three can be read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.json_data import FIX, json_object, read_dataclass
from motion_encoder.model.dstformer import DSTformer, DSTformerConfig
from motion_encoder.model.motion_model import MotionModel
from motion_encoder.skeletons import H36M17
from motion_encoder.tasks.registry import AnyTask, find_task, task_names

FORMAT_VERSION = 3
ADDED_IN_2: Mapping[str, Mapping[str, Any]] = {
    "encoder": {"learned_fusion": True},
    "head": {"published_means": False},
}
MAX_LISTED = 10
"""Number of names that an error message lists; the others are only counted."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Everything about a stored model except its tensors."""

    format_version: int
    task: str
    """Name of the task; see ``tasks.registry``."""
    module: str | None
    """Module of another package that defines the task and must be imported first; None for tasks of this package."""
    skeleton: str | None
    """Name of the joint set; None if the model has another number of joints, in an unknown order."""
    encoder: dict
    """The fields of ``DSTformerConfig``."""
    head: dict
    """Settings of the task's own head: ``MotionModel.head_settings``."""
    card: dict

    def __post_init__(self) -> None:
        if self.skeleton not in (H36M17.name, None):
            raise ValueError(f"skeleton: expected {H36M17.name!r} or null, found {self.skeleton!r}")

    @classmethod
    def of(cls, model: MotionModel, *, task: str, card: ModelCard) -> "Description":
        """Describe ``model``.

        Raises:
            ValueError: the task is unknown or does not fit the model.
        """
        network = find_task(task).network
        if type(model) is not network:
            raise ValueError(
                f"task {task!r} does not fit a {type(model).__name__}: expected a {network.__name__}; "
                f"tasks: {', '.join(task_names())}"
            )
        return cls.current(task, model.encoder.config, model.head_settings(), card)

    @classmethod
    def current(cls, task: str, encoder: DSTformerConfig, head: Mapping[str, Any], card: ModelCard) -> "Description":
        """Put together a description of the newest format version."""
        return cls(
            format_version=FORMAT_VERSION,
            task=task,
            module=_module_of(find_task(task)),
            skeleton=H36M17.name if encoder.num_joints == len(H36M17.joints) else None,
            encoder=asdict(encoder),
            head=dict(head),
            card=card.to_tree(),
        )

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Return the description from the result of ``to_json``; errors as in ``parse``."""
        return cls.parse(json_object(text))

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Description":
        """Return the description from the values of a JSON object.

        Raises:
            ValueError: the values are not a description, or its format is newer; the message lists the problems.
        """
        version = values.get("format_version")
        if type(version) is not int or version < 1:
            raise ValueError(f"expected an object with a number as format_version, found {str(values)[:80]}")
        if version > FORMAT_VERSION:
            raise ValueError(
                f"format version {version}, but this motion_encoder reads up to {FORMAT_VERSION}. "
                "Upgrade motion_encoder."
            )
        if version == 1:
            values = _as_version_2(values)
        return read_dataclass(cls, _as_version_3(values) if version < FORMAT_VERSION else values)

    def to_json(self, **more: str) -> str:
        """Return the description as JSON, with the additional fields ``more``.

        Raises:
            ValueError: the card has facts that JSON cannot represent.
        """
        try:
            return json.dumps(vars(self) | more, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"card: expected only values that JSON can represent: {error}") from error

    def build(self) -> MotionModel:
        """Build the model with its card, in eval mode and without memory for its weights (on the device "meta").

        Raises:
            ValueError: the task is unknown, or the configuration or the card is invalid.
        """
        network = self.find_task().network
        with torch.device("meta"):
            encoder = DSTformer(read_dataclass(DSTformerConfig, self.encoder), torch.Generator())
            model: MotionModel = network.from_settings(encoder, self.head)
        model.card = ModelCard.from_tree(self.card)
        return model.eval()

    def find_task(self) -> AnyTask:
        """Return the task.

        Raises:
            ValueError: the task is unknown; the message names the module that defines it.
        """
        try:
            return find_task(self.task)
        except ValueError as error:
            if self.module is None:
                raise
            raise ValueError(
                f"the task {self.task!r} is defined in the module {self.module}, which is not imported automatically: "
                f"import {self.module} first, if you trust it"
            ) from error


def _module_of(task: AnyTask) -> str | None:
    module = type(task).__module__
    return None if module.partition(".")[0] == __name__.partition(".")[0] else module


def _as_version_2(values: dict) -> dict:
    added = {name: {**values[name], **new} for name, new in ADDED_IN_2.items() if isinstance(values.get(name), dict)}
    return values | added


def _as_version_3(values: dict) -> dict:
    """Move the labels into the head's settings, and the length of the training clips into the card."""
    if missing := {"head", "labels", "card"} - values.keys():
        raise ValueError(f"description: missing {', '.join(sorted(missing))}. {FIX}")
    head, labels, card = (values[name] for name in ("head", "labels", "card"))
    if (head is None) != (labels is None):
        raise ValueError(f"head and labels: expected both or neither, found {str(head)[:80]} and {str(labels)[:80]}")
    if isinstance(card, dict) and isinstance(card.get("facts"), dict):
        recipe = card["facts"].get("recipe")
        card = card | {"clip_frames": recipe.get("clip_frames") if isinstance(recipe, dict) else None}
    kept = {name: value for name, value in values.items() if name != "labels"}
    return kept | {"module": None, "card": card, "head": {} if head is None else {**head, "labels": labels}}


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredModel:
    """A model as it was read from a file: a description, and tensors that are not yet checked against it."""

    description: Description
    tensors: Mapping[str, Tensor]
    is_part: bool = False
    """Whether this is only the encoder of a larger model, whose head this version does not support."""
    assumed: tuple[str, ...] = ()
    """Assumptions about facts that the file does not state, as warnings for the user."""

    def assemble(self) -> MotionModel:
        """Return the model on the CPU, in eval mode, with its ``card``.

        Raises:
            ValueError: the tensors do not fit the description; the message lists the differences.
        """
        model = self.description.build()
        if problems := differences(model.state_dict(), self.tensors):
            raise ValueError(f"the weights do not fit the description: {'; '.join(problems)}. {FIX}")
        model.load_state_dict(self.tensors, assign=True)
        return model


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return messages about tensors that are missing, unknown, or of another shape or type; empty if all fit."""
    common = [name for name in expected if name in found]
    unlike = [name for name in common if _kind(expected[name]) != _kind(found[name])]
    problems = [
        _listed("missing ", [name for name in expected if name not in found]),
        _listed("unknown ", sorted(name for name in found if name not in expected)),
        _listed("", [f"{name}: expected {_kind(expected[name])}, found {_kind(found[name])}" for name in unlike]),
    ]
    return [problem for problem in problems if problem]


def _listed(what: str, names: list[str]) -> str:
    return what + shortened(names) if names else ""


def shortened(names: Iterable[str]) -> str:
    """Return the names, separated by commas; if there are many, the first ones and the number of the others."""
    names = list(names)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add the name of the file to every ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
