"""UI-PRMD, rehabilitation exercises: file names and text tables that its Kinect and Vicon recordings share.

Vakanski et al., *A Data Set of Human Body Movements for Physical Rehabilitation Exercises*, Data 2018. A recording is
``mMM_sSS_eEE_positions.txt`` (movement, subject, episode; then ``_inc`` for a movement done wrong on purpose): one row
of comma-separated numbers per frame, no header, sometimes compressed to ``.gz``. Both sensors use the same names, so
the number of columns distinguishes them; CMU's exponential maps have as many columns as Vicon, so the name is checked
too.

Shapes: T frames, K columns, J = 17 joints.
"""

import re
import zlib
from pathlib import PurePosixPath

import numpy as np

from datasets.files import head, read_bytes
from datasets.sequences import File, MotionSequence, Recording, RecordingError, damaged
from motion_encoder.shapes import Float

LABELS = (
    "deep squat", "hurdle step", "inline lunge", "side lunge", "sit to stand", "standing active straight leg raise",
    "standing shoulder abduction", "standing shoulder extension", "standing shoulder internal-external rotation",
    "standing shoulder scaption",
)  # fmt: skip
TEST_SUBJECTS = frozenset({"ui_prmd/s05", "ui_prmd/s10"})
"""Test subjects. The data set names none, and papers usually split by subject: the last of each five."""
LICENCE = "public domain (ODC PDDL 1.0)"
URL = "https://webpages.uidaho.edu/ui-prmd"
MAX_TEXT = 256 * 2**20
"""Largest text in bytes; the longest recording has 0.3 MB."""
_NAME = re.compile(
    r"(?:^|/)m(?P<movement>0[1-9]|10)_s(?P<subject>\d\d)_e(?P<episode>\d\d)_positions(?P<wrong>_inc)?\.txt(?:\.gz)?$",
    re.IGNORECASE,
)


def is_table(file: File, columns: int) -> bool:
    """Tell by its name and the count of numbers in the first row whether a file has a sensor's positions."""
    if not _NAME.search(file.path):
        return False
    try:
        first_row = _text(head(file), file.path, whole=False).partition(b"\n")[0]
    except RecordingError:
        return False
    return first_row.count(b",") == columns - 1


def read_table(path: str, columns: int) -> Float[np.ndarray, "T K"]:
    """Return the numbers of a file.

    Raises:
        RecordingError: A row is truncated, or contains something other than finite numbers.
    """
    rows = _text(read_bytes(path), path, whole=True).decode("latin-1").splitlines()
    cells = [row.split(",") for row in rows if row.strip()]
    for number, row in enumerate(cells):
        if len(row) != columns:
            raise damaged(path, f"row {number + 1}", f"{columns} numbers", f"{len(row)}")
    try:
        values_TK = np.array(cells, dtype=np.float64).reshape(-1, columns)
    except ValueError as error:
        raise damaged(path, "rows", "numbers", str(error)) from error
    if not len(values_TK):
        raise damaged(path, "rows", "one a frame", "none")
    if not np.isfinite(values_TK).all():
        raise damaged(path, "rows", "finite numbers", "others")
    return values_TK


def named_sequence(
    recording: Recording,
    *,
    fps: float,
    positions_TJ3: Float[np.ndarray, "T 17 3"],
    confidence_TJ: Float[np.ndarray, "T 17"],
    repairs: tuple[str, ...] = (),
) -> MotionSequence:
    """Return the sequence of a recording, identified by its name; the subject is the same for both sensors.

    Raises:
        RecordingError: The file name is not one of the data set's.
    """
    match = _NAME.search(recording.path)
    if match is None:
        raise damaged(recording.path, "name", "m01_s01_e01_positions.txt", PurePosixPath(recording.path).name)
    label = int(match["movement"]) - 1
    return MotionSequence(
        source=recording.source,
        sequence_id=f"m{match['movement']}_s{match['subject']}_e{match['episode']}{match['wrong'] or ''}".lower(),
        subject=f"ui_prmd/s{match['subject']}",
        action=LABELS[label],
        label=label,
        fps=fps,
        keypoints_3d_TJC=positions_TJ3.astype(np.float32),
        confidence_TJ=confidence_TJ.astype(np.float32),
        repairs=repairs,
    )


def _text(content: bytes, path: str, *, whole: bool) -> bytes:
    """Decompress gzip, if it is used; ``whole`` requires that the end is there."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(content, MAX_TEXT)
    except zlib.error as error:
        raise damaged(path, "gzip", "compressed text", str(error)) from error
    if whole and not inflater.eof:
        raise damaged(path, "gzip", f"a complete file of at most {MAX_TEXT:,} bytes", "more, or a truncated one")
    return text
