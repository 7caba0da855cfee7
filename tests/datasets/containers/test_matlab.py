"""MATLAB files of version 5 to 7: SciPy writes them; odd and damaged ones are laid out here, and read in a sandbox."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from scipy.io import savemat
from scipy.sparse import csc_array

from datasets.containers.matlab import read_variables, shapes_in
from datasets.sandbox.calls import run
from datasets.sandbox.limits import Budget, CrashError, MemoryLimitError
from datasets.sequences import File, RecordingError
from tests.datasets.containers import matlab_in_sandbox

MI_INT8, MI_UINT8, MI_UINT16, MI_INT32, MI_UINT32, MI_DOUBLE, MI_MATRIX, MI_COMPRESSED = 1, 2, 4, 5, 6, 9, 14, 15
CELL, STRUCT, CHAR, DOUBLE, UINT8, FUNCTION, OPAQUE = 1, 2, 4, 6, 9, 16, 17
NUMBERS = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def saved(variables: dict[str, Any], *, compressed: bool = True) -> bytes:
    content = io.BytesIO()
    savemat(content, variables, do_compression=compressed)
    return content.getvalue()


def read(folder: Path, content: bytes, *names: str) -> dict[str, np.ndarray]:
    path = folder / "file.mat"
    path.write_bytes(content)
    return read_variables(str(path), names)


def listed(folder: Path, content: bytes) -> dict[str, tuple[int, ...]]:
    path = folder / f"listed{zlib.crc32(content)}.mat"
    path.write_bytes(content)
    return dict(shapes_in(File(str(path), len(content))))


# The format by hand, as "MAT-File Format" lays it out: tag of type and size, content, padding to 8 bytes.
def element(kind: int, content: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(
    kind: int, shape: tuple[int, ...], parts: bytes, *, name: str = "x", flags: int = 0, order: str = "<"
) -> bytes:
    head = element(MI_UINT32, struct.pack(f"{order}II", kind | flags << 8, 0), order)
    sizes = element(MI_INT32, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return element(MI_MATRIX, head + sizes + element(MI_INT8, name.encode(), order) + parts, order)


def file_of(*elements: bytes, order: str = "<") -> bytes:
    version = struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + b"".join(elements)


def packed(plain: bytes) -> bytes:
    squeezed = zlib.compress(plain)
    return struct.pack("<II", MI_COMPRESSED, len(squeezed)) + squeezed


def cell(values: list) -> np.ndarray:
    array = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        array[0, place] = value
    return array


def arrays() -> st.SearchStrategy[np.ndarray]:
    shapes = st_np.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4)
    return st.sampled_from(NUMBERS).flatmap(lambda dtype: st_np.arrays(dtype, shapes))


def letters() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0", max_codepoint=0xFFFF), max_size=9)


def nested() -> st.SearchStrategy[Any]:
    return st.recursive(
        arrays() | letters(),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3).map(cell) | st.fixed_dictionaries({"a": inner, "bc": inner})
        ),
        max_leaves=6,
    )


def same(found: Any, saved: Any) -> None:
    """What is read is what was saved; a text comes in an array of 1, empty or not, and a struct as a record."""
    if isinstance(saved, str):
        assert "".join(found.ravel().tolist()) == saved
    elif isinstance(saved, dict):
        assert set(found.dtype.names) == set(saved)
        for name, value in saved.items():
            same(found[name].item(), value)
    elif saved.dtype == object:
        assert found.shape == saved.shape
        for one, other in zip(found.flat, saved.flat, strict=True):
            same(one, other)
    else:
        assert found.dtype == saved.dtype
        np.testing.assert_array_equal(found, saved)


@settings(max_examples=150, deadline=None)
@given(array=arrays(), value=nested(), compressed=st.booleans())
def test_undamaged_files_give_what_was_saved(tmp_path_factory, array, value, compressed):
    folder = tmp_path_factory.mktemp("same")
    content = saved({"array": array, "nested": value, "other": 1.0}, compressed=compressed)
    found = read(folder, content, "array", "nested", "absent")
    assert set(found) == {"array", "nested"}
    same(found["array"], array)
    same(found["nested"], value)
    shapes = listed(folder, content)
    assert set(shapes) == {"array", "nested", "other"}
    assert (shapes["array"], shapes["other"]) == (array.shape, (1, 1))


def test_logicals_are_numbers(tmp_path):
    assert read(tmp_path, saved({"x": np.array([[True, False]])}), "x")["x"].tolist() == [[1, 0]]


def test_several_texts_come_as_rows(tmp_path):
    content = saved({"x": np.array(["ab", "cde"]), "grid": np.full((2, 3), "yes"), "one": "é€"})
    values = read(tmp_path, content, "x", "grid", "one")
    assert values["x"].tolist() == ["ab ", "cde"]
    assert values["grid"].tolist() == [["yes"] * 3] * 2
    assert values["one"].item() == "é€"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(tmp_path, order):
    numbers = np.arange(6.0).reshape(2, 3)
    text = element(MI_UINT16, "né".encode("utf-16-le" if order == "<" else "utf-16-be"), order)
    inner = matrix(CHAR, (1, 2), text, name="", order=order)
    fields = struct.pack(f"{order}HHi", *((5, 4) if order == "<" else (4, 5)), 8)  # the tag of four bytes and less
    names = element(MI_INT8, b"a".ljust(8, b"\0") + b"b".ljust(8, b"\0"), order)
    content = file_of(
        matrix(DOUBLE, (2, 3), element(MI_DOUBLE, numbers.astype(f"{order}f8").tobytes("F"), order), order=order),
        matrix(STRUCT, (1, 1), fields + names + inner + element(MI_MATRIX, b"", order), name="s", order=order),
        order=order,
    )
    values = read(tmp_path, content, "x", "s")
    np.testing.assert_array_equal(values["x"], numbers)
    assert values["s"][0, 0]["a"].tolist() == ["né"]
    assert values["s"][0, 0]["b"].size == 0


def test_doubles_may_be_stored_as_small_integers(tmp_path):
    """As MATLAB does where all of them fit; the class says double."""
    x = read(tmp_path, file_of(matrix(DOUBLE, (1, 3), element(MI_UINT8, bytes([1, 2, 250])))), "x")["x"]
    assert x.tolist() == [[1, 2, 250]]


def test_a_file_may_lie_behind_a_url(tmp_path):
    (tmp_path / "x.mat").write_bytes(saved({"x": np.ones((2, 3))}))
    url = f"file://{tmp_path}/x.mat"
    assert shapes_in(File(url, 0)) == {"x": (2, 3)}
    assert read_variables(url, ["x"])["x"].sum() == 6


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (saved({"odd": csc_array(np.eye(3)), "x": 1.0})[128:], "sparse"),
        (saved({"odd": np.array([1 + 2j]), "x": 1.0})[128:], "complex"),
        (matrix(FUNCTION, (1, 1), b"", name="odd") + saved({"x": 1.0})[128:], "function"),
        (element(MI_MATRIX, element(MI_UINT32, struct.pack("<II", OPAQUE, 0)) + element(MI_INT8, b"odd")), "object"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_not_read(tmp_path, odd, what):
    content = file_of() + odd
    if what != "complex":  # the list does not tell
        assert "odd" not in listed(tmp_path, content)
    if what == "object":  # its name stands elsewhere
        assert read(tmp_path, content, "odd") == {}
        return
    assert read(tmp_path, content, "x")["x"].item() == 1
    if what in ("sparse", "complex"):
        with pytest.raises(RecordingError, match=f"odd: expected .*{what}"):
            read(tmp_path, content, "odd")


def cells_in_cells(depth: int) -> bytes:
    inner = matrix(DOUBLE, (0, 0), element(MI_DOUBLE, b""))
    for _ in range(depth):
        inner = matrix(CELL, (1, 1), inner)
    return inner


NINE = element(MI_DOUBLE, bytes(72))
FIELDS = element(MI_INT32, struct.pack("<i", 8))


DAMAGED = {
    "version 7.3": b"MATLAB 7.3 MAT-file".ljust(128),
    "another file": b"GIF89a".ljust(128),
    "nothing": b"",
    "cut off": file_of(matrix(DOUBLE, (3, 3), NINE))[:-8],
    "no variable": file_of(element(MI_DOUBLE, bytes(16))),
    "too large a side": file_of(matrix(DOUBLE, (1, 10**9), NINE)),
    "negative sides": file_of(matrix(DOUBLE, (-3, -3), NINE)),
    "another size": file_of(matrix(DOUBLE, (3, 2), NINE)),
    "no sides": file_of(matrix(DOUBLE, (), NINE)),
    "too many sides": file_of(matrix(DOUBLE, (1,) * 33, NINE)),
    "numbers of no type": file_of(matrix(DOUBLE, (3, 3), element(77, bytes(72)))),
    "a name of no type": file_of(matrix(DOUBLE, (3, 3), NINE)).replace(element(MI_INT8, b"x"), element(77, b"x")),
    "numbers as text": file_of(matrix(CHAR, (1, 8), element(MI_DOUBLE, b"12345678"))),
    "too few letters": file_of(matrix(CHAR, (2, 4), element(MI_UINT8, b"1234567"))),
    "numbers as a cell": file_of(matrix(CELL, (1, 100), NINE)),
    "too few cells": file_of(matrix(CELL, (1, 2), cells_in_cells(1))),
    "many cells": file_of(matrix(CELL, (10**4, 10**5), cells_in_cells(1))),
    "fields without a length": file_of(matrix(STRUCT, (1, 1), FIELDS[:8] + bytes(8) + element(MI_INT8, b"a"))),
    "many fields": file_of(matrix(STRUCT, (1, 1), FIELDS + element(MI_INT8, bytes(2**16)))),
    "fields without values": file_of(matrix(STRUCT, (1, 1), FIELDS + element(MI_INT8, bytes(16)))),
    "more than is said": file_of(packed(matrix(DOUBLE, (3, 3), NINE) + b"more")),
    "packed, cut off": file_of(packed(matrix(DOUBLE, (3, 3), NINE)[:-1])),
    "packed, changed": file_of(packed(matrix(DOUBLE, (3, 3), NINE))[:-1] + b"?"),
    "packed, no zlib": file_of(struct.pack("<II", MI_COMPRESSED, 4) + b"abcd"),
}


def outcome(path: Path, *names: str, memory: int = 1_000_000_000) -> Any:
    """The names of what could be read, or the reason: of the reader, or of the sandbox."""
    try:
        [answer] = run(matlab_in_sandbox.read, str(path), list(names), budget=Budget(seconds=60.0, memory=memory))
    except (CrashError, MemoryLimitError) as error:
        return str(error)
    return answer.value


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_refused_or_contained(tmp_path, damage):
    path = tmp_path / "damaged.mat"
    path.write_bytes(DAMAGED[damage])
    assert isinstance(outcome(path, "x"), str)


def test_scipys_crash_is_contained(tmp_path):
    path = tmp_path / "damaged.mat"
    path.write_bytes(DAMAGED["numbers of no type"])
    assert outcome(path, "x").startswith("crash: ")
    path.write_bytes(saved({"x": 1.0}))
    assert outcome(path, "x") == ["x"]


def test_a_wrong_checksum_is_damage(tmp_path):
    content = bytearray(saved({"x": np.arange(100.0)}))
    content[-1] ^= 1
    with pytest.raises(RecordingError, match="incorrect data check"):
        read(tmp_path, bytes(content), "x")


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"absent\.mat: file"):
        read_variables(str(tmp_path / "absent.mat"), ["x"])


def peak_of(action: Any) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compressed", [True, False])
def test_memory_is_that_of_what_is_asked_for(tmp_path, compressed):
    big, size = np.random.default_rng(0).normal(size=(1000, 2000)), 16_000_000
    content = saved({"before": big, "x": big, "after": big}, compressed=compressed)
    path = tmp_path / "big.mat"
    path.write_bytes(content)
    del content
    assert peak_of(lambda: read_variables(str(path), ["x"])) < 1.2 * size
    assert peak_of(lambda: read_variables(str(path), ["absent"])) < 0.1 * size
    assert peak_of(lambda: shapes_in(File(str(path), 1))) < 0.1 * size


@pytest.mark.parametrize(
    "content",
    [
        file_of(
            packed(matrix(DOUBLE, (75 * 2**20, 1), struct.pack("<II", MI_DOUBLE, 600 * 2**20) + bytes(600 * 2**20)))
        ),
        file_of(
            packed(
                matrix(
                    STRUCT,
                    (2**12, 2**10),
                    FIELDS + element(MI_INT8, b"x".ljust(8, b"\0")) + element(MI_MATRIX, b"") * 2**22,
                )
            )
        ),
        file_of(packed(matrix(CELL, (2**12, 2**10), element(MI_MATRIX, b"") * 2**22))),
    ],
    ids=["numbers", "structs", "cells"],
)
def test_what_unpacks_to_too_much_is_contained(tmp_path, content):
    """Hundreds of megabytes in half a megabyte and less."""
    assert len(content) < 700_000
    path = tmp_path / "bomb.mat"
    path.write_bytes(content)
    assert outcome(path, "x", memory=200_000_000).startswith("memory limit: ")


SAMPLES = [
    saved(
        {
            "numbers": np.arange(24.0).reshape(2, 3, 4),
            "small": np.uint8(3),
            "logical": np.array([True, False]),
            "text": np.array(["ab", "cde"]),
            "cells": cell([np.ones((2, 2)), "x", cell([np.int16(1)])]),
            "records": np.array([(1.0, "a"), (2.0, "b")], dtype=[("p", "O"), ("q", "O")]),
            "sparse": csc_array(np.eye(3)),
        },
        compressed=compressed,
    )
    for compressed in (True, False)
]
NAMES = ("numbers", "small", "logical", "text", "cells", "records")


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_files_give_values_or_a_reason(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.mktemp("damaged") / "file.mat"
    path.write_bytes(content)
    for names in (NAMES, *[[name] for name in NAMES]):
        found = outcome(path, *names)
        assert isinstance(found, str) or set(found) <= set(names)
    assert all(isinstance(shape, tuple) for shape in shapes_in(File(str(path), len(content))).values())
