"""What recordings say of themselves, fit to be shown and counted: names, reasons and repairs in a report.

Names and messages come out of files of strangers. What a terminal or a page would obey instead of show (escape
sequences, marks that turn the direction of writing) is spelled out. Messages that differ in numbers, quoted words and
joints alone are of one kind, so that a million of them read as a few lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from motion_encoder.skeletons import H36M17

MAX_KINDS = 1000
"""Kinds that are told apart; files of strangers may make up more."""
OTHERS = "others, of more kinds than are told apart"
EXAMPLES = 2
LONGEST = 300
"""Characters of a message that are kept; all of it stands in the quarantine table."""
_END = 120

_JOINT = "|".join(H36M17.joints[1:])  # "root" is a word of its own in many messages
_VARIES = re.compile(
    "|".join(
        (
            r"(?<=the same motion as ).*(?=, which is stored)",
            r"'[^']*'",
            r'"[^"]*"',
            rf"\b(?:{_JOINT})\b(?:, (?:{_JOINT})\b)*",
            r"[-+]?\b\d[\d.,_]*(?:e[-+]?\d+)?",
        )
    )
)


def printable(text: str) -> str:
    """Spell out each character that is not seen as it is: line ends, escapes, marks of direction."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str) -> str:
    """Put an ellipsis into the middle of a text that is longer than ``LONGEST``: its end says what to do."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - _END - 1]}…{text[-_END:]}"


def duration(hours: float) -> str:
    """Return hours, or minutes or seconds where these are few."""
    for unit, length in (("h", 1.0), ("min", 60.0)):
        if hours * length >= 1:
            return f"{hours * length:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Messages of one kind."""

    what: str
    """The message, with an ellipsis in place of what differs."""
    count: int
    examples: tuple[str, ...]
    """The first ``EXAMPLES`` that were met."""


class Kinds:
    """Counts messages by kind; memory is bounded, whatever they say."""

    def __init__(self) -> None:
        self._by_kind: dict[str, _Counted] = {}

    def add(self, message: str, example: str) -> None:
        """Count a message; ``example`` says where it was met."""
        message = shortened(message)
        kind = _VARIES.sub("…", message)
        if kind not in self._by_kind and len(self._by_kind) >= MAX_KINDS:
            kind = message = OTHERS
        counted = self._by_kind.setdefault(kind, _Counted(message))
        counted.add(message)
        if len(counted.examples) < EXAMPLES:
            counted.examples.append(shortened(example))

    def counted(self) -> tuple[Kind, ...]:
        """Return the kinds, the most frequent first."""
        kinds = [
            Kind(what=each.what(), count=each.count, examples=tuple(each.examples)) for each in self._by_kind.values()
        ]
        return tuple(sorted(kinds, key=lambda kind: (-kind.count, kind.what)))


class _Counted:
    def __init__(self, first: str) -> None:
        self.first, self.count = first, 0
        self.examples: list[str] = []
        self._shared: list[str | None] = list(_VARIES.findall(first))
        """What stands in each of the places that may vary; None where it does."""

    def add(self, message: str) -> None:
        self.count += 1
        found = _VARIES.findall(message)
        same = len(found) == len(self._shared)  # an ellipsis of the message's own may pass for one of ours
        self._shared = [
            shared if same and shared == found[place] else None for place, shared in enumerate(self._shared)
        ]

    def what(self) -> str:
        shared = iter(self._shared)
        return _VARIES.sub(lambda _: next(shared) or "…", self.first)


def reason_kind(row: Mapping[str, str | None]) -> str:
    """Return where a quarantined recording failed and what was expected there: its reason without name, find and fix.

    A reason in other words stays whole, but for the name it begins with.
    """
    reason = str(row["reason"])
    for name in (row["path"], f"{row['source']}/{row['sequence_id']}", row["sequence_id"]):
        reason = reason.removeprefix(f"{name}: ")
    head, expected, rest = reason.partition(": expected ")
    if not expected:
        return reason
    where = head.rpartition(": ")[2]  # a companion's path may stand before it
    return f"{where}: expected {rest.partition(', found ')[0]}"
