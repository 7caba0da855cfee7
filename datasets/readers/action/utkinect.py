"""UTKinect-Action3D: ``joints_sSS_eEE.txt``, one line per frame, and ``actionLabel.txt`` with the actions' frames.

A line has the frame's number and x, y, z of a Kinect v1's 20 joints in Microsoft's order: metres, camera space, Y up.
Frames are numbered at 30 Hz, but only those with a skeleton are in the file, on average every second one. Two lines in
a hundred repeat a number with slightly different joints; the authors say that either is valid: the first one is used,
and the repairs count the others.

``actionLabel.txt`` has, for each recording (``s01_e01``), lines such as ``walk: 252 390``, first and last frame. Ranges
may overlap at their ends and are in any order; one is ``NaN``. Each range is one labelled sequence, and the frames
between ranges are kept without a label. Numbers usually increase by two; the rate is 30 Hz divided by the step of the
sequence.

Shapes: N lines, T frames, K = 20 joints, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.timeline import check_times
from datasets.files import head, read_bytes
from datasets.joints.kinect import V1_JOINTS, V1_TO_H36M17
from datasets.joints.tables import to_canonical
from datasets.sequences import File, MotionSequence, Recording, Source, damaged
from motion_encoder.shapes import Float, Int

NUMBERED_HZ = 30.0
LABELS = ("walk", "sitDown", "standUp", "pickUp", "carry", "throw", "push", "pull", "waveHands", "clapHands")
UTKINECT = Source(
    name="utkinect",
    kind="action",
    licence_note="academic research; ask its makers",
    url="http://cvrc.ece.utexas.edu/KinectDatasets/HOJ3D.html",
    labels=LABELS,
)
SOURCES = (UTKINECT,)
MAX_FRAMES = 100_000
"""Nearly an hour; the longest recording has about five thousand frames."""
COLUMNS = 1 + 3 * len(V1_JOINTS)
_NAME = re.compile(r"joints_(?P<recording>(?P<person>s\d\d)_e\d\d)\.txt", re.IGNORECASE)
_ACTIONS = "actionlabel.txt"


class UtKinectReader:
    """Reads a recording's joints together with the list of actions."""

    name = "utkinect"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim files with the data set's name and columns; the list of actions is searched in the folders above."""
        files = list(files)
        lists = [file.path for file in files if PurePosixPath(file.path).name.lower() == _ACTIONS]
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=UTKINECT,
                companions=_list_of(file.path, lists),
                size=file.size,
            )
            for file in files
            if _NAME.fullmatch(PurePosixPath(file.path).name) and len(head(file).partition(b"\n")[0].split()) == COLUMNS
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the actions of a recording by their first frame, then the frames between them."""
        name = _NAME.fullmatch(PurePosixPath(recording.path).name)
        if name is None:
            raise damaged(recording.path, "name", "joints_sSS_eEE.txt", PurePosixPath(recording.path).name)
        frame_N, joints_NK3, repeats_N = _lines(recording.path)
        unknown = () if recording.companions else ("no actionLabel.txt: what is done is not known",)
        ranges = [found for path in recording.companions for found in _ranges(path, name["recording"].lower())]
        for first, last, label in [*ranges, *_between(frame_N, ranges)]:
            mine_N = (frame_N >= first) & (frame_N <= last)
            if not mine_N.any():
                continue
            joints_TK3, fps = _over_time(frame_N[mine_N], joints_NK3[mine_N])
            left_out = int(repeats_N[mine_N].sum())
            repairs = (f"{left_out} lines left out: the numbers of their frames had been there",) if left_out else ()
            positions_TJ3, confidence_TJ = to_canonical(V1_TO_H36M17, joints_TK3, np.ones(joints_TK3.shape[:2]))
            yield MotionSequence(
                source=UTKINECT,
                sequence_id=f"{name['recording'].lower()}#{first}-{last}",
                subject=f"utkinect/{name['person'].lower()}",
                action=None if label is None else LABELS[label],
                label=label,
                fps=fps,
                keypoints_3d_TJC=positions_TJ3,
                confidence_TJ=confidence_TJ,
                repairs=(*unknown, *repairs),
            )


READER = UtKinectReader()


def _list_of(path: str, lists: list[str]) -> tuple[str, ...]:
    """Return the list of actions in the folder of ``path`` or in the nearest one above it."""
    for folder in PurePosixPath(path).parents:
        if here := [each for each in lists if PurePosixPath(each).parent == folder]:
            return (here[0],)
    return ()


def _lines(path: str) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N 20 3"], Int[np.ndarray, "N"]]:
    """Return the ascending frame numbers without repeats, their joints, and the number of repeats of each."""
    rows = [line.split() for line in read_bytes(path).splitlines() if line.strip()]
    for number, row in enumerate(rows):
        if len(row) != COLUMNS:
            raise damaged(path, f"line {number + 1}", f"{COLUMNS} numbers", f"{len(row)}")
    try:
        values_NC = np.array(rows, np.float64).reshape(-1, COLUMNS)
    except ValueError as error:
        raise damaged(path, "lines", "only numbers", str(error)[:100]) from error
    frame_N = values_NC[:, 0]
    if not (np.isfinite(frame_N).all() and (frame_N == np.round(frame_N)).all() and (np.abs(frame_N) < 2**31).all()):
        raise damaged(path, "first column", "whole frame numbers", "others")
    first_N = np.flatnonzero(np.diff(frame_N, prepend=np.inf) != 0)
    repeats_N = np.diff(first_N, append=len(frame_N)) - 1
    check_times(frame_N[first_N], path)
    frame_N = frame_N[first_N].astype(np.int64)
    if frame_N.size and frame_N[-1] - frame_N[0] >= MAX_FRAMES:
        raise damaged(path, "first column", f"at most {MAX_FRAMES:,} frames", f"{frame_N[0]} to {frame_N[-1]}")
    return frame_N, values_NC[first_N, 1:].reshape(-1, len(V1_JOINTS), 3), repeats_N


def _ranges(path: str, recording: str) -> list[tuple[int, int, int | None]]:
    """Return first frame, last frame and label of a recording's actions, by first frame."""
    found: list[tuple[int, int, int | None]] = []
    mine = False
    for number, line in enumerate(read_bytes(path).decode("latin-1").splitlines()):
        words = line.replace(":", " ").split()
        if len(words) == 1:
            mine = words[0].lower() == recording
        if len(words) <= 1 or not mine or "nan" in (words[1].lower(), words[-1].lower()):
            continue
        if len(words) != 3 or words[0] not in LABELS or not (words[1].isdecimal() and words[2].isdecimal()):
            raise damaged(path, f"line {number + 1}", f"one of {', '.join(LABELS)} and two frames", line[:80])
        found.append((int(words[1]), int(words[2]), LABELS.index(words[0])))
    return sorted(found, key=lambda each: each[:2])


