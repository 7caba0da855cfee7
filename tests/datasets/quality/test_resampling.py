"""Resampling against functions of time whose values are known everywhere."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from datasets.quality.resampling import resample
from datasets.readers.mocap import bvh
from datasets.readers.mocap.bvh_file import parse_bvh
from datasets.sequences import MotionSequence, Source
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import metres, read_one

RATES = st.sampled_from([10.0, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 100.0, 119.88, 120.0, 250.0])


def moving(num_frames: int, fps: float, unseen: tuple[int, ...] = ()) -> MotionSequence:
    """Every joint moves along a straight line at 2 units a second; joint j starts at j."""
    time_T = np.arange(num_frames) / fps
    points_TJ = 2 * time_T[:, None] + np.arange(17)
    confidence_TJ = np.ones((num_frames, 17), np.float32)
    confidence_TJ[list(unseen), 3] = 0
    points_TJ = points_TJ * (confidence_TJ > 0)
    return MotionSequence(
        source=Source(name="test", kind="mocap", url=""),
        sequence_id="line",
        subject="nobody",
        fps=fps,
        keypoints_3d_TJC=np.repeat(points_TJ[..., None], 3, axis=-1).astype(np.float32),
        keypoints_2d_TJC=np.repeat(points_TJ[..., None], 2, axis=-1).astype(np.float32),
        confidence_TJ=confidence_TJ,
    )


@given(RATES, RATES, st.integers(1, 400))
@settings(deadline=None)
def test_a_motion_along_a_line_keeps_its_places_in_time(old, new, num_frames):
    resampled = resample(moving(num_frames, old), new)
    duration = (num_frames - 1) / old
    assert resampled.num_frames == int(duration * new + 1e-6) + 1
    time_U = np.arange(resampled.num_frames) / new
    expected_UJ = 2 * time_U[:, None] + np.arange(17)
    for points_UJC in (resampled.keypoints_3d_TJC, resampled.keypoints_2d_TJC):
        assert points_UJC is not None
        np.testing.assert_allclose(points_UJC, np.broadcast_to(expected_UJ[..., None], points_UJC.shape), atol=2e-4)
    assert (resampled.confidence_TJ == 1).all()
    assert resampled.fps == new


def test_100_to_30_does_not_drift():
    """A stride rounded to 3 would be 10 % fast: after a minute, six seconds off."""
    resampled = resample(moving(6001, 100.0), 30.0)
    assert resampled.num_frames == 1801
    assert resampled.keypoints_3d_TJC is not None
    assert resampled.keypoints_3d_TJC[-1, 0, 0] == pytest.approx(120)


def test_the_same_rate_changes_nothing():
    sequence = moving(5, 30.0)
    assert resample(sequence, 30.0) is sequence


def test_a_joint_is_seen_only_between_frames_that_saw_it():
    # 20 -> 30 Hz: new frames at old positions 0, 2/3, 4/3, 2, 8/3, 10/3, 4; joint 3 is unseen in old frame 2.
    resampled = resample(moving(5, 20.0, unseen=(2,)), 30.0)
    np.testing.assert_array_equal(resampled.confidence_TJ[:, 3] > 0, [True, True, False, False, False, True, True])
    assert resampled.keypoints_3d_TJC is not None
    assert not resampled.keypoints_3d_TJC[2:5, 3].any()
    assert (resampled.confidence_TJ[:, 4] == 1).all()


def test_a_frame_that_is_hit_exactly_needs_no_neighbour():
    # 60 -> 30 Hz: every second frame is taken as it is; the unseen one between them does not matter.
    resampled = resample(moving(5, 60.0, unseen=(1, 3)), 30.0)
    assert (resampled.confidence_TJ == 1).all()


def test_a_still_stays_a_still():
    assert resample(moving(1, 24.0), 30.0).num_frames == 1


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(fps):
    with pytest.raises(ValueError, match="fps"):
        resample(moving(3, 24.0), fps)


def turning(degrees_T: np.ndarray, fps: float) -> MotionSequence:
    """A straight arm, of 0.3 and 0.2 m, that turns about its shoulder in a plane; all else stands still."""
    angle_T = np.deg2rad(degrees_T)
    points_TJ3 = np.broadcast_to(np.eye(17, 3) * 0, (len(angle_T), 17, 3)).astype(np.float64)
    direction_T3 = np.stack([np.cos(angle_T), np.sin(angle_T), 0 * angle_T], axis=-1)
    for joint, length in (("lelbow", 0.3), ("lwrist", 0.5)):
        points_TJ3[:, H36M17.index(joint)] = length * direction_T3
    return MotionSequence(
        source=Source(name="test", kind="mocap", url=""),
        sequence_id="turn",
        subject="nobody",
        fps=fps,
        keypoints_3d_TJC=points_TJ3.astype(np.float32),
        confidence_TJ=np.ones((len(angle_T), 17), np.float32),
    )


@given(RATES, RATES, st.floats(-170, 170))
@settings(deadline=None)
def test_a_bone_that_turns_evenly_keeps_turning_evenly_at_its_length(old, new, degrees_a_frame):
    """Between frames, too: a straight line would cut every corner."""
    resampled = resample(turning(np.arange(30) * degrees_a_frame, old), new)
    expected = turning(np.arange(resampled.num_frames) / new * old * degrees_a_frame, new)
    assert resampled.keypoints_3d_TJC is not None
    assert expected.keypoints_3d_TJC is not None
    np.testing.assert_allclose(resampled.keypoints_3d_TJC, expected.keypoints_3d_TJC, atol=2e-5)


def test_a_bone_that_grows_while_it_turns_is_of_the_length_between():
    sequence = turning(np.array([0.0, 90.0]), 1.0)
    assert sequence.keypoints_3d_TJC is not None
    elbow, wrist = H36M17.index("lelbow"), H36M17.index("lwrist")
    sequence.keypoints_3d_TJC[1, wrist] = [0.0, 0.7, 0.0]  # the forearm grows from 0.2 to 0.4 m
    resampled = resample(sequence, 2.0)
    assert resampled.keypoints_3d_TJC is not None
    half_way = np.sqrt([0.5, 0.5, 0]) * 0.3
    np.testing.assert_allclose(resampled.keypoints_3d_TJC[1, elbow], half_way, atol=1e-6)
    np.testing.assert_allclose(resampled.keypoints_3d_TJC[1, wrist], half_way * 2, atol=1e-6)


def test_a_bone_that_turns_right_round_takes_the_straight_line():
    resampled = resample(turning(np.array([0.0, 180.0]), 1.0), 4.0)
    assert resampled.keypoints_3d_TJC is not None
    elbow_x = resampled.keypoints_3d_TJC[:, H36M17.index("lelbow"), 0]
    np.testing.assert_allclose(elbow_x, [0.3, 0.15, 0, -0.15, -0.3], atol=1e-6)


def test_a_joint_whose_parent_is_hidden_takes_the_straight_line():
    sequence = turning(np.array([0.0, 90.0]), 1.0)
    sequence.confidence_TJ[:, H36M17.index("lelbow")] = 0
    resampled = resample(sequence, 2.0)
    assert resampled.keypoints_3d_TJC is not None
    np.testing.assert_allclose(resampled.keypoints_3d_TJC[1, H36M17.index("lwrist")], [0.25, 0.25, 0], atol=1e-6)
    assert not resampled.keypoints_3d_TJC[:, H36M17.index("lelbow")].any()


def rotations_between(channels: Sequence[Sequence[str]], values_SK: np.ndarray, factor: int) -> np.ndarray:
    """Channel values of a BVH file at ``factor`` times its rate: each joint's rotation on the sphere (scipy)."""
    at_S = np.arange(len(values_SK)) * factor
    at_T = np.arange(at_S[-1] + 1)
    values_TK = np.stack([np.interp(at_T, at_S, column_S) for column_S in values_SK.T], axis=1)
    k = 0
    for names in channels:
        turns = [k + n for n, name in enumerate(names) if name.endswith("rotation")]
        if turns:
            order = "".join(name[0] for name in names if name.endswith("rotation"))
            path = Slerp(at_S, Rotation.from_euler(order, values_SK[:, turns], degrees=True))
            values_TK[:, turns] = path(at_T).as_euler(order, degrees=True)
        k += len(names)
    return values_TK


