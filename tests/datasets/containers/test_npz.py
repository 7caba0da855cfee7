"""Archives of arrays as numpy writes them, and as nobody should."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets.containers.npz import open_npz
from datasets.sequences import RecordingError


def read(path: Path, name: str) -> np.ndarray:
    with open_npz(str(path)) as archive:
        return archive.array(name)


def header(shape: tuple[int, ...], dtype: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)


def test_arrays_of_every_layout_are_read(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    arrays = {"c": values, "f": np.asfortranarray(values), "big": values.astype(">f8"), "none": np.zeros((0, 3))}
    np.savez_compressed(tmp_path / "a.npz", **arrays, word=np.array("word"), any=np.array([3, "x"], dtype=object))
    for name, expected in arrays.items():
        np.testing.assert_array_equal(read(tmp_path / "a.npz", name), expected)
    assert read(tmp_path / "a.npz", "word").item() == "word"
    assert read(tmp_path / "a.npz", "any").tolist() == [3, "x"]


def test_a_url_is_as_good_as_a_path(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with open_npz(f"file://{tmp_path}/a.npz") as archive:
        assert archive.names == {"x"}
        assert archive.array("x").tolist() == [0, 1, 2]


def test_arrays_of_objects_run_nothing(tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    np.savez(tmp_path / "a.npz", x=np.array(Runs(), dtype=object))
    with pytest.raises(RecordingError, match=r"a\.npz: x"):
        read(tmp_path / "a.npz", "x")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**12, 156), "<f8"), "more than the"),
        (header((10**8, 156), "<f8") + bytes(100), "more than the"),
        (header((3000, 156), "<f8") + bytes(100), "cut off after 100 of"),
        (header((-2, 156), "<f8") + bytes(100), "a complete array"),
        (header((), "|O") + pickle.dumps({"a": 1})[:-1], "x"),
        (header((2,), "<f8")[:20], "a complete array"),
        (b"\x93NUMPY\x03\x00" + header((2,), "<f8")[8:], "version"),
        (b"", "a complete array"),
        (b"rubbish" * 10, "a complete array"),
    ],
)
def test_a_member_that_is_not_what_its_header_says_is_refused(tmp_path, content, message):
    write(tmp_path / "a.npz", content)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path / "a.npz", "x")


def test_what_is_absent_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with pytest.raises(RecordingError, match="expected one called y, found x"):
        read(tmp_path / "a.npz", "y")
    with pytest.raises(RecordingError, match="expected a readable file"):
        read(tmp_path / "gone.npz", "x")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(RecordingError, match="expected a complete archive"):
        read(tmp_path / "b.npz", "x")
