"""Write dataclasses as the JSON files of a store, and read them back with strict checks of every field.

Unknown fields, missing fields and wrong types are rejected at any depth, and the message names the first one.
"""

import json
import re
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Form = TypeVar("Form")
STRICT = {"extra": "forbid", "strict": True}
"""The ``__pydantic_config__`` of dataclasses that are read; it also applies to the dataclasses inside them."""
_SHOWN = 80
_LONE_SURROGATE = re.compile(rb"\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]", re.IGNORECASE)
"""Unpaired surrogates, by which Python represents bytes of a file name that are not UTF-8."""


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a dataclass as JSON; the same value always gives the same text. Sets are sorted."""
    return json.dumps(asdict(value), indent=indent, default=sorted, ensure_ascii=indent is None)


def from_json(form: type[Form], text: str | bytes) -> Form:
    """Read a dataclass.

    Raises:
        ValueError: The text is not JSON, or a field is unknown, missing or of another type; the first one is named.
    """
    try:
        if _LONE_SURROGATE.search(text if isinstance(text, bytes) else text.encode()):
            # pydantic's JSON parser refuses them, and its strict mode would reject a list instead of a tuple.
            return _adapter(form).validate_python(json.loads(text), strict=False)
        return _adapter(form).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        found = f", found {first['input']!r}"[:_SHOWN] if place and first["type"] != "missing" else ""
        raise ValueError(f"{place or 'text'}: {first['msg']}{found}") from error


@cache
def _adapter(form: type[Any]) -> Any:
    return TypeAdapter(form)
