"""Documents come part by part, whatever the size of the parts and of what is read at once."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.containers import json_stream
from datasets.containers.json_stream import stream
from datasets.sequences import RecordingError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def parts(document) -> list[tuple[str, object]]:
    members = document.items() if isinstance(document, dict) else [("", document)]
    return [(key, item) for key, value in members for item in (value if isinstance(value, list) else [value])]


@given(
    st.lists(VALUES, max_size=5) | st.dictionaries(st.text(max_size=3), VALUES, max_size=5),
    st.integers(1, 9),
    st.sampled_from([None, 2]),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_the_parts_are_those_of_the_document(tmp_path_factory, document, chunk, indent, ascii_only):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        assert list(stream(str(path))) == parts(document)


def test_a_long_list_is_never_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 16)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [[0.123456789] * 100] * 2_000}))
    assert path.stat().st_size > 2.6e6
    tracemalloc.start()
    assert sum(len(item) for _, item in stream(str(path))) == 200_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5e6


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "[", "[1", "[1,", "[1,]", "[1 2]", "[1]]", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,}', "{a: 1}",
        "{1: 2}", '"a"', "3", "[1.", "[1e", "[" * 100_000, '{"a":' * 100_000, "[" + "9" * 5000 + "]",
        '{"a": [1}', "[nul]",
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=r"a\.json: JSON"):
        list(stream(str(path)))


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(RecordingError, match="UTF-8"):
        list(stream(str(path)))
    with pytest.raises(RecordingError, match="readable file"):
        list(stream(str(tmp_path / "none.json")))


def test_a_byte_order_mark_does_not_matter(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[NaN]")
    [(_, value)] = stream(str(path))
    assert value != value
