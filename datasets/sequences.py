"""The canonical form of motion, which every reader yields.

One person's continuous motion on the `h36m17` skeleton. World coordinates are metres, right-handed, **Y up**; image
coordinates are pixels, x right, y down. Confidence is in [0, 1] per joint and frame; 0 means not observed, and the
coordinates are 0 then.

Shapes: T frames, J = 17 joints.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from motion_encoder.shapes import Float

Kind = Literal["mocap", "action", "detections"]
"""3D motion capture, sequences with action labels, or 2D detections in images."""


class RecordingError(ValueError):
    """A recording that cannot be used: its path, the place in it, what was expected, what was found, and a fix."""

    def __init__(self, path: str, *, where: str, expected: str, found: str, fix: str) -> None:
        super().__init__(f"{path}: {where}: expected {expected}, found {found}. {fix}")
        self.path = path


def damaged(path: str, where: str, expected: str, found: str) -> RecordingError:
    """Return the error for a file that violates its format and may have to be downloaded again."""
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the file again.")


TEST_SHARE = 8
"""One subject in this many is held out if the source names no test subjects."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: its kind, its licence, and the people held out of training. Sources with the same name are equal."""

    name: str
    kind: Kind = field(compare=False)
    licence: str | None = field(default=None, compare=False)
    """The licence as the authors state it; None if they state none, so that the user has to."""
    licence_note: str = field(default="", compare=False)
    """What is known about the terms of use if no licence is stated."""
    url: str = field(compare=False)
    test_subjects: frozenset[str] = field(default=frozenset(), compare=False)
    """Subjects held out for testing; if empty, a hash chooses about one subject in eight."""
    labels: tuple[str, ...] = field(default=(), compare=False)
    """Names of the action classes; a sequence's ``label`` indexes them."""

    def __str__(self) -> str:
        return self.name

    @property
    def terms(self) -> str:
        """Return the licence, or a note that it is unknown."""
        note = f" ({self.licence_note})" if self.licence_note else ""
        return self.licence or f"unknown{note}: pass --licence"

    def split_of(self, subject: str) -> Literal["train", "test"]:
        """Return the split of a person's motion; the same on every machine and in every run.

        Splits are made by person, never by recording: a network must not be tested on people it has seen.
        """
        if self.test_subjects:
            return "test" if subject in self.test_subjects else "train"
        digest = hashlib.sha256(subject.encode()).digest()
        return "test" if int.from_bytes(digest[:8]) % TEST_SHARE == 0 else "train"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One raw file with its companions (such as the skeleton file of an AMC) and the name of its reader."""

    path: str
    reader: str
    source: Source
    companions: tuple[str, ...] = ()
    size: int = 0
    """Bytes of the file without its companions; extraction balances its shards by it."""
    companions_digest: str = ""
    """Hash of the companions' sizes and of the content of video.json or joint_map.json, to notice changes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionSequence:
    """One person's continuous motion in canonical form."""

    source: Source
    sequence_id: str
    """Name of the sequence, unique within the source and stable between runs."""
    subject: str
    """The person who moves; splits are made by person."""
    action: str | None = None
    label: int | None = None
    fps: float
    keypoints_3d_TJC: Float[np.ndarray, "T 17 3"] | None = None
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"] | None = None
    confidence_TJ: Float[np.ndarray, "T 17"]
    view: str | None = None
    """The recording's camera, by the data set's own name or number; None if there is only one."""
    image_size: tuple[int, int] | None = None
    """(width, height) in pixels of the image in which ``keypoints_2d_TJC`` lie."""
    repairs: tuple[str, ...] = ()
    """Descriptions of everything that was repaired or assumed."""

    @property
    def num_frames(self) -> int:
        """Frames T."""
        return len(self.confidence_TJ)


@runtime_checkable
class Reader(Protocol):
    """Reads one public format: ``find`` selects the files, ``read`` yields canonical sequences.

    A reader raises ``RecordingError`` for a recording it cannot use; any other exception is a bug in the reader.
    Extraction runs ``read`` in another process (``datasets.sandbox``), unless the reader parses no foreign files and
    sets ``parses_files = False``.
    """

    @property
    def name(self) -> str:
        """The format's name, as used in the quarantine table and for ``--reader``."""
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
