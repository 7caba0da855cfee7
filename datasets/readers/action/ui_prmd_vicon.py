"""UI-PRMD recorded by Vicon: 39 markers of the full-body Plug-in Gait set, millimetres, Z up, 100 Hz.

The joints are computed from the markers with the table in ``marker_sets``. A marker that the cameras lost is at exactly
0, 0, 0, on the floor in the middle of the laboratory: it is not observed, and neither is a joint that needs it. The
angles beside the positions are not read.

Shapes: T frames, M = 39 markers, J = 17 joints.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.marker_sets import PLUG_IN_GAIT, markers_to_h36m17
from datasets.readers.action.ui_prmd import LABELS, LICENCE, TEST_SUBJECTS, URL, is_table, named_sequence, read_table
from datasets.sequences import File, MotionSequence, Recording, Source

FPS = 100.0
"""The rate stated in the data set's paper; the files state none."""
METRES = 0.001
COLUMNS = 3 * len(PLUG_IN_GAIT)
SOURCES = (
    Source(name="ui_prmd_vicon", kind="mocap", licence=LICENCE, url=URL, test_subjects=TEST_SUBJECTS, labels=LABELS),
)


class UiPrmdViconReader:
    """Reads a ``_positions`` file of markers."""

    name = "ui_prmd_vicon"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim positions with 117 columns."""
        return [
            Recording(path=file.path, reader=self.name, source=SOURCES[0], size=file.size)
            for file in files
            if is_table(file, COLUMNS)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file."""
        markers_TM3 = METRES * read_table(recording.path, COLUMNS).reshape(-1, len(PLUG_IN_GAIT), 3)
        seen_TM = (markers_TM3 != 0).any(axis=-1)
        upright_TM3 = markers_TM3 @ rotation_to_y_up(np.array([0.0, 0.0, 1.0])).T
        positions_TJ3, confidence_TJ = markers_to_h36m17(PLUG_IN_GAIT, upright_TM3, seen_TM)
        yield named_sequence(
            recording,
            fps=FPS,
            positions_TJ3=positions_TJ3,
            confidence_TJ=confidence_TJ,
            repairs=("turned from +Z up to Y up", *_lost(seen_TM)),
        )


READER = UiPrmdViconReader()


def _lost(seen_TM: np.ndarray) -> tuple[str, ...]:
    lost = [name for name, seen_T in zip(PLUG_IN_GAIT, seen_TM.T, strict=True) if not seen_T.all()]
    return (f"markers lost in some frames: {', '.join(lost)}",) if lost else ()
