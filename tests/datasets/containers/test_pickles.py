"""Foreign pickles: what is data comes out as it went in; what is not is refused, and nothing of it is run."""

import collections
import contextlib
import datetime
import io
import os
import pickle
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from datasets.containers.pickles import ALLOWED, load, loads
from datasets.sandbox.calls import run
from datasets.sandbox.limits import Budget, MemoryLimitError, TimeLimitError
from datasets.sequences import RecordingError
from tests.datasets.containers.pickled import printed

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = {
    "text": ["", "Grüße", "x" * 300],
    "numbers": (0, -1, 255, 65_536, -(2**31), 2**70, 1.5, float("inf"), True, None, 1 + 2j),
    b"bytes": b"\x00\xff",
    3: {"set": {1, 2}, "frozen": frozenset({"a"}), "nested": [[], {}, (), ((1,),)]},
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):  # numpy brings some to the machine's order of bytes
        same_kind = isinstance(a, np.ndarray) and a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
        return same_kind and a.shape == b.shape and repr(a.tolist()) == repr(b.tolist())
    if isinstance(b, dict):
        return isinstance(a, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_out_as_it_went_in(protocol):
    assert equal(loads(pickle.dumps(PLAIN, protocol), "x.pkl"), PLAIN)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_may_be_pickled_again(protocol):
    loaded = loads(pickle.dumps(np.arange(6.0).reshape(2, 3), protocol), "x.pkl")
    again = pickle.loads(pickle.dumps(loaded, protocol))  # noqa: S301
    assert type(again) is np.ndarray
    np.testing.assert_array_equal(again, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">i2"),
        np.arange(20_000.0).reshape(10, 2, 1000),  # long enough to be a view
        np.zeros((0, 17, 3)),
        np.array(3.5),
        np.array([True, False]),
        np.array(["walk", "S1"]),
        np.array([b"walk", b""]),
        np.array([1 + 2j]),
        np.array([{"a": 1}, [1, 2], None], dtype=object),
        np.array({"S1": [1]}, dtype=object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_out_as_they_went_in(protocol, array):
    assert equal(loads(pickle.dumps([array, array], protocol), "x.pkl"), [array, array])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("ab"), np.str_(""), np.bytes_(b"a")]
)
def test_scalars_keep_their_type(protocol, scalar):
    found = loads(pickle.dumps(scalar, protocol), "x.pkl")
    assert (type(found), found) == (type(scalar), scalar)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_special_dicts_come_as_dicts(protocol):
    ordered = collections.OrderedDict(b=1, a=[2])
    default = collections.defaultdict(list, {"a": [1]})
    found = loads(pickle.dumps([ordered, default, collections.defaultdict(None)], protocol), "x.pkl")
    assert found == [{"b": 1, "a": [2]}, {"a": [1]}, {}]
    assert list(found[0]) == ["b", "a"]
    assert {type(each) for each in found} == {dict}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_numpy_layouts_are_known(protocol):
    """numpy 2 renamed numpy.core to numpy._core; the lengths differ, so only unframed protocols can be rewritten."""
    ours = pickle.dumps(np.arange(3), min(protocol, 3))
    new, old = (b"numpy._core", b"numpy.core") if b"numpy._core" in ours else (b"numpy.core", b"numpy._core")
    for content in (ours, ours.replace(new, old)):
        assert equal(loads(content, "x.pkl"), np.arange(3))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_sparse_matrices_come_as_their_attributes(protocol):
    matrix = sparse.csc_matrix(np.array([[0, 1.5], [2, 0]]))
    found = loads(pickle.dumps(matrix, protocol), "x.pkl")
    assert found["_shape"] == (2, 2)
    np.testing.assert_array_equal(found["data"], [2, 1.5])


