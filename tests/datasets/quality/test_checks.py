"""One good person, spoilt in one way at a time."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.quality.checks import CheckLimits, check, find_problems, judge
from datasets.sequences import MotionSequence, RecordingError, Source
from motion_encoder.skeletons import H36M17

PERSON = {
    "root": (0, 0.9, 0), "belly": (0, 1.15, 0), "neck": (0, 1.4, 0), "nose": (0, 1.5, 0), "head": (0, 1.65, 0),
    "lhip": (0.1, 0.9, 0), "lknee": (0.1, 0.5, 0), "lankle": (0.1, 0.1, 0),
    "rhip": (-0.1, 0.9, 0), "rknee": (-0.1, 0.5, 0), "rankle": (-0.1, 0.1, 0),
    "lshoulder": (0.2, 1.4, 0), "lelbow": (0.5, 1.4, 0), "lwrist": (0.75, 1.4, 0),
    "rshoulder": (-0.2, 1.4, 0), "relbow": (-0.5, 1.4, 0), "rwrist": (-0.75, 1.4, 0),
}  # fmt: skip


def walking(num_frames=60, fps=30.0, speed=1.4) -> MotionSequence:
    body_J3 = np.array([PERSON[joint] for joint in H36M17.joints])
    points_TJ3 = np.repeat(body_J3[None], num_frames, axis=0)
    points_TJ3[..., 2] += (speed * np.arange(num_frames) / fps)[:, None]
    return MotionSequence(
        source=Source(name="test", kind="mocap", url=""),
        sequence_id="walk",
        subject="somebody",
        fps=fps,
        keypoints_3d_TJC=points_TJ3.astype(np.float32),
        confidence_TJ=np.ones((num_frames, 17), np.float32),
    )


def scaled(by: float) -> MotionSequence:
    sequence = walking()
    assert sequence.keypoints_3d_TJC is not None
    return replace(sequence, keypoints_3d_TJC=sequence.keypoints_3d_TJC * by)


def flat(sequence: MotionSequence) -> MotionSequence:
    assert sequence.keypoints_3d_TJC is not None
    return replace(sequence, keypoints_2d_TJC=sequence.keypoints_3d_TJC[..., :2] * 100, keypoints_3d_TJC=None)


def spoilt(field: str, index, value) -> MotionSequence:
    sequence = walking()
    values = getattr(sequence, field).copy()
    values[index] = value
    return replace(sequence, **{field: values})


def teleporting() -> MotionSequence:
    sequence = walking()
    assert sequence.keypoints_3d_TJC is not None
    there_T11 = (np.arange(60) >= 30)[:, None, None]
    return replace(sequence, keypoints_3d_TJC=sequence.keypoints_3d_TJC + there_T11 * np.array([1, 0, 0], np.float32))


def test_a_person_who_walks_passes_and_comes_back_unchanged():
    for sequence in (walking(), flat(walking()), flat(walking(num_frames=1)), walking(speed=12.4, fps=120.0)):
        assert check(sequence) is sequence


ELBOW = H36M17.index("lelbow")


@pytest.mark.parametrize(
    ("sequence", "where"),
    [
        (replace(walking(), fps=0.5), "frame rate"),
        (replace(walking(), fps=float("nan")), "frame rate"),
        (
            spoilt("keypoints_3d_TJC", (7, 3, 1), np.nan),
            "keypoints_3d: expected finite numbers, found others, first in frame 7",
        ),
        (spoilt("confidence_TJ", (7, 3), np.inf), "confidence"),
        (spoilt("confidence_TJ", (7, 3), 1.1), "confidence"),
        (spoilt("confidence_TJ", (7, 3), -0.1), "confidence"),
        (replace(walking(), confidence_TJ=np.zeros((60, 17), np.float32)), "some joint observed"),
        (replace(walking(), keypoints_3d_TJC=None), "neither"),
        (walking(num_frames=1), "at least 2 frames"),
        (flat(walking(num_frames=0)), "some joint observed"),
        (scaled(100), "is the unit right"),
        (scaled(0.0254), "is the unit right"),
        (spoilt("keypoints_3d_TJC", (slice(30, None), ELBOW, 1), 1.9), "bone lshoulder to lelbow"),
        (teleporting(), "root slower than 15 m/s"),
        (walking(speed=16), "root slower than 15 m/s"),
    ],
)
def test_each_fault_is_named(sequence, where):
    with pytest.raises(RecordingError, match=where):
        check(sequence)


@pytest.mark.parametrize(
    "absent", [(joint,) for joint in H36M17.joints] + [("head", "lankle", "rknee"), H36M17.joints[:11]]
)
@pytest.mark.parametrize("unit", [100, 3.2808, 39.37, 0.3048, 0.01, 0.0254])
def test_a_wrong_unit_is_found_whatever_joint_is_absent(absent, unit):
    confidence_TJ = walking().confidence_TJ.copy()
    confidence_TJ[:, [H36M17.index(joint) for joint in absent]] = 0
    assert list(find_problems(replace(walking(speed=0), confidence_TJ=confidence_TJ))) == []
    with pytest.raises(RecordingError, match="is the unit right"):
        check(replace(scaled(unit), keypoints_3d_TJC=points_of(walking(speed=0)) * unit, confidence_TJ=confidence_TJ))


def lengthened(limb: str, by: float) -> MotionSequence:
    """The person with the bones of one limb, such as ``lshoulder lelbow lwrist``, longer by a factor."""
    sequence = walking(speed=0)
    points_TJ3 = points_of(sequence).copy()
    start, *rest = (H36M17.index(joint) for joint in limb.split())
    points_TJ3[:, rest] = points_TJ3[:, [start]] + by * (points_TJ3[:, rest] - points_TJ3[:, [start]])
    return with_points(sequence, points_TJ3)


@pytest.mark.parametrize(
    ("limb", "by", "message"),
    [
        ("lshoulder lelbow lwrist", 2, "arm: expected 0.25 to 0.9 m, found 1.1 m"),
        ("rshoulder relbow rwrist", 2, "arm: expected 0.25 to 0.9 m, found 1.1 m"),
        ("rshoulder relbow rwrist", 0.4, "arm: expected 0.25 to 0.9 m, found 0.22 m"),
        ("lhip lknee lankle", 0.4, "leg: expected 0.4 to 1.3 m, found 0.32 m"),
        ("rhip rknee rankle", 2, "leg: expected 0.4 to 1.3 m, found 1.6 m"),
    ],
)
def test_each_limb_needs_a_persons_length_whatever_the_rest_of_the_body_has(limb, by, message):
    """Upper arm plus forearm of the person are 0.55 m, thigh plus shin 0.8 m."""
    assert message in "; ".join(map(str, find_problems(lengthened(limb, by))))


def test_faults_in_what_was_not_observed_do_not_count():
    sequence = walking()
    assert sequence.keypoints_3d_TJC is not None
    points, confidence = sequence.keypoints_3d_TJC.copy(), sequence.confidence_TJ.copy()
    points[::2, ELBOW], confidence[::2, ELBOW] = 0, 0  # an arm that was lost in every second frame
    points[10, 0], confidence[10, 0] = 0, 0  # a root that was lost once
    assert list(find_problems(replace(sequence, keypoints_3d_TJC=points, confidence_TJ=confidence))) == []


def test_one_bad_frame_does_not_condemn_a_bone():
    assert list(find_problems(spoilt("keypoints_3d_TJC", (30, ELBOW, 1), 1.9))) == []


def test_limits_can_be_widened():
    child = scaled(0.5)
    assert list(find_problems(child)) != []
    assert list(find_problems(child, CheckLimits(height_m=(0.5, 2.3), leg_m=(0.3, 1.3), arm_m=(0.1, 0.9)))) == []


def points_of(sequence: MotionSequence) -> np.ndarray:
    points = sequence.keypoints_2d_TJC if sequence.keypoints_3d_TJC is None else sequence.keypoints_3d_TJC
    assert points is not None
    return points


def with_points(sequence: MotionSequence, points_TJC: np.ndarray) -> MotionSequence:
    name = "keypoints_2d_TJC" if sequence.keypoints_3d_TJC is None else "keypoints_3d_TJC"
    return replace(sequence, **{name: points_TJC})


def moved(sequence: MotionSequence, frames: slice, joints, by) -> MotionSequence:
    points = points_of(sequence).copy()
    points[frames, joints] += np.asarray(by, points.dtype)
    return with_points(sequence, points)


def sides_exchanged(sequence: MotionSequence, frames: slice) -> MotionSequence:
    points = points_of(sequence).copy()
    points[frames] = points[frames][:, H36M17.flip_order]
    return with_points(sequence, points)


def squatting(num_frames=60) -> MotionSequence:
    """Facing +z: the knees go to the front and sideways of nothing."""
    sequence = walking(num_frames, speed=0)
    return moved(sequence, slice(None), [H36M17.index("lknee"), H36M17.index("rknee")], (0, 0, 0.25))


WRIST = H36M17.index("lwrist")
EVERYTHING = slice(None)


@pytest.mark.parametrize("by", [(0, 3, 0), (0, -2, 2)])
def test_a_joint_that_jumps_away_and_back_is_left_out_there(by):
    spoilt_walk = moved(walking(), slice(20, 23), WRIST, by)
    mended = check(spoilt_walk)
    expected = np.ones((60, 17), bool)
    expected[20:23, WRIST] = False
    assert ((mended.confidence_TJ > 0) == expected).all()
    assert (points_of(mended)[expected] == points_of(walking())[expected]).all()
    assert (points_of(mended)[~expected] == 0).all()
    assert mended.repairs == ("left out where they jump, in 3 frames: lwrist",)
    assert check(mended) is mended


def test_a_joint_that_jumps_for_good_is_refused():
    hand_of_another = moved(walking(), slice(30, None), [ELBOW, WRIST], (0, 3, 0))
    with pytest.raises(RecordingError, match=r"expected no joint that teleports, found a jump in frame 30"):
        check(hand_of_another, CheckLimits(limb_change=100.0, arm_m=(0.0, 10.0)))


@pytest.mark.parametrize("make", [walking, lambda: flat(walking())])
def test_sides_exchanged_in_few_frames_are_exchanged_back(make):
    mended = check(sides_exchanged(make(), slice(40, 44)))
    assert (points_of(mended) == points_of(make())).all()
    assert mended.repairs == (
        "legs: left and right exchanged back in 4 frames", "arms: left and right exchanged back in 4 frames",
    )  # fmt: skip
    assert check(mended) is mended


@pytest.mark.parametrize("make", [walking, lambda: flat(walking())])
def test_sides_exchanged_for_good_are_refused(make):
    with pytest.raises(
        RecordingError, match="legs: expected left and right that are not exchanged, found an exchange in frame 30"
    ):
        check(sides_exchanged(make(), slice(30, None)))


def test_arms_that_are_crossed_slowly_are_no_exchange():
    sequence = walking(speed=0)
    points, way_T1 = points_of(sequence).copy(), np.linspace(0, 1, 60)[:, None]
    for left, right in (("lelbow", "relbow"), ("lwrist", "rwrist")):
        a, b = H36M17.index(left), H36M17.index(right)
        points[:, a], points[:, b] = (
            points[:, a] * (1 - way_T1) + points[:, b] * way_T1,
            points[:, b] * (1 - way_T1) + points[:, a] * way_T1,
        )
    crossing = with_points(sequence, points.astype(np.float32))
    assert check(crossing, CheckLimits(limb_change=10.0)) is crossing


def test_left_and_right_are_told_by_the_knees():
    assert check(squatting())
    for wrong in (
        sides_exchanged(squatting(), EVERYTHING),
        with_points(squatting(), points_of(squatting()) * (-1, 1, 1)),
    ):
        with pytest.raises(RecordingError, match="knees that bend to the front, found to the back in 120 frames"):
            check(wrong)


def test_somebody_who_bends_over_or_lies_down_has_knees_like_everybody():
    upright = points_of(squatting())
    lying = upright @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    bent_over = upright.copy()
    trunk = [H36M17.index(joint) for joint in ("belly", "neck", "nose", "head")]
    bent_over[:, trunk] = bent_over[:, [0]] - (bent_over[:, trunk] - bent_over[:, [0]]) * (1, 1, -1)
    for points in (lying, bent_over):
        assert list(find_problems(with_points(squatting(), points))) == []


def test_limbs_may_change_more_where_a_camera_guesses_them():
    breathing = moved(
        walking(), slice(0, 20), ELBOW, (0.12, 0, 0)
    )  # upper arm 0.42 for 0.30 m, forearm 0.13 for 0.25 m
    with pytest.raises(RecordingError, match="bone lshoulder to lelbow"):
        check(breathing)
    guessed = replace(breathing, source=Source(name="test", kind="action", url=""))
    assert check(guessed) is guessed


IN_AN_IMAGE = {"image_size": (400, 300)}


def test_points_a_little_outside_the_image_are_kept_and_far_ones_left_out():
    inside = replace(flat(walking()), **IN_AN_IMAGE)
    near = moved(inside, slice(5, 6), WRIST, (500, 0))
    assert check(near) is near
    far = moved(inside, slice(5, 6), WRIST, (700, 0))
    mended = check(far)
    assert mended.confidence_TJ[5, WRIST] == 0
    assert mended.confidence_TJ.sum() == 60 * 17 - 1
    assert mended.repairs == ("1 points far outside the image left out",)
    assert check(replace(far, image_size=None)).repairs == ()


def test_an_image_size_that_does_not_fit_is_refused():
    with pytest.raises(RecordingError, match=r"image: expected points in or near its \(20, 20\) pixels"):
        check(replace(flat(walking()), image_size=(20, 20)))


def test_coordinates_from_0_to_1_are_no_pixels():
    sequence = flat(walking())
    with pytest.raises(RecordingError, match="expected pixels: people larger than 2, found"):
        check(with_points(sequence, points_of(sequence) / 200))


def test_a_track_that_goes_over_to_somebody_else_is_refused_and_one_that_comes_back_mended():
    sequence = flat(walking())
    with pytest.raises(RecordingError, match="found another place in frame 30"):
        check(moved(sequence, slice(30, None), EVERYTHING, (1000, 0)))
    mended = check(moved(sequence, slice(30, 34), EVERYTHING, (1000, 0)))
    assert np.flatnonzero(~mended.confidence_TJ.any(axis=1)).tolist() == [30, 31, 32, 33]
    assert mended.repairs == ("the person left out in 4 frames: the box jumps",)


def test_a_verdict_has_every_problem():
    good = walking()
    assert (judge(good).sequence, judge(good).problems) == (good, ())
    mended = judge(moved(walking(), slice(20, 23), WRIST, (0, 3, 0)))
    assert (len(mended.sequence.repairs), mended.problems) == (1, ())
    bad = judge(scaled(100))
    assert any("is the unit right" in str(problem) for problem in bad.problems)
    assert str(bad.error()).startswith(f"test/{bad.sequence.sequence_id}: {bad.problems[0]}. ")
    assert len(judge(spoilt("keypoints_3d_TJC", (7, 3, 1), np.nan)).problems) == 1
