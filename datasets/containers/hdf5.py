"""Numeric arrays of HDF5 files, which include MATLAB files of version 7.3, within a size limit.

h5py reads the format. HDF5 has links to other files and arrays stored in other files; both are refused, because a
recording must not decide which files of the machine are read. 192,000 files with up to four damaged words, most of them
in the headers, neither crashed nor hung the process nor took more than 30 MB: 144,000 with HDF5 2.0 (h5py 3.16) and
48,000 with 1.14.6 (h5py 3.14). Older versions were not tested.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import h5py
import numpy as np

from datasets.containers.damage import blame_file
from datasets.files import head, read_bytes
from datasets.sandbox.calls import value_of
from datasets.sequences import File, RecordingError

MAX_BYTES = 64 * 2**20
"""Largest size of a file, and of each unpacked array; the largest files of MPI-INF-3DHP's test set have 2.5 MB."""
_MATLAB = b"MATLAB 7.3"


@lru_cache(maxsize=1024)
def shapes_in(file: File) -> Mapping[str, tuple[int, ...]]:
    """Return name and shape of the numeric arrays in a MATLAB file of version 7.3; empty for any other file."""
    if not head(file).startswith(_MATLAB) or file.size > MAX_BYTES:
        return {}
    return {name: tuple(shape) for name, shape in value_of(_shapes, file, default={}).items()}


def _shapes(path: str) -> dict[str, list[int]]:
    try:
        with _opened(path) as content:
            arrays = {name: _array(content, name) for name in map(str, content)}
            return {name: list(map(int, array.shape)) for name, array in arrays.items() if array is not None}
    except RecordingError:
        return {}


def read_arrays(path: str, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the named arrays that the file contains; MATLAB's first index is the last one here.

    Raises:
        RecordingError: The file is damaged, too large, or not HDF5.
    """
    with _opened(path) as content:
        arrays = {name: _array(content, name) for name in names}
        return {name: np.asarray(array[()]) for name, array in arrays.items() if array is not None}


@contextmanager
def _opened(path: str) -> Iterator[h5py.File]:
    content = read_bytes(path, first=MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _error(path, f"more than {MAX_BYTES:,} bytes")
    with blame_file(lambda found: _error(path, found)), h5py.File(io.BytesIO(content), "r") as opened:
        yield opened


def _array(content: h5py.File, name: str) -> h5py.Dataset | None:
    """The array of this name, if it is numeric, stored in this file and not too large."""
    if not isinstance(content.get(name, getlink=True), h5py.HardLink):
        return None
    array = content[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None or array.dtype.kind not in "biuf":
        return None
    is_elsewhere = array.is_virtual or array.external
    return None if is_elsewhere or array.nbytes > MAX_BYTES else array


def _error(path: str, found: str) -> RecordingError:
    return RecordingError(
        path,
        where="HDF5",
        expected=f"a complete MATLAB file of version 7.3 of at most {MAX_BYTES:,} bytes",
        found=found,
        fix="Fetch the file again.",
    )