# As Python 2.7 with numpy 1.16 writes them, typed by hand.
PYTHON2 = {  # {"s": "\xe9'\n", "u": u"\xe9", "i": 1L, "a": np.array([1., 2.])}
    0: (
        b"(dp0\nS's'\np1\nS\"\\xe9'\\n\"\np2\nsS'u'\np3\nV\xe9\np4\nsS'i'\np5\nL1L\nsS'a'\np6\n"
        b"cnumpy.core.multiarray\n_reconstruct\np7\n(cnumpy\nndarray\np8\n(I0\ntp9\nS'b'\np10\ntp11\nRp12\n"
        b"(I1\n(I2\ntp13\ncnumpy\ndtype\np14\n(S'f8'\np15\nI0\nI1\ntp16\nRp17\n(I3\nS'<'\np18\nNNNI-1\nI-1\nI0\ntp19\n"
        b"bI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\np20\ntp21\nbs."
    ),
    2: (
        b"\x80\x02}q\x00(U\x01sq\x01U\x03\xe9'\nq\x02U\x01uq\x03X\x02\x00\x00\x00\xc3\xa9q\x04U\x01iq\x05\x8a\x01\x01"
        b"U\x01aq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01bq\n\x87q\x0bRq\x0c"
        b"(K\x01K\x02\x85q\rcnumpy\ndtype\nq\x0eU\x02f8q\x0fK\x00K\x01\x87q\x10Rq\x11"
        b"(K\x03U\x01<q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x13b\x89"
        b"U\x10\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00@q\x14tq\x15bu."
    ),
}


@pytest.mark.parametrize("protocol", PYTHON2)
def test_python_2_text_is_latin_1(protocol):
    found = loads(PYTHON2[protocol], "x.pkl")
    assert equal(found, {"s": "é'\n", "u": "é", "i": 1, "a": np.array([1.0, 2.0])})


def test_python_2_classes_come_as_their_attributes():
    content = b"\x80\x02cchumpy.ch\nCh\nq\x00)\x81q\x01}q\x02U\x01xK\x05sb."
    assert loads(content, "x.pkl") == {"x": 5}


