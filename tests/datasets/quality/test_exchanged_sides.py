"""Exchanged sides, on a person whose legs swing past each other and on one who stands: what is right is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check, judge
from datasets.quality.exchanged_sides import find_exchanged_frames
from datasets.sequences import MotionSequence, RecordingError, Source
from motion_encoder.skeletons import H36M17

LEGS = [H36M17.index(side + joint) for side in "lr" for joint in ("hip", "knee", "ankle")]
OTHER_LEGS = [*LEGS[3:], *LEGS[:3]]
LEAST = 30.0


def person(apart_T: np.ndarray) -> np.ndarray:
    """A person 400 pixels tall whose left leg is so many pixels right of the right one."""
    heights_J = np.linspace(100, 500, 17)
    points_TJ2 = np.stack([np.full((len(apart_T), 17), 300.0), np.tile(heights_J, (len(apart_T), 1))], axis=-1)
    points_TJ2[:, LEGS, 1] = [250, 375, 500, 250, 375, 500]
    points_TJ2[:, LEGS, 0] += apart_T[:, None] / 2 * [1, 1, 1, -1, -1, -1]
    return points_TJ2


def running(num_frames: int) -> np.ndarray:
    """Legs that swing past each other by 60 pixels a frame."""
    phase_T = np.arange(num_frames) % 8
    return person(np.where(phase_T < 4, 105 - 60 * phase_T, 60 * (phase_T - 4) - 135).astype(float))


def exchanged(points_TJ2: np.ndarray, frames) -> np.ndarray:
    points_TJ2 = points_TJ2.copy()
    points_TJ2[np.ix_(frames, LEGS)] = points_TJ2[np.ix_(frames, OTHER_LEGS)]
    return points_TJ2


def sequence(points_TJ2: np.ndarray) -> MotionSequence:
    return MotionSequence(
        source=Source(name="test", kind="detections", url=""),
        sequence_id="run",
        subject="somebody",
        fps=30.0,
        keypoints_2d_TJC=points_TJ2.astype(np.float32),
        confidence_TJ=np.ones(points_TJ2.shape[:2], np.float32),
    )


def found(points_TJ2: np.ndarray, seen_TJ: np.ndarray | None = None) -> list[int]:
    seen_TJ = np.ones(points_TJ2.shape[:2], bool) if seen_TJ is None else seen_TJ
    return np.flatnonzero(find_exchanged_frames(points_TJ2, seen_TJ, "legs", least_move=LEAST)).tolist()


def test_legs_that_swing_past_each_other_are_not_touched():
    assert found(running(90)) == []
    assert check(sequence(running(90))).repairs == ()


@pytest.mark.parametrize("frames", [[40], [43], [45], [13, 67], [12, 13, 53], [0], [89]])
def test_single_frames_are_exchanged_back_although_the_way_there_or_back_is_not_plain(frames):
    """From an exchanged frame 45 (legs 75 pixels apart) to 46 (15), joints go 45 pixels, or 30 if exchanged back."""
    repaired = check(sequence(exchanged(running(90), frames)))
    assert repaired.repairs == (f"legs: left and right exchanged back in {len(frames)} frames",)
    np.testing.assert_array_equal(repaired.keypoints_2d_TJC, running(90).astype(np.float32))
    assert check(repaired) is repaired


@pytest.mark.parametrize("first", [30, 45, 60])
def test_an_exchange_for_good_is_named_although_there_are_single_ones(first):
    points_TJ2 = exchanged(exchanged(person(np.full(90, 100.0)), [12, 80]), range(first, 90))
    with pytest.raises(RecordingError, match=rf"legs: .* found an exchange in frame {first}, and never back"):
        check(sequence(points_TJ2))


def test_a_long_exchange_with_a_way_back_is_named_with_it():
    verdict = judge(sequence(exchanged(person(np.full(90, 100.0)), range(30, 45))))
    assert [str(problem) for problem in verdict.problems] == [
        "legs: expected left and right that are not exchanged, found an exchange in frame 30, and back in frame 45: "
        "exchanged are 15 of 90 frames"
    ]


standing = st.tuples(
    st.integers(20, 60), st.floats(80, 200), st.sets(st.integers(0, 59), max_size=6), st.integers(0, 2**32 - 1)
)


@given(standing)
@settings(max_examples=60)
def test_whatever_frames_are_exchanged_they_are_found_if_they_are_the_fewer(drawn):
    num_frames, apart, frames, seed = drawn
    frames = sorted(frame for frame in frames if frame < num_frames)
    noise_TJ2 = np.random.default_rng(seed).normal(0, 2, (num_frames, 17, 2))
    points_TJ2 = exchanged(person(np.full(num_frames, apart)) + noise_TJ2, frames)
    assert found(points_TJ2) == frames
    assert found(points_TJ2[:, H36M17.flip_order]) == frames  # which way is right is the majority's way


def test_nothing_is_known_across_frames_that_do_not_show_the_whole_limb():
    points_TJ2 = exchanged(person(np.full(60, 100.0)), range(30, 60))
    seen_TJ = np.ones((60, 17), bool)
    seen_TJ[29, LEGS[2]] = False
    assert found(points_TJ2, seen_TJ) == []
    seen_TJ[29, LEGS[2]], seen_TJ[29, H36M17.index("nose")] = True, False
    assert len(found(points_TJ2, seen_TJ)) == 30