@pytest.mark.parametrize("name", ["02_01", "05_02", "16_15"])
def test_bones_that_turn_are_as_near_the_truth_as_the_rotations_of_the_source(real_data, tmp_path, name):
    """A quarter of a recording's frames, brought back to its rate, by both; CMU at 120 Hz, 30 Hz and 120 again."""
    [path] = (real_data / "cmu_bvh").glob(f"{name}.bvh")
    whole = parse_bvh(path.read_bytes(), path.name)
    head = path.read_text().partition("MOTION")[0]

    def positions(values_TK: np.ndarray, fps: float) -> MotionSequence:
        rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in values_TK)
        text = f"{head}MOTION\nFrames: {len(values_TK)}\nFrame Time: {1 / fps:.10f}\n{rows}\n"
        [sequence] = read_one(bvh.READER, tmp_path / "a.bvh", text)
        return sequence

    moving_TK = whole.motion_TK[1:]  # the first is a rest pose that was put before
    truth_TJ3 = metres(positions(moving_TK, 120.0))
    ours_TJ3 = metres(resample(positions(moving_TK[::4], 30.0), 120.0))
    theirs_TJ3 = metres(positions(rotations_between(whole.hierarchy.channels, moving_TK[::4], 4), 120.0))
    ours, theirs = (np.linalg.norm(each - truth_TJ3[: len(each)], axis=-1).mean() for each in (ours_TJ3, theirs_TJ3))
    assert ours < 1.02 * theirs
    assert ours < 0.002
