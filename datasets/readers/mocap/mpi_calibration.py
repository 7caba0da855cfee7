"""Camera poses in ``camera.calibration`` files ("Skeletool Camera Calibration File V1.0") of MPI-INF-3DHP.

Each camera has a line ``name N`` and then lines of a key and numbers; ``extrinsic`` is a 4 x 4 matrix, row by row, from
the world to the camera's frame (x right, y down, z forward), here in millimetres.
"""

from collections.abc import Mapping

import numpy as np

from datasets.files import read_bytes
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

MAX_BYTES = 2**20
"""Number of bytes that are read; 14 cameras have 5 kB."""
_FARTHEST_MM = 1e6


def read_extrinsics(path: str) -> Mapping[int, Float[np.ndarray, "4 4"]]:
    """Return each camera's matrix by its number.

    Raises:
        RecordingError: A matrix is not a rotation and translation.
    """
    extrinsics, name = {}, None
    for line in read_bytes(path, first=MAX_BYTES).decode("ascii", "replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "name":
            name = int(words[1]) if words[1].isdecimal() and len(words[1]) < 10 else None
        elif words[:1] == ["extrinsic"] and name is not None:
            extrinsics[name] = _extrinsic(words[1:], f"extrinsic of camera {name}", path)
    return extrinsics


def _extrinsic(words: list[str], where: str, path: str) -> Float[np.ndarray, "4 4"]:
    try:
        extrinsic_44 = np.array([float(word) for word in words]).reshape(4, 4)
    except ValueError as error:
        raise _error(path, where, str(error)) from error
    turn_33 = extrinsic_44[:3, :3]
    is_small = np.abs(extrinsic_44).max() < _FARTHEST_MM
    if not is_small or not np.allclose(turn_33 @ turn_33.T, np.eye(3), atol=1e-3) or np.linalg.det(turn_33) < 0:
        raise _error(path, where, " ".join(words)[:120])
    return extrinsic_44


def _error(path: str, where: str, found: str) -> RecordingError:
    expected = "16 numbers: a rotation and a translation"
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the file again.")
