"""Dataclasses as the JSON files of a store: written as they are, read back only if every field is what it should be.

Unknown, missing and ill-typed fields are refused, wherever in the file they are, and the message names the first one.
"""

import json
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Form = TypeVar("Form")
STRICT = {"extra": "forbid", "strict": True}
"""The ``__pydantic_config__`` of dataclasses that are read; it holds for the dataclasses inside them too."""
_SHOWN = 80


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a dataclass as JSON; the same value always gives the same text. Sets are written in order."""
    return json.dumps(asdict(value), indent=indent, default=sorted, ensure_ascii=indent is None)


def from_json(form: type[Form], text: str | bytes) -> Form:
    """Read a dataclass.

    Raises:
        ValueError: The text is not JSON, or a field is unknown, missing or of another type; the first one is named.
    """
    try:
        return _adapter(form).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        found = f", found {first['input']!r}"[:_SHOWN] if place and first["type"] != "missing" else ""
        raise ValueError(f"{place or 'text'}: {first['msg']}{found}") from error


@cache
def _adapter(form: type[Any]) -> Any:
    return TypeAdapter(form)
