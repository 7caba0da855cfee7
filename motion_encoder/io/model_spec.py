"""What a stored model is, apart from its tensors, and how the two are put together.

The same description lies in a model folder, in a single file and in the published files that we write: task, skeleton,
configurations, labels, and the card (licences of the data, scores with their protocols).

Format versions: 2 has ``learned_fusion`` in the encoder and ``published_means`` in the head. In version 1 streams were
always fused by learned weights, and means never the published ones; it is read so.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.model.dstformer import DSTformer, DSTformerConfig
from motion_encoder.model.heads import ActionHeadConfig, ActionModel
from motion_encoder.skeletons import H36M17

Task = Literal["encoder", "pose3d", "action"]
Model = DSTformer | ActionModel

FORMAT_VERSION = 2
ADDED_IN_2: Mapping[str, Mapping[str, Any]] = {
    "encoder": {"learned_fusion": True},
    "head": {"published_means": False},
}
MAX_LISTED = 10
"""So many tensors of a kind are named in an error; the others are counted."""
FIX = "Save or fetch the model again."


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a model is, apart from its tensors."""

    format_version: int
    task: str
    skeleton: str | None
    """None: another number of joints, in an order that is not known."""
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
        if self.skeleton not in (H36M17.name, None):
            raise ValueError(f"skeleton: expected {H36M17.name!r} or null, found {self.skeleton!r}")

    @classmethod
    def of(cls, model: Model, *, task: Task, card: ModelCard) -> "Description":
        """Describe ``model``.

        Raises:
            ValueError: a task that does not fit the model.
        """
        is_action = isinstance(model, ActionModel)
        if task not in get_args(Task) or (task == "action") != is_action:
            raise ValueError(f"task {task!r} does not fit a {type(model).__name__}; tasks: {get_args(Task)}")
        if is_action:
            return cls.current(task, model.encoder.config, model.head.config, model.labels, card)
        return cls.current(task, model.config, None, None, card)

    @classmethod
    def current(
        cls,
        task: Task,
        encoder: DSTformerConfig,
        head: ActionHeadConfig | None,
        labels: tuple[str, ...] | None,
        card: ModelCard,
    ) -> "Description":
        """Put together a description of the newest format version."""
        return cls(
            format_version=FORMAT_VERSION,
            task=task,
            skeleton=H36M17.name if encoder.num_joints == len(H36M17.joints) else None,
            encoder=asdict(encoder),
            head=None if head is None else asdict(head),
            labels=None if labels is None else list(labels),
            card=card.to_tree(),
        )

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Read what ``to_json`` made; errors as in ``parse``."""
        return cls.parse(json_object(text))

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Description":
        """Read what was in a JSON object.

        Raises:
            ValueError: no description, or one of a newer format; the message lists what is wrong.
        """
        version = values.get("format_version")
        if type(version) is not int or version < 1:
            raise ValueError(f"expected an object with a number as format_version, found {str(values)[:80]}")
        if version > FORMAT_VERSION:
            raise ValueError(
                f"format version {version}, but this motion_encoder reads up to {FORMAT_VERSION}. "
                "Upgrade motion_encoder."
            )
        return _from_json(cls, _as_version_2(values) if version == 1 else values)

    def to_json(self, **more: str) -> str:
        """Return JSON text of the description and ``more``.

        Raises:
            ValueError: the card has facts that JSON cannot hold.
        """
        try:
            return json.dumps(vars(self) | more, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the card holds what JSON cannot: {error}") from error

    def build(self) -> Model:
        """Make the model, in eval mode, without memory for its weights (on the device "meta"), and with its card.

        Raises:
            ValueError: a configuration or card that cannot be.
        """
        unused = torch.Generator()
        with torch.device("meta"):
            model: Model = DSTformer(_from_json(DSTformerConfig, self.encoder), unused)
            if self.head is not None and self.labels is not None:
                if not all(isinstance(label, str) for label in self.labels):
                    raise ValueError(f"labels: expected names, found {str(self.labels)[:80]}. {FIX}")
                head = _from_json(ActionHeadConfig, self.head)
                model = ActionModel(model, tuple(self.labels), head, unused)
        model.card = ModelCard.from_tree(self.card)
        return model.eval()


C = TypeVar("C", Description, DSTformerConfig, ActionHeadConfig)


def _as_version_2(values: dict) -> dict:
    added = {name: {**values[name], **new} for name, new in ADDED_IN_2.items() if isinstance(values.get(name), dict)}
    return values | added


def _from_json(kind: type[C], values: dict) -> C:
    """Make a dataclass of these values, or raise a ValueError that lists the missing, the unknown, the mistyped."""
    types: dict[str, Any] = {field.name: field.type for field in fields(kind)}
    problems = [f"missing {name!r}" for name in sorted(types.keys() - values.keys())]
    problems += [f"unknown {name!r}" for name in sorted(values.keys() - types.keys())]
    values = {name: _number(value, types.get(name)) for name, value in values.items()}
    for name in sorted(types.keys() & values.keys()):
        if not isinstance(values[name], types[name]) or (types[name] is int and values[name] is True):
            problems.append(f"{name!r} of the wrong type: {values[name]!r}")
    if problems:
        raise ValueError(f"{kind.__name__}: {'; '.join(problems)}. {FIX}")
    return kind(**values)


def _number(value: Any, annotation: Any) -> Any:
    """JSON does not tell 2.0 from 2."""
    return float(value) if annotation is float and type(value) is int else value


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredModel:
    """A model as it was read: a description and the tensors that should fit it."""

    description: Description
    tensors: Mapping[str, Tensor]
    is_part: bool = False
    """This is the encoder of a larger model, whose head this version has not."""
    assumed: tuple[str, ...] = ()
    """What the file does not state and was assumed, for the user to know."""

    def assemble(self) -> Model:
        """Return the model on the CPU, in eval mode, with its ``card``.

        Raises:
            ValueError: the tensors do not fit the description; the message lists how.
        """
        model = self.description.build()
        if problems := differences(model.state_dict(), self.tensors):
            raise ValueError(f"the weights do not fit the description: {'; '.join(problems)}. {FIX}")
        model.load_state_dict(self.tensors, assign=True)
        return model


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return in words which tensors are missing, unknown, or of another shape or type; nothing if all is well."""
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
    """Return the names with commas between them; of many, the first and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def json_object(text: bytes | str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}. {FIX}") from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {str(values)[:80]}")
    return values


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Say in a ValueError which file it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
