"""A reader that is not of this checkout, and recordings of its own that hang, crash or fill the memory of a process."""

import io
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.outside_reader import MODULE

HOSTILE = """
import os
import signal
import time

from scipy.io import loadmat


class HostileReader(LabReader):
    def read(self, recording):
        name = recording.path.rpartition("/")[2]
        if "good" in name:
            yield from super().read(recording)
        if "hang" in name:
            time.sleep(3600)
        if "killed" in name:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "memory" in name:
            eaten = [bytes(10**7) for _ in range(10**6)]
        if "matlab" in name:
            loadmat(recording.path)


READER = HostileReader()
"""
REASONS = {
    "1_hang.lab": r"time limit: expected the next sequence within 2 s, found none",
    "3_killed.lab": r"crash: .* signal 11 \(SIGSEGV\)",
    "5_memory.lab": r"memory limit: .* at most 0.3 GB",
    "7_matlab.lab": r"crash: .* signal 11 \(SIGSEGV\)",
}
"""Recordings, with what quarantine says of each under the limits below."""
LIMITS = ("--limits.seconds", "2", "--limits.seconds-per-mb", "0", "--limits.memory-gb", "0.3")


def write_hostile_module(folder: Path) -> None:
    """Write ``hostile_lab.reader``."""
    (folder / "hostile_lab").mkdir()
    (folder / "hostile_lab" / "__init__.py").touch()
    (folder / "hostile_lab" / "reader.py").write_text(MODULE + HOSTILE)


def write_hostile_recordings(folder: Path, good: str) -> None:
    """Write the recordings, and a good one before and after each."""
    for number in range(0, 10, 2):
        (folder / f"{number}_good.lab").write_text(good)
    for name in REASONS:
        (folder / name).write_bytes(matlab_file_with_one_changed_byte())


def matlab_file_with_one_changed_byte() -> bytes:
    """SciPy 1.17 reads it and ends the process: the byte is the type of a variable's name."""
    file = io.BytesIO()
    savemat(file, {"d_skel": np.zeros((20, 3, 4))})
    content = bytearray(file.getvalue())
    content[180] = 16
    return bytes(content)
