"""One good person, spoilt in one way at a time."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.checks import CheckLimits, check, content_digest, find_problems
from datasets.sequences import MotionSequence, RecordingError
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
        source="test",
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
    assert list(find_problems(child, CheckLimits(height_m=(0.5, 2.3)))) == []


def test_copies_have_one_digest_wherever_they_stand_and_other_motions_another():
    sequence = walking()
    assert sequence.keypoints_3d_TJC is not None
    moved = sequence.keypoints_3d_TJC + np.array([1, 0, 2], np.float32)
    raised = sequence.keypoints_3d_TJC.copy()
    raised[5, ELBOW, 1] += 0.002
    digest = content_digest(sequence)
    assert digest == content_digest(replace(sequence, sequence_id="copy", subject="x", keypoints_3d_TJC=moved))
    others = (
        replace(sequence, keypoints_3d_TJC=raised), replace(sequence, fps=60.0), flat(sequence), walking(num_frames=59),
        spoilt("confidence_TJ", (5, ELBOW), 0),
    )  # fmt: skip
    assert digest not in {content_digest(other) for other in others}
