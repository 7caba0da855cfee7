"""URLs of procedural motion: ``procedural://?people=12`` for a corpus, ``procedural://walking?person=3&…`` for a take.

A take's URL contains everything that its numbers depend on. A parameter that is unknown, repeated, missing, unreadable
or out of range raises an error that names it.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SCHEME = "procedural"
MAX_PEOPLE = 100
RENAMED = {"wild": "detections"}


@dataclass(frozen=True, kw_only=True)
class Take:
    """One recording to generate."""

    action: str
    person: int
    take: int
    seconds: float
    fps: float
    seed: int
    detections: int = 0
    """1 for 2D detections instead of 3D."""

    def __post_init__(self) -> None:
        _require("person", self.person, 0, MAX_PEOPLE - 1)
        _require("take", self.take, 0, 999)
        _require("detections", self.detections, 0, 1)
        _require_sampling(self.seconds, self.fps, self.seed)

    @property
    def url(self) -> str:
        """Return ``procedural://ACTION?person=…``, the inverse of ``parse_take``."""
        query = {name: value for name, value in dataclasses.asdict(self).items() if name != "action"}
        if not self.detections:
            del query["detections"]
        return f"{SCHEME}://{self.action}?{urlencode({name: _text(value) for name, value in query.items()})}"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Takes of every action by several people."""

    people: int = 12
    """Number of people with 3D."""
    detections: int = 4
    """Number of additional people with 2D detections only."""
    takes: int = 2
    """Number of takes of each action by each person."""
    seconds: float = 6.0
    fps: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        _require("people", self.people, 0, MAX_PEOPLE)
        _require("detections", self.detections, 0, MAX_PEOPLE)
        _require("people + detections", self.people + self.detections, 1, MAX_PEOPLE)
        _require("takes", self.takes, 1, 1000)
        _require_sampling(self.seconds, self.fps, self.seed)

    def all_takes(self, actions: Iterable[str]) -> Iterator[Take]:
        """Yield the corpus person by person."""
        actions = tuple(actions)
        for person in range(self.people + self.detections):
            for action in actions:
                for take in range(self.takes):
                    yield Take(
                        action=action,
                        person=person,
                        take=take,
                        seconds=self.seconds,
                        fps=self.fps,
                        seed=self.seed,
                        detections=int(person >= self.people),
                    )


def parse_corpus(url: str) -> Corpus:
    """Parse ``procedural://?people=…&detections=…&takes=…&seconds=…&fps=…&seed=…``; omitted parameters have defaults.

    Raises:
        ValueError: The URL is invalid; the message names the wrong parameter.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME or parts.netloc or parts.path:
        raise ValueError(
            f"{url}: expected {SCHEME}://?people=…&takes=…, with nothing between :// and the question mark"
        )
    return _build(url, Corpus, _parameters(url, Corpus))


def parse_take(url: str, actions: Collection[str]) -> Take:
    """Parse ``procedural://ACTION?person=…&take=…&seconds=…&fps=…&seed=…`` with optional ``&detections=1``.

    Raises:
        ValueError: The URL is invalid; the message names the wrong parameter.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME or parts.netloc not in actions or parts.path:
        raise ValueError(f"{url}: expected {SCHEME}://ACTION?… with one of the actions {', '.join(actions)}")
    return _build(url, Take, _parameters(url, Take, "action") | {"action": parts.netloc})


def _build(url: str, form: type[Any], values: dict[str, Any]) -> Any:
    try:
        return form(**values)
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from error


def _parameters(url: str, form: type[Any], *elsewhere: str) -> dict[str, Any]:
    """The parameters of the query, each parsed as the type of its field."""
    fields = {field.name: field for field in dataclasses.fields(form) if field.name not in elsewhere}
    values: dict[str, Any] = {}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name in RENAMED:
            raise ValueError(f"{url}: the parameter {name!r} is now called {RENAMED[name]!r}")
        if name not in fields:
            raise ValueError(f"{url}: unknown parameter {name!r}; known are {', '.join(fields)}")
        if name in values:
            raise ValueError(f"{url}: parameter {name!r} is given twice")
        values[name] = _number(url, name, text, fields[name].type)
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values]
    if missing:
        raise ValueError(f"{url}: parameters {', '.join(missing)} are missing")
    return values


def _number(url: str, name: str, text: str, number: Any) -> int | float:
    try:
        return number(text)
    except ValueError as error:
        wanted = "a whole number" if number is int else "a number"
        raise ValueError(f"{url}: parameter {name!r}: expected {wanted}, found {text!r}") from error


def _text(number: int | float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def _require_sampling(seconds: float, fps: float, seed: int) -> None:
    _require("seed", seed, 0, 2**63 - 1)
    _require("fps", fps, 1, 1000)
    _require("seconds", seconds, 2 / fps, 3600)


def _require(name: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {_text(low)} to {_text(high)}, found {_text(value)}")
