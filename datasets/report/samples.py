"""A few sequences of each source to look at, chosen by a rule that depends only on their names.

The sequences with the smallest hashes of their names are chosen: all parts of a store are equally likely, no
information is needed in advance, and the same store always shows the same sequences.

Shapes: F frames shown, T frames of a sequence, J = 17 joints of ``h36m17``.
"""

import hashlib
import heapq
import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets.store.parquet import NUM_JOINTS, frame_values
from motion_encoder.shapes import Bool, Float, Int

SAMPLES = 3
"""Number of sequences shown per source."""
POSES = 6
"""Number of frames shown per sequence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sequence at a few frames, evenly spaced among those with observed joints."""

    split: str
    sequence_id: str
    subject: str
    action: str | None
    fps: float
    num_frames: int
    frame_F: Int[np.ndarray, "F"]
    keypoints_3d_FJC: Float[np.ndarray, "F 17 3"] | None
    keypoints_2d_FJC: Float[np.ndarray, "F 17 2"] | None
    seen_FJ: Bool[np.ndarray, "F 17"]
    image_size: tuple[int, int] | None


class Samples:
    """Keeps the ``SAMPLES`` sequences with the smallest hashes among those that were offered."""

    def __init__(self) -> None:
        self._chosen: list[tuple[str, int, Sample]] = []
        self._offered = 0

    def offer(self, rows: pa.Table, starts: Int[np.ndarray, "S"], split: str) -> None:
        """Consider the sequences in some rows of a store; they begin at the rows ``starts``."""
        names = rows["sequence_id"].to_pylist()
        for start, end in itertools.pairwise([*starts.tolist(), len(rows)]):
            rank = hashlib.sha256(names[start].encode()).hexdigest()
            self._offered += 1
            if len(self._chosen) < SAMPLES or rank < self._chosen[-1][0]:
                sample = _sample(rows.slice(start, end - start), split)
                best = heapq.nsmallest(
                    SAMPLES, [*self._chosen, (rank, self._offered, sample)], key=lambda each: each[:2]
                )
                self._chosen = best

    def chosen(self) -> tuple[Sample, ...]:
        """Return the chosen sequences in the order of their hashes."""
        return tuple(sample for _, _, sample in self._chosen)


def _sample(rows: pa.Table, split: str) -> Sample:
    confidence_TJ = frame_values(rows["confidence"], NUM_JOINTS)
    frames = np.flatnonzero((confidence_TJ > 0).any(axis=1))
    frame_F = frames[np.unique(np.linspace(0, max(len(frames) - 1, 0), min(POSES, len(frames))).round().astype(int))]
    points_3d_TJC = frame_values(rows["keypoints_3d"], NUM_JOINTS, 3)
    points_2d_TJC = frame_values(rows["keypoints_2d"], NUM_JOINTS, 2)
    first = rows.slice(0, 1).drop_columns(["keypoints_3d", "keypoints_2d", "confidence"]).to_pylist()[0]
    return Sample(
        split=split,
        sequence_id=first["sequence_id"],
        subject=first["subject"],
        action=first["action"],
        fps=first["fps"],
        num_frames=len(confidence_TJ),
        frame_F=frame_F,
        keypoints_3d_FJC=points_3d_TJC[frame_F] if len(points_3d_TJC) else None,
        keypoints_2d_FJC=points_2d_TJC[frame_F] if len(points_2d_TJC) else None,
        seen_FJ=confidence_TJ[frame_F] > 0,
        image_size=tuple(first["image_size"]) if first["image_size"] else None,
    )
