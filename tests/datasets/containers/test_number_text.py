"""Numbers in text: whatever stands between them, they are what Python takes them for, or the mistake is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.containers import number_text
from datasets.containers.number_text import parse_numbers

WHITE = st.text(" \t\n\v\f\r", min_size=1, max_size=3)


@given(
    numbers=st.lists(st.floats(allow_nan=False)),
    style=st.sampled_from(["{}", "{:.4f}", "{:.17g}", "{:e}", "{:+.3f}"]),
    between=st.lists(WHITE, min_size=1, max_size=5),
    chunk=st.sampled_from([1, 7, 1 << 17]),
)
def test_every_number_is_read_to_the_last_bit(numbers: list[float], style: str, between: list[str], chunk: int) -> None:
    words = [style.format(number) for number in numbers]
    text = "".join(between[n % len(between)] + word for n, word in enumerate(words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_text, "_CHUNK", chunk)
        found = parse_numbers(text.encode())
    np.testing.assert_array_equal(found, np.array([float(word) for word in words], dtype=np.float64))


@given(st.lists(st.sampled_from([b"1", b"-2.5e3", b" ", b"\n", b"\0", b"\x1c", b"\xff", b",", b'"', b"x", b"-", b"."])))
def test_what_python_refuses_is_refused(parts: list[bytes]) -> None:
    text = b"".join(parts)
    try:
        expected = [float(word) for word in text.split()]
    except ValueError:
        with pytest.raises(ValueError, match="could not convert"):
            parse_numbers(text)
    else:
        assert parse_numbers(text).tolist() == expected


@pytest.mark.parametrize("text", [b"", b" \r\n"])
def test_nothing(text: bytes) -> None:
    assert parse_numbers(text).shape == (0,)


def test_the_word_is_named_and_no_book_is_quoted() -> None:
    with pytest.raises(ValueError, match=r"'1\.O'"):
        parse_numbers(b"1.0 1.O 2.0")
    with pytest.raises(ValueError, match="could not convert") as caught:
        parse_numbers(b"x" * 10_000)
    assert len(str(caught.value)) <= 100