class Calls:
    """Pickles as a call, the way an attacker writes it."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.call


def ran(path: Path) -> str:
    return f"touch {path}"


EVIL = {
    "os.system": lambda mark: Calls(os.system, ran(mark)),
    "subprocess": lambda mark: Calls(subprocess.Popen, ["touch", str(mark)]),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Calls(getattr, np.ndarray, "tofile"),
    "map": lambda mark: Calls(map, os.system, [ran(mark)]),
    "np.load": lambda mark: Calls(np.load, str(mark)),
    "nested": lambda mark: {"fine": [1, Calls(list, [Calls(os.system, ran(mark))])]},
    "in an object array": lambda mark: np.array([Calls(os.system, ran(mark))], dtype=object),
    "as a factory": lambda mark: Calls(collections.defaultdict, Calls(os.system, ran(mark))),
    "as a state": lambda mark: Calls(collections.OrderedDict, state={"a": Calls(os.system, ran(mark))}),
}
NAMED = {
    "os.system": "posix.system", "subprocess": r"\w+\.Popen", "eval": "eval", "exec": "exec", "getattr": "getattr",
    "map": "map", "np.load": "numpy", "nested": "posix.system", "in an object array": "posix.system",
    "as a factory": "posix.system", "as a state": "posix.system",
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("evil", EVIL)
def test_what_would_run_code_is_refused_and_named(tmp_path, evil, protocol):
    path, mark = tmp_path / "evil.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(EVIL[evil](mark), protocol))
    with pytest.raises(RecordingError, match=rf"evil\.pkl: pickle: expected only data, found .*{NAMED[evil]}.*which"):
        load(str(path))
    assert not mark.exists()


def test_tensors_of_torch_are_refused():
    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(RecordingError, match="after its end"):  # five pickles, the first a magic number
        loads(file.getvalue(), "x.pt")
    with pytest.raises(RecordingError, match=r"torch\._utils\._rebuild_tensor_v2"):
        loads(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.", "x.pt")
    with pytest.raises(RecordingError, match="storage of torch"):
        loads(b"\x80\x02X\x07\x00\x00\x00storageQ.", "x.pt")


def test_other_classes_are_refused_by_name():
    for value, name in ((datetime.date(2020, 1, 1), "datetime.date"), (Path("a"), "pathlib"), (slice(3), "slice")):
        with pytest.raises(RecordingError, match=name):
            loads(pickle.dumps(value), "x.pkl")


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def long(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little")


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n" + text("f8") + b"K\x00K\x01\x87R"
OBJECTS = DTYPE.replace(b"f8", b"O8")
EMPTY_ARRAY = RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85" + b"C\x01btR"
HUGE = 10**12


def state_of(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    return EMPTY_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb."


REFUSED = {
    "bytes(10**12)": b"cbuiltins\nbytes\n" + long(HUGE) + b"\x85R.",
    "bytearray(10**12)": b"cbuiltins\nbytearray\n" + long(HUGE) + b"\x85R.",
    "ndarray(10**12)": NDARRAY + long(HUGE) + b"\x85\x85R.",
    "reconstructed huge": RECONSTRUCT + b"(" + NDARRAY + long(HUGE) + b"\x85" + b"C\x01btR.",
    "huge shape": state_of(long(HUGE) + b"\x85", DTYPE, b"C\x08" + bytes(8)),
    "negative shape": state_of(b"J\xff\xff\xff\xff\x85", DTYPE, b"C\x08" + bytes(8)),
    "more objects than are listed": state_of(b"K\x02\x85", OBJECTS, b"]Na"),
    "long items": b"cnumpy\ndtype\n" + text("S2000000000") + b"K\x00K\x01\x87R.",
    "pointers as bytes": state_of(b"K\x01\x85", OBJECTS, b"C\x08\x01\x02\x03\x04\x05\x06\x07\x08"),
    "pointers in a buffer": (
        b"cnumpy.core.numeric\n_frombuffer\n(" + b"C\x08\x01\x02\x03\x04\x05\x06\x07\x08" + OBJECTS
        + b"K\x01\x85" + text("C") + b"tR."
    ),
    "pointers as a scalar": (
        b"cnumpy.core.multiarray\nscalar\n" + OBJECTS + b"C\x08\x01\x02\x03\x04\x05\x06\x07\x08" + b"\x86R."
    ),
    "an array made twice": (
        EMPTY_ARRAY + b"q\x00(K\x01K\x01\x85" + OBJECTS + b"\x89]Natb0h\x00(K\x01K\x01\x85" + DTYPE
        + b"\x89C\x08" + bytes(8) + b"tb."
    ),
    "fields over the end": (
        b"cnumpy\ndtype\n" + text("V8") + b"K\x00K\x01\x87R(K\x03" + text("|") + b"N(" + text("a") + b"t}" + text("a")
        + DTYPE + long(HUGE) + b"\x86sK\x08K\x01K\x10tb."
    ),
    "fields in a state": DTYPE + b"(K\x03" + text("|") + b"N(" + text("a") + b"t}K\x08K\x01K\x10tb.",
    "long text": b"\x8d" + HUGE.to_bytes(8, "little") + b"abc.",
    "long number": b"\x8b\xff\xff\xff\x7fabc.",
    "an array in a set": b"\x8f(" + state_of(b"K\x01\x85", DTYPE, b"C\x08" + bytes(8))[:-1] + b"\x90.",
    "type called": b"cbuiltins\nint\n" + text("9" * 4000) + b"\x85R.",
    "method of a type": b"cnumpy\nndarray.tofile\n.",
    "extension registry": b"\x82\x01.",
    "a buffer from elsewhere": b"\x97.",
    "name of nested tuples": b"\x80\x04)" + 60 * b"2\x86" + b"2\x93.",
    "class of nested tuples": b"\x80\x04)" + 60 * b"2\x86" + b")\x81.",
    "many marks": b"(" * 40_000 + b".",
}  # fmt: skip
CONTAINED = {
    "far memo": b"Nr\xff\xff\xff\xffr\xff\xff\xff\xfe" + b"0" * 3 + b".",
    "long bytes": b"\x8e" + HUGE.to_bytes(8, "little") + b"abc.",
    "long bytearray": b"\x96" + HUGE.to_bytes(8, "little") + b"abc.",
    "billion laughs": b"]" + b"".join(b"q\x00](" + b"h\x00" * 10 + b"e" for _ in range(30)) + b".",
    "hash of nested tuples": b"}K\x01" + 60 * b"2\x86" + b"Ns.",
    "set of nested tuples": b"\x8f(K\x01" + 60 * b"2\x86" + b"\x90.",
    "copies of a text": (
        text("x" * 1_000_000) + b"q\x000c_codecs\nencode\nq\x010](" + b"h\x01h\x00" + text("latin1") + b"q\x02\x86R"
        + b"h\x01h\x00h\x02\x86R" * 300 + b"e."
    ),
    "copies of a list": (
        b"(" + b"N" * 100_000 + b"lq\x000](" + b"cbuiltins\nlist\nh\x00\x85R" * 300 + b"e."
    ),
}  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_no_data_is_refused(refused: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RecordingError) as error:
            loads(REFUSED[refused], "x.pkl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("greedy", CONTAINED)
def test_what_takes_for_ever_or_all_memory_is_contained(greedy: str) -> None:
    """Python's reader would go on: the sandbox bounds what it takes."""
    with pytest.raises((TimeLimitError, MemoryLimitError)):
        list(run(printed, CONTAINED[greedy], budget=Budget(seconds=0.5, memory=200_000_000)))


