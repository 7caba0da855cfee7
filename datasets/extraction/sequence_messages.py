"""Convert sequences to messages between the sandbox and the process that reads recordings with it, and back.

The sandbox parses foreign files, so its messages are not trusted: a message becomes a sequence only if every field has
the right type and every array the right shape. The quality checks judge the numbers.

Shapes: T frames, J = 17 joints, C channels.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin

import numpy as np

from datasets.sandbox.limits import CrashError
from datasets.sandbox.messages import Message
from datasets.sequences import Kind, MotionSequence, Source

_SHAPES = {"keypoints_3d_TJC": (17, 3), "keypoints_2d_TJC": (17, 2), "confidence_TJ": (17,)}
"""Shape of each array without its frame axis."""
_TYPES: dict[str, Any] = {
    "source": dict | None,
    **dict.fromkeys(("sequence_id", "subject"), str),
    **dict.fromkeys(("action", "view"), str | None),
    "label": int | None,
    "fps": float | int,
    "image_size": list[int] | None,
    "repairs": list[str],
}
"""JSON type of each other field."""
_SOURCE_TYPES: dict[str, Any] = {
    **dict.fromkeys(("name", "kind", "licence_note", "url"), str),
    "licence": str | None,
    **dict.fromkeys(("test_subjects", "labels"), list[str]),
}
"""JSON type of each field of a source."""


def to_message(sequence: MotionSequence, source: Source) -> Message:
    """Return a sequence as JSON values and arrays; its source is omitted if it is the recording's."""
    values = {name: value for name, value in vars(sequence).items() if name not in _SHAPES}
    values["source"] = None if sequence.source == source else _source_values(sequence.source)
    values["image_size"] = None if sequence.image_size is None else list(sequence.image_size)
    values["repairs"] = list(sequence.repairs)
    arrays = {name: getattr(sequence, name) for name in _SHAPES}
    return Message(value=values, arrays={name: array for name, array in arrays.items() if array is not None})


def _source_values(source: Source) -> dict[str, Any]:
    values = {each.name: getattr(source, each.name) for each in fields(source)}
    return values | {"test_subjects": sorted(source.test_subjects), "labels": list(source.labels)}


def sequence_from(message: Message, source: Source) -> MotionSequence:
    """Return the sequence in a message; ``source`` is the recording's source.

    Raises:
        CrashError: The message does not contain a valid sequence.
    """
    _check_arrays(message.arrays)
    values = _checked(message.value, _TYPES, "a sequence")
    size = values["image_size"]
    if size is not None and len(size) != 2:
        raise CrashError(f"an image size of {len(size)} numbers")
    arguments: Any = values | {name: message.arrays.get(name) for name in _SHAPES}
    arguments["source"] = source if values["source"] is None else _source_from(values["source"])
    arguments["image_size"] = None if size is None else tuple(size)
    arguments["repairs"] = tuple(values["repairs"])
    return MotionSequence(**arguments)


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    frames = len(arrays.get("confidence_TJ", ()))
    for name, array in arrays.items():
        if name not in _SHAPES or array.shape != (frames, *_SHAPES[name]):
            raise CrashError(f"an array {name} of shape {array.shape}")


def _source_from(values: Any) -> Source:
    values = _checked(values, _SOURCE_TYPES, "a source")
    if values["kind"] not in get_args(Kind):
        raise CrashError(f"a source of kind {values['kind']}")
    return Source(**values | {"test_subjects": frozenset(values["test_subjects"]), "labels": tuple(values["labels"])})


def _checked(values: Any, types: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(values, dict) or values.keys() != types.keys():
        raise CrashError(f"fields that are not those of {what}")
    for name, kind in types.items():
        if not _is(values[name], kind):
            raise CrashError(f"{what} whose {name} is of another type")
    return values


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(each, get_args(kind)) for each in value)
    return any(_is(value, each) for each in get_args(kind)) if get_args(kind) else isinstance(value, kind)
