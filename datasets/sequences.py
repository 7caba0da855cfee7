"""The canonical form: what every reader yields, whatever it read.

One person's continuous motion on the `h36m17` skeleton. World coordinates are metres, right-handed, **Y up**; image
coordinates are pixels, x right, y down. Confidence is in [0, 1] per joint and frame; 0 means not observed, and the
coordinates there are 0 and mean nothing.

Shapes: T frames, J = 17 joints.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from motion_encoder.shapes import Float

Kind = Literal["mocap", "action", "detections"]
"""3D of motion capture, sequences with labels, or what a detector saw in images."""


class RecordingError(ValueError):
    """A recording that cannot be used: which, where in it, what was expected, what was found, how to mend it."""

    def __init__(self, path: str, *, where: str, expected: str, found: str, fix: str) -> None:
        super().__init__(f"{path}: {where}: expected {expected}, found {found}. {fix}")
        self.path = path


def damaged(path: str, where: str, expected: str, found: str) -> RecordingError:
    """Return what a recording gets that is not what its format says, and of which another copy may be whole."""
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the file again.")


TEST_SHARE = 8
"""One subject in this many is held out where the source names no test subjects."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: its kind, its terms, and the people who are held out of training. Sources of one name are equal."""

    name: str
    kind: Kind = field(compare=False)
    licence: str | None = field(default=None, compare=False)
    """The terms, as the makers state them; None where they state none, and the user has to."""
    licence_note: str = field(default="", compare=False)
    """What is known of the terms where no licence is stated."""
    url: str = field(compare=False)
    test_subjects: frozenset[str] = field(default=frozenset(), compare=False)
    """People who are held out; without names, about one person in eight is, chosen by a hash."""
    labels: tuple[str, ...] = field(default=(), compare=False)
    """Names of the action classes; a sequence's ``label`` indexes them."""

    def __str__(self) -> str:
        return self.name

    @property
    def terms(self) -> str:
        """The licence in words, also where none is stated."""
        note = f" ({self.licence_note})" if self.licence_note else ""
        return self.licence or f"unknown{note}: pass --licence"

    def split_of(self, subject: str) -> Literal["train", "test"]:
        """Return where a person's motion goes; the same on every machine and in every run.

        Splits are made by person, never by recording: a network must not be tested on people it has seen.
        """
        if self.test_subjects:
            return "test" if subject in self.test_subjects else "train"
        digest = hashlib.sha256(subject.encode()).digest()
        return "test" if int.from_bytes(digest[:8]) % TEST_SHARE == 0 else "train"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One raw file (with its companions, such as the skeleton file of an AMC) and who reads it."""

    path: str
    reader: str
    source: Source
    companions: tuple[str, ...] = ()
    size: int = 0
    """Bytes, companions not counted: extraction balances its shards by it."""
    companions_digest: str = ""
    """Of the companions' sizes, and of what a user says in video.json or joint_map.json: a changed one is noticed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionSequence:
    """One person's continuous motion in canonical form."""

    source: Source
    sequence_id: str
    """Unique within the source, stable between runs."""
    subject: str
    """Who moves: splits are made by it."""
    action: str | None = None
    label: int | None = None
    fps: float
    keypoints_3d_TJC: Float[np.ndarray, "T 17 3"] | None = None
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"] | None = None
    confidence_TJ: Float[np.ndarray, "T 17"]
    view: str | None = None
    """Which camera of the recording saw it, by the data set's own name or number; None where there is but one."""
    image_size: tuple[int, int] | None = None
    """(width, height) in pixels of the image that keypoints_2d refer to."""
    repairs: tuple[str, ...] = ()
    """What was mended on the way in, in words."""

    @property
    def num_frames(self) -> int:
        """Frames T."""
        return len(self.confidence_TJ)


@runtime_checkable
class Reader(Protocol):
    """One public format. ``find`` says which of the files it reads; ``read`` yields canonical sequences.

    A reader raises ``RecordingError`` for a recording it cannot use; anything else that escapes is our bug. Extraction
    runs ``read`` in another process (``datasets.sandbox``), unless the reader parses no foreign files and says so by
    ``parses_files = False``.
    """

    @property
    def name(self) -> str:
        """The format's name, as the quarantine table and ``--reader`` spell it."""
        ...

    def find(self, files: Iterable["File"]) -> list[Recording]:
        """Return the recordings among ``files``, companions attached, in a stable order."""
        ...

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequences of one recording."""
        ...


@dataclass(frozen=True)
class File:
    """A file of the input: fsspec URL or path, and size in bytes."""

    path: str
    size: int
