"""Arrays of foreign ``.npz`` archives, read one at a time; no code is run, and no array may exceed a size limit.

An archive is a zip file with one ``NAME.npy`` per array (numpy.lib.format). Arrays of Python objects, which some data
sets contain, are pickles and are read with the allow-list of ``pickles.py``. Only the bytes of the requested arrays are
fetched, locally or from a URL.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.containers import pickles
from datasets.containers.damage import blame_file
from datasets.containers.pickles import check_characters
from datasets.files import head, url_to_fs
from datasets.sandbox.calls import value_of
from datasets.sequences import File, RecordingError, damaged

MAX_BYTES = 2**30
"""The largest array: 800,000 frames of SMPL-X, 1.9 hours at 120 Hz; damaged headers ask for more."""
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Npz:
    """An open archive."""

    def __init__(self, path: str, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self.names = frozenset(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))

    def array(self, name: str) -> np.ndarray:
        """Return one array.

        Raises:
            RecordingError: The array is missing, damaged, too large, or contains objects that are not data.
        """
        if name not in self.names:
            found = ", ".join(sorted(self.names)[:20])
            raise damaged(self.path, "arrays", f"one called {name}", found or "none")
        with (
            blame_file(lambda found: damaged(self.path, name, "a complete array", found)),
            self._archive.open(f"{name}.npy") as member,
        ):
            return _read(member, f"{self.path}: {name}")

    def dictionary(self, name: str) -> dict[Any, Any]:
        """Return the dictionary in an array without dimensions.

        Raises:
            RecordingError: As for ``array``, or the array contains something else.
        """
        array = self.array(name)
        value = array.item() if array.size == 1 else None
        if not isinstance(value, dict):
            raise damaged(self.path, name, "a dictionary", f"an array {array.shape} of {array.dtype}")
        return value


@lru_cache(maxsize=4096)
def names_in(file: File) -> frozenset[str]:
    """Return the names of an archive's arrays; empty for a file that is not an archive."""
    if not head(file).startswith(b"PK\x03\x04"):
        return frozenset()
    try:
        with open_npz(file.path) as archive:
            return archive.names
    except RecordingError:
        return frozenset()


def keys_in(file: File, name: str) -> frozenset[str]:
    """Return the keys of a dictionary in an archive; empty if there is no such dictionary."""
    return frozenset(value_of(_keys, file, name, default=[]))


def _keys(path: str, name: str) -> list[str]:
    try:
        with open_npz(path) as archive:
            return [key for key in archive.dictionary(name) if isinstance(key, str)]
    except RecordingError:
        return []


@contextmanager
def open_npz(path: str) -> Iterator[Npz]:
    """Open an archive, at a local path or any fsspec URL.

    Raises:
        RecordingError: The file is missing, not readable, or not a zip file.
    """
    try:
        filesystem, inner = url_to_fs(path)
        file: Any = filesystem.open(inner, "rb")
    except (FileNotFoundError, PermissionError) as error:
        raise damaged(path, "file", "a readable file", str(error)) from error
    with file:
        with blame_file(lambda found: damaged(path, "npz", "a complete archive", found)):
            archive = zipfile.ZipFile(file)
        with archive:
            yield Npz(path, archive)


def _read(member: Any, where: str) -> np.ndarray:
    version = np.lib.format.read_magic(member)
    if version not in _READ_HEADER:
        raise ValueError(f"version {version} of the npy format")
    shape, fortran_order, dtype = _READ_HEADER[version](member)
    num_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        return np.asarray(pickles.read(member, where), dtype=object)
    if dtype.kind == "V":
        raise ValueError(f"a structured array of {dtype}")
    content = _exactly(member, num_bytes if min(shape, default=0) >= 0 else -1)
    array = np.ndarray(shape, dtype, buffer=content, order="F" if fortran_order else "C")
    check_characters(array)
    return array


def _exactly(member: Any, num_bytes: int) -> bytes:
    if not 0 <= num_bytes <= MAX_BYTES:
        raise ValueError(f"{num_bytes} bytes, more than the {MAX_BYTES:,} that an array may have")
    content = member.read(num_bytes)
    if len(content) < num_bytes:
        raise ValueError(f"cut off after {len(content):,} of {num_bytes:,} bytes")
    return content