@pytest.mark.parametrize("odd", [b"]" * 1000 + b"a" * 999 + b".", b"]q\x00h\x00a.", b"\x8f" * 40_000 + b"."])
def test_odd_data_is_data(odd: bytes) -> None:
    """Deep, in a circle, or never taken off the stack."""
    assert isinstance(loads(odd, "x.pkl"), list | set)


def attributes(**values: Any) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


@pytest.mark.parametrize("name", sorted(ALLOWED))
@pytest.mark.parametrize("as_slots", [True, False])
def test_no_pickle_changes_how_the_next_one_is_read(name: tuple[str, str], as_slots: bool) -> None:
    """An entry of the allow-list takes no attributes: neither into its ``__dict__`` nor by ``setattr``."""
    state = attributes(
        __code__=b"N", __defaults__=b")", __call__=b"N", __setstate__=b"N", __new__=b"N", _function=b"N", value=b"N"
    )
    poison = f"c{name[0]}\n{name[1]}\n".encode() + (b"N" + state + b"\x86" if as_slots else state) + b"b."
    with pytest.raises(RecordingError):
        loads(poison, "x.pkl")
    for protocol in PROTOCOLS:
        assert equal(loads(pickle.dumps([PLAIN, ODD_ARRAYS], protocol), "x.pkl"), [PLAIN, ODD_ARRAYS])
    test_special_dicts_come_as_dicts(2)
    test_sparse_matrices_come_as_their_attributes(2)


ODD_ARRAYS = [np.arange(3.0), np.array([{}], object), np.arange(2, dtype=">i2")]


def test_shared_objects_are_no_copies_and_allowed():
    names = ["nose", "neck"]
    found = loads(pickle.dumps([{"names": names, "frame": k} for k in range(1000)]), "x.pkl")
    assert all(each["names"] is found[0]["names"] for each in found)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_big_arrays_are_in_memory_once(tmp_path, protocol):
    path = tmp_path / "big.pkl"
    path.write_bytes(pickle.dumps({"joints": np.zeros((100_000, 17, 3))}, protocol))
    size = 100_000 * 17 * 3 * 8
    tracemalloc.start()
    try:
        found = load(str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["joints"].shape == (100_000, 17, 3)
    assert peak < 1.1 * size


SAMPLE = pickle.dumps(PLAIN | {"array": np.arange(12.0).reshape(3, 4), "objects": np.array([{}, [1]], object)}, 4)


@settings(max_examples=40)
@given(st.data())
def test_any_bytes_give_data_or_a_reason(data):
    content = bytearray(data.draw(st.sampled_from([SAMPLE, *PYTHON2.values(), pickle.dumps(PLAIN, 0)])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_in_sandbox(bytes(content)[: data.draw(st.integers(1, len(content)))])


@settings(max_examples=40)
@given(st.binary(max_size=64))
def test_noise_gives_data_or_a_reason(content):
    read_in_sandbox(content + b".")


def read_in_sandbox(content: bytes) -> None:
    """Damaged sizes may ask for any amount of memory."""
    with contextlib.suppress(MemoryLimitError):
        [answer] = run(printed, content, budget=Budget(seconds=60.0, memory=1_000_000_000))
        assert answer.value


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
_TREES = st.recursive(
    _LEAVES | npst.arrays(st.sampled_from(["f4", ">f8", "i8", "?", "U3"]), npst.array_shapes(max_dims=3)),
    lambda parts: st.lists(parts) | st.tuples(parts) | st.dictionaries(st.text() | st.integers(0, 99), parts),
    max_leaves=8,
)


@settings(max_examples=40)
@given(_TREES, st.sampled_from(list(PROTOCOLS)))
def test_it_reads_what_python_writes(tree, protocol):
    assert equal(loads(pickle.dumps(tree, protocol), "x.pkl"), tree)


def test_a_file_that_is_gone_says_so(tmp_path):
    with pytest.raises(RecordingError, match=r"gone\.pkl: file"):
        load(str(tmp_path / "gone.pkl"))