def _between(
    frame_N: Int[np.ndarray, "N"], ranges: list[tuple[int, int, int | None]]
) -> list[tuple[int, int, int | None]]:
    """Return first and last frame of the runs that no range covers."""
    free_N = np.ones(len(frame_N), bool)
    for first, last, _ in ranges:
        free_N &= (frame_N < first) | (frame_N > last)
    edge_N = np.flatnonzero(np.diff(np.concatenate([[0], free_N.astype(np.int64), [0]])))
    return [
        (int(frame_N[start]), int(frame_N[end - 1]), None) for start, end in zip(edge_N[::2], edge_N[1::2], strict=True)
    ]


def _over_time(
    frame_N: Int[np.ndarray, "N"], joints_NK3: Float[np.ndarray, "N 20 3"]
) -> tuple[Float[np.ndarray, "T 20 3"], float]:
    """Lay frames out by their numbers, with the largest step that fits all of them; missing ones are not observed."""
    step = int(np.gcd.reduce(np.diff(frame_N))) if len(frame_N) > 1 else 1
    at_N = (frame_N - frame_N[0]) // step
    joints_TK3 = np.zeros((int(at_N[-1]) + 1, *joints_NK3.shape[1:]))
    joints_TK3[at_N] = joints_NK3
    return joints_TK3, NUMBERED_HZ / step
