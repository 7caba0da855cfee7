"""Group quarantine and repair messages for display, and make texts from recordings safe to show.

Names and messages come from files of unknown origin. Characters that a terminal or a browser would interpret instead of
show (escape sequences, marks that change the direction of writing) are escaped. Messages that differ only in numbers,
quoted words and joints form one group, so that a million messages become a few lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from motion_encoder.skeletons import H36M17

MAX_GROUPS = 1000
"""Largest number of groups; others are combined, since damaged files can produce any number of messages."""
OTHERS = "other messages (too many groups)"
EXAMPLES = 2
LONGEST = 300
"""Longest message in characters; the quarantine table has the full text."""
_END = 120

_JOINT = "|".join(H36M17.joints[1:])  # "root" is a normal word in many messages
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


def make_printable(text: str) -> str:
    """Escape each character that is not printable: line ends, escapes, marks of direction."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shorten(text: str) -> str:
    """Shorten a text to ``LONGEST`` with an ellipsis in the middle, since its end contains the fix."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - _END - 1]}…{text[-_END:]}"


def format_duration(hours: float) -> str:
    """Return a time in hours, or in minutes or seconds if it is short."""
    for unit, length in (("h", 1.0), ("min", 60.0)):
        if hours * length >= 1:
            return f"{hours * length:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


def summarise_reason(row: Mapping[str, str | None]) -> str:
    """Return only the place and the expectation of a quarantine reason, without path, found value and fix.

    A reason in another form is returned as a whole, without the name that it begins with.
    """
    reason = str(row["reason"])
    for name in (row["path"], f"{row['source']}/{row['sequence_id']}", row["sequence_id"]):
        reason = reason.removeprefix(f"{name}: ")
    head, expected, rest = reason.partition(": expected ")
    if not expected:
        return reason
    where = head.rpartition(": ")[2]  # a companion's path may come before it
    return f"{where}: expected {rest.partition(', found ')[0]}"


@dataclass(frozen=True, kw_only=True)
class MessageGroup:
    """Messages that differ only in numbers, quoted words and joints."""

    message: str
    """The message, with an ellipsis instead of each part that differs."""
    count: int
    examples: tuple[str, ...]
    """The first ``EXAMPLES`` messages of the group, each with its recording or sequence."""


class MessageGroups:
    """Counts messages by group, with bounded memory."""

    def __init__(self) -> None:
        self._groups: dict[str, _Growing] = {}

    def add(self, message: str, example: str) -> None:
        """Count a message; ``example`` is the message with its recording or sequence."""
        message = shorten(message)
        group = _VARIES.sub("…", message)
        if group not in self._groups and len(self._groups) >= MAX_GROUPS:
            group = message = OTHERS
        growing = self._groups.setdefault(group, _Growing(message))
        growing.add(message)
        if len(growing.examples) < EXAMPLES:
            growing.examples.append(shorten(example))

    def sorted(self) -> tuple[MessageGroup, ...]:
        """Return the groups, the largest first."""
        groups = [
            MessageGroup(message=each.message(), count=each.count, examples=tuple(each.examples))
            for each in self._groups.values()
        ]
        return tuple(sorted(groups, key=lambda group: (-group.count, group.message)))


class _Growing:
    """A group while messages are added to it."""

    def __init__(self, first: str) -> None:
        self.first, self.count = first, 0
        self.examples: list[str] = []
        self._shared: list[str | None] = list(_VARIES.findall(first))
        """The text at each place that may differ; None if it differs."""

    def add(self, message: str) -> None:
        self.count += 1
        found = _VARIES.findall(message)
        same = len(found) == len(self._shared)  # the message itself may contain an ellipsis
        self._shared = [
            shared if same and shared == found[place] else None for place, shared in enumerate(self._shared)
        ]

    def message(self) -> str:
        shared = iter(self._shared)
        return _VARIES.sub(lambda _: next(shared) or "…", self.first)
