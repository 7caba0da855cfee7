"""Group quarantine and repair messages for display, and make texts out of recordings safe to show.

Names and messages come out of files of unknown origin. Characters that a terminal or a browser would obey instead of
show (escape sequences, marks that turn the direction of writing) are spelled out. Messages that differ only in numbers,
quoted words and joints form one group, so that a million of them read as a few lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from motion_encoder.skeletons import H36M17

MAX_GROUPS = 1000
"""More groups are put together: damaged files may make up any number of messages."""
OTHERS = "other messages, of more groups than are told apart"
EXAMPLES = 2
LONGEST = 300
"""Characters of a message that are kept; the quarantine table has all of it."""
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


def make_printable(text: str) -> str:
    """Spell out each character that does not show as itself: line ends, escapes, marks of direction."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shorten(text: str) -> str:
    """Put an ellipsis into the middle of a text that is longer than ``LONGEST``: the end says what to do."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - _END - 1]}…{text[-_END:]}"


def format_duration(hours: float) -> str:
    """Return a time in hours, or in minutes or seconds where it is short."""
    for unit, length in (("h", 1.0), ("min", 60.0)):
        if hours * length >= 1:
            return f"{hours * length:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


def summarise_reason(row: Mapping[str, str | None]) -> str:
    """Return where a recording failed and what was expected there, without its name, what was found, and the fix.

    A reason that is not of this form is returned whole, except for the name that it begins with.
    """
    reason = str(row["reason"])
    for name in (row["path"], f"{row['source']}/{row['sequence_id']}", row["sequence_id"]):
        reason = reason.removeprefix(f"{name}: ")
    head, expected, rest = reason.partition(": expected ")
    if not expected:
        return reason
    where = head.rpartition(": ")[2]  # a companion's path may stand before it
    return f"{where}: expected {rest.partition(', found ')[0]}"


@dataclass(frozen=True, kw_only=True)
class MessageGroup:
    """Messages that differ only in numbers, quoted words and joints."""

    message: str
    """The message, with an ellipsis in place of each part that differs."""
    count: int
    examples: tuple[str, ...]
    """The first ``EXAMPLES`` of the group, with the place where each was met."""


class MessageGroups:
    """Counts messages by group. Memory is bounded, whatever the messages say."""

    def __init__(self) -> None:
        self._groups: dict[str, _Growing] = {}

    def add(self, message: str, example: str) -> None:
        """Count a message; ``example`` is the message with the place where it was met."""
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
        """The text at each place that may differ; None where it does."""

    def add(self, message: str) -> None:
        self.count += 1
        found = _VARIES.findall(message)
        same = len(found) == len(self._shared)  # an ellipsis in the message itself may look like one of ours
        self._shared = [
            shared if same and shared == found[place] else None for place, shared in enumerate(self._shared)
        ]

    def message(self) -> str:
        shared = iter(self._shared)
        return _VARIES.sub(lambda _: next(shared) or "…", self.first)
