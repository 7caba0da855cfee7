"""Time stamps of videos whose rate is known, as cameras, decoders and careless scripts write them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.assembly.time_stamps import UNITS_S, Clock, read_clock


def clock_of(stamps, unit: str | None = None) -> Clock:
    clock = read_clock(np.array(stamps, dtype=float), unit)
    assert clock is not None
    return clock


@given(
    st.sampled_from([10.0, 12.5, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 59.94, 60.0]),
    st.sampled_from(sorted(UNITS_S)),
    st.lists(st.sampled_from([1, 2, 3, 40]), min_size=20, max_size=60),
    st.floats(0, 1e5),
)
def test_rate_and_frames_are_found_in_whatever_unit_and_with_gaps(fps, unit, gaps, start):
    """Most images are of neighbouring frames; milliseconds are rounded to whole ones."""
    frames = np.cumsum([0, 1, *(step for gap in gaps for step in (1, gap))])
    stamps = start + frames / fps / UNITS_S[unit]
    clock = clock_of(np.round(stamps) if unit == "ms" else stamps)
    assert clock.unit == unit
    assert clock.fps == pytest.approx(fps, abs=0.02 if unit == "ms" else 0.006)
    assert clock.frame_F is not None
    np.testing.assert_array_equal(clock.frame_F, frames)


def test_a_unit_that_the_name_states_holds_however_slow_the_video_is():
    assert clock_of([0, 1, 2, 3], "s").fps == 1
    assert clock_of([0, 500, 1000], "ms").fps == 2


def test_a_video_of_which_few_frames_were_looked_at_has_a_slow_rate():
    """Every 20th frame of 30 Hz."""
    clock = clock_of([0, 667, 1333, 2000, 2667])
    assert (clock.unit, clock.fps) == ("ms", 1.5)


def test_uneven_stamps_are_kept_as_they_are():
    """A program that took images when it had the time: from 25 to 90 ms apart."""
    stamps = np.cumsum([0, 25, 90, 30, 85, 40, 25, 90, 60, 25, 25, 88])
    clock = clock_of(stamps)
    assert clock.frame_F is None
    np.testing.assert_allclose(clock.seconds_F, stamps / 1000)


@pytest.mark.parametrize(
    "stamps",
    [[0, 1, 2, 3], [0, 1e-4, 2e-4], [5], [], [0, 40, 40, 80], [0, 40, 20], [0, np.nan, 80], [0, 40, np.inf]],
    ids=str,
)
def test_stamps_that_say_nothing_are_no_clock(stamps):
    assert read_clock(np.array(stamps, dtype=float), None) is None
