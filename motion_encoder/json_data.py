"""JSON to frozen dataclasses, with errors that list everything that is wrong."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

FIX = "Save or fetch the model again."

D = TypeVar("D")


def read_dataclass(kind: type[D], values: Mapping[str, Any]) -> D:
    """Make a dataclass from JSON values; its fields are numbers, strings, lists or objects.

    Raises:
        ValueError: fields are missing, unknown or of the wrong type; the message lists them.
    """
    hints = get_type_hints(kind)
    types = {field.name: hints[field.name] for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    problems = [f"missing {name!r}" for name in sorted(types.keys() - values.keys())]
    problems += [f"unknown {name!r}" for name in sorted(values.keys() - types.keys())]
    values = {name: _number(value, types.get(name)) for name, value in values.items()}
    for name in sorted(types.keys() & values.keys()):
        if not isinstance(values[name], types[name]) or (types[name] is int and values[name] is True):
            problems.append(f"{name!r} of the wrong type: {values[name]!r}")
    if problems:
        raise ValueError(f"{kind.__name__}: {'; '.join(problems)}. {FIX}")
    return kind(**values)


def json_object(text: bytes | str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the text is not JSON, or not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}. {FIX}") from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {str(values)[:80]}")
    return values


def _number(value: Any, annotation: Any) -> Any:
    """Convert integers to floats where a float is expected: JSON does not distinguish 2.0 and 2."""
    return float(value) if annotation is float and type(value) is int else value
