"""A reader that is not of this checkout, as a user would write it: one line of 51 numbers a frame."""

from pathlib import Path

import numpy as np

MODULE = '''"""Our lab's lines of numbers."""

import numpy as np

from datasets.files import read_bytes
from datasets.sequences import MotionSequence, Recording, Source

SOURCE = Source(name="lab", kind="mocap", licence="ours", url="", test_subjects=frozenset({"lab/b"}))
SOURCES = (SOURCE,)


class LabReader:
    name = "lab"

    def find(self, files):
        return [
            Recording(path=file.path, reader=self.name, source=SOURCE, size=file.size)
            for file in files
            if file.path.endswith(".lab")
        ]

    def read(self, recording):
        name = recording.path.rpartition("/")[2]
        positions = np.array(read_bytes(recording.path).split(), np.float32).reshape(-1, 17, 3)
        yield MotionSequence(
            source=SOURCE,
            sequence_id=name,
            subject=f"lab/{name.partition('.')[0]}",
            fps=30.0,
            keypoints_3d_TJC=positions,
            confidence_TJ=np.ones(positions.shape[:2], np.float32),
        )


READER = LabReader()
'''


def write_module(folder: Path, text: str = MODULE) -> None:
    """Write ``lab_motion.reader``."""
    (folder / "lab_motion").mkdir()
    (folder / "lab_motion" / "__init__.py").touch()
    (folder / "lab_motion" / "reader.py").write_text(text)


def write_distribution(folder: Path) -> None:
    """Write what an installer leaves of a package that offers ``lab_motion.reader``."""
    info = folder / "lab_motion-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-motion\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[motion_encoder.readers]\nlab = lab_motion.reader\n")


def write_recordings(folder: Path) -> np.ndarray:
    """Write ``a.lab``, twenty frames of somebody who stands and moves by 1 cm a frame to the side."""
    right_leg, left_leg = ([(x, y) for y in (0.9, 0.5, 0.1)] for x in (-0.1, 0.1))
    left_arm, right_arm = ([(x, y) for y in (1.4, 1.1, 0.85)] for x in (0.2, -0.2))
    trunk = [(0, 1.15), (0, 1.4), (0, 1.5), (0, 1.7)]
    standing = [(0, 0.9), *right_leg, *left_leg, *trunk, *left_arm, *right_arm]
    positions = np.array([[(x + 0.01 * frame, y, 0) for x, y in standing] for frame in range(20)], np.float32)
    folder.mkdir()
    np.savetxt(folder / "a.lab", positions.reshape(20, -1))
    return positions
