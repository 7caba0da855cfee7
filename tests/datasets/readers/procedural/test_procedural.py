"""Procedural motion against anatomy and mechanics, measured from joint positions alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.procedural.reader import ACTIONS, DETECTIONS_SOURCE, READER, SOURCE, generate
from datasets.sequences import File, Reader, Recording, RecordingError
from motion_encoder.skeletons import H36M17

J = {joint: index for index, joint in enumerate(H36M17.joints)}
UP = np.array([0.0, 1.0, 0.0])
FPS = 120.0
GRAVITY = 9.81
ON_THE_SPOT = ("waving", "squatting", "sitting_down", "kicking", "throwing")
any_take = given(
    key=st.fixed_dictionaries(
        {
            "action": st.sampled_from(ACTIONS),
            "person": st.integers(0, 99),
            "take": st.integers(0, 20),
            "seed": st.integers(0, 1000),
        }
    )
)
some = settings(max_examples=40, deadline=None)


def gait(action, person=1, take=0):
    return generate(action, person, take, 0, 8.0, FPS)


def bones(motion_TJ3):
    parents, children = np.array(H36M17.bones).T
    return np.linalg.norm(motion_TJ3[:, children] - motion_TJ3[:, parents], axis=-1)


def segment(motion_TJ3, start, end):
    return motion_TJ3[:, J[end]] - motion_TJ3[:, J[start]]


def flexion_deg(upper_T3, lower_T3):
    cosine_T = (unit(upper_T3) * unit(lower_T3)).sum(axis=-1)
    return np.rad2deg(np.arccos(cosine_T.clip(-1, 1)))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def dot(a_T3, b_T3):
    return (a_T3 * b_T3).sum(axis=-1)


def speed(points_T3, fps=FPS):
    return np.linalg.norm(np.gradient(points_T3, 1 / fps, axis=0), axis=-1)


def vertical_acceleration(motion_TJ3):
    y_T = motion_TJ3[:, J["root"], 1]
    return (y_T[2:] - 2 * y_T[1:-1] + y_T[:-2]) * FPS**2


def ankle_heights(motion_TJ3):
    return motion_TJ3[:, [J["lankle"], J["rankle"]], 1]


def stretches(true_T):
    """(start, end) of each unbroken run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true_T, [False]]).astype(int)))
    return list(zip(edges[::2], edges[1::2], strict=True))


def travel_direction(motion_TJ3):
    return unit(np.gradient(motion_TJ3[:, J["root"]], axis=0) * (1, 0, 1))


# Anatomy


@some
@any_take
def test_bones_keep_their_lengths(key):
    lengths_TN = bones(generate(**key, seconds=4.0, fps=60.0))
    np.testing.assert_allclose(lengths_TN, np.broadcast_to(lengths_TN[0], lengths_TN.shape), rtol=1e-6)


@some
@any_take
def test_knees_and_elbows_stay_within_what_joints_allow(key):
    motion_TJ3 = generate(**key, seconds=4.0, fps=60.0)
    left_T3 = segment(motion_TJ3, "rhip", "lhip")
    for side in "lr":
        thigh_T3 = segment(motion_TJ3, side + "hip", side + "knee")
        shank_T3 = segment(motion_TJ3, side + "knee", side + "ankle")
        upper_T3 = segment(motion_TJ3, side + "shoulder", side + "elbow")
        fore_T3 = segment(motion_TJ3, side + "elbow", side + "wrist")
        assert flexion_deg(thigh_T3, shank_T3).max() < 150
        assert flexion_deg(upper_T3, fore_T3).max() < 150
        # A flexed knee takes the heel backward: the turn from thigh to shank is about the axis to the left.
        assert dot(np.cross(thigh_T3, shank_T3), left_T3).min() > 0


@pytest.mark.parametrize("action", ["walking", "running", "squatting", "sitting_down"])
@pytest.mark.parametrize("person", [0, 1, 2])
def test_elbows_bend_forward(action, person):
    motion_TJ3 = generate(action, person, 0, 0, 6.0, 60.0)
    left_T3 = segment(motion_TJ3, "rshoulder", "lshoulder")
    for side in "lr":
        upper_T3 = segment(motion_TJ3, side + "shoulder", side + "elbow")
        fore_T3 = segment(motion_TJ3, side + "elbow", side + "wrist")
        assert dot(np.cross(upper_T3, fore_T3), left_T3).max() < 0


@some
@any_take
def test_nothing_goes_under_the_ground(key):
    assert generate(**key, seconds=4.0, fps=60.0)[..., 1].min() > -0.01


def test_people_differ_in_build_and_keep_it_in_every_take():
    build_PN = np.array([bones(generate("walking", person, 0, 0, 1.0, 30.0))[0] for person in range(12)])
    leg_and_spine_P = build_PN[:, [J[j] - 1 for j in ("rknee", "rankle", "belly", "neck", "nose", "head")]].sum(axis=1)
    assert np.ptp(leg_and_spine_P) > 0.2
    assert len(np.unique(leg_and_spine_P.round(4))) == 12
    # Leg and spine of an adult of 1.5 to 1.95 m, at about 0.9 of the stature.
    assert 1.2 < leg_and_spine_P.min() < leg_and_spine_P.max() < 1.95
    thigh_share_P = build_PN[:, J["rknee"] - 1] / leg_and_spine_P
    assert np.ptp(thigh_share_P) > 0.005
    for action in ACTIONS:
        np.testing.assert_allclose(bones(generate(action, 3, 1, 0, 1.0, 30.0))[0], build_PN[3], rtol=1e-6)


@pytest.mark.parametrize("action", ["walking", "running"])
def test_left_is_left_and_forward_is_forward(action):
    motion_TJ3 = gait(action)
    forward_T3 = travel_direction(motion_TJ3)
    right_T3 = np.cross(forward_T3, UP)  # in a right-handed world with Y up
    assert dot(segment(motion_TJ3, "lhip", "rhip"), right_T3).min() > 0
    assert dot(segment(motion_TJ3, "lshoulder", "rshoulder"), right_T3).min() > 0
    assert dot(segment(motion_TJ3, "neck", "nose"), forward_T3).min() > 0


@pytest.mark.parametrize("take", range(6))
@pytest.mark.parametrize("action", ["waving", "kicking", "throwing"])
def test_either_side_leads_and_chirality_holds(action, take):
    motion_TJ3 = generate(action, 4, take, 0, 6.0, 30.0)
    right_T3 = segment(motion_TJ3, "lhip", "rhip")
    forward_T3 = np.cross(UP, right_T3)
    assert dot(segment(motion_TJ3, "neck", "nose"), forward_T3).min() > 0


def test_takes_use_both_sides():
    higher = [np.ptp(generate("waving", 0, take, 0, 6.0, 10.0)[..., 1], axis=0) for take in range(20)]
    right_led = {bool(height_J[J["rwrist"]] > height_J[J["lwrist"]]) for height_J in higher}
    assert right_led == {True, False}


# Gait


@pytest.mark.parametrize("person", range(6))
@pytest.mark.parametrize(
    ("action", "speeds", "cadences"), [("walking", (0.7, 2.0), (85, 145)), ("running", (2.0, 4.5), (145, 195))]
)
def test_speed_is_stride_length_times_cadence(action, speeds, cadences, person):
    motion_TJ3 = gait(action, person)
    strides, seconds = [], []
    for side in "lr":
        ankle_T3 = motion_TJ3[:, J[side + "ankle"]]
        planted = [(a, b) for a, b in stretches(speed(ankle_T3) < 0.02) if a > 0 and b < len(ankle_T3)]
        places = np.array([ankle_T3[(a + b) // 2] for a, b in planted])
        assert np.abs(places[:, 1] - ankle_T3[:, 1].min()).max() < 0.002
        strides += list(np.linalg.norm(np.diff(places, axis=0), axis=-1))
        seconds += list(np.diff([a for a, _ in planted]) / FPS)
    root_speed = np.mean(speed(motion_TJ3[:, J["root"]] * (1, 0, 1)))
    assert root_speed == pytest.approx(np.mean(strides) / np.mean(seconds), rel=0.04)
    assert speeds[0] < root_speed < speeds[1]
    assert cadences[0] < 120 / np.mean(seconds) < cadences[1]


@pytest.mark.parametrize("person", range(6))
def test_a_walker_always_has_a_foot_down_and_never_falls_freely(person):
    motion_TJ3 = gait("walking", person)
    above_ground_T2 = ankle_heights(motion_TJ3) - ankle_heights(motion_TJ3).min()
    assert above_ground_T2.min(axis=1).max() < 0.04
    assert vertical_acceleration(motion_TJ3).min() > -0.5 * GRAVITY


@pytest.mark.parametrize("person", range(6))
def test_a_runner_falls_freely_between_steps(person):
    motion_TJ3 = gait("running", person)
    free_T = np.abs(vertical_acceleration(motion_TJ3) + GRAVITY) < 0.2
    assert 0.1 < free_T.mean() < 0.5
    lowest_T = ankle_heights(motion_TJ3).min(axis=1)[1:-1]
    assert (lowest_T[free_T] - lowest_T.min()).min() > 0.003
    steps = len(stretches(free_T)) / 8.0 * 60
    assert 145 < steps < 200


@pytest.mark.parametrize("action", ["walking", "running"])
@pytest.mark.parametrize("person", range(4))
def test_arms_and_shoulders_swing_against_the_legs(action, person):
    motion_TJ3 = gait(action, person)
    forward_T3 = travel_direction(motion_TJ3)

    def lead(joint):
        return dot(segment(motion_TJ3, "r" + joint, "l" + joint), forward_T3)

    assert np.corrcoef(lead("ankle"), lead("wrist"))[0, 1] < -0.6
    assert np.corrcoef(lead("hip"), lead("shoulder"))[0, 1] < -0.8


def test_walkers_face_where_they_go_on_a_curve():
    turned = []
    for take in range(6):
        motion_TJ3 = gait("walking", 2, take)
        forward_T3 = travel_direction(motion_TJ3)
        facing_T3 = unit(np.cross(segment(motion_TJ3, "rhip", "lhip"), UP) * (1, 0, 1))
        angle_T = np.rad2deg(np.arccos(dot(forward_T3, facing_T3).clip(-1, 1)))
        assert angle_T.max() < 25
        turned.append(flexion_deg(forward_T3[:1], forward_T3[-1:])[0])
    assert max(turned) > 45


# Actions on the spot


@pytest.mark.parametrize("person", range(6))
def test_a_jump_is_a_throw_under_gravity(person):
    motion_TJ3 = gait("jumping", person)
    root_T3 = motion_TJ3[1:-1, J["root"]]
    standing = np.median(ankle_heights(motion_TJ3))
    free_T = np.abs(vertical_acceleration(motion_TJ3) + GRAVITY) < 0.05
    flights = [(a, b) for a, b in stretches(free_T) if b - a > 0.25 * FPS and a > 0 and b < len(free_T)]
    assert len(flights) >= 2
    for start, end in flights:
        assert (ankle_heights(motion_TJ3)[1:-1][start:end] > standing + 0.02).all()
        rise = root_T3[start:end, 1].max() - root_T3[start, 1]
        assert rise == pytest.approx(GRAVITY * ((end - start) / FPS) ** 2 / 8, rel=0.1)  # v t / 4, v = g t / 2
        assert 0.1 < rise < 0.5
        assert speed(root_T3[start:end] * (1, 0, 1)).std() < 0.05


@pytest.mark.parametrize("action", ["waving", "squatting", "sitting_down"])
@pytest.mark.parametrize("person", range(6))
def test_feet_stay_where_they_are(action, person):
    motion_TJ3 = generate(action, person, 0, 0, 10.0, 30.0)
    assert np.ptp(motion_TJ3[:, [J["lankle"], J["rankle"]]], axis=0).max() < 1e-6


@pytest.mark.parametrize("person", range(6))
@pytest.mark.parametrize("action", ["kicking", "throwing", "jumping"])
def test_a_foot_on_the_ground_does_not_slide(action, person):
    motion_TJ3 = gait(action, person)
    settle = round(0.03 * FPS)  # touching down and lifting off
    for ankle in ("lankle", "rankle"):
        ankle_T3 = motion_TJ3[:, J[ankle]]
        near_T = ankle_T3[:, 1] - ankle_T3[:, 1].min() < 0.002
        grounded = [(a + settle, b - settle) for a, b in stretches(near_T) if b - a > 2 * settle]
        assert sum(b - a for a, b in grounded) > 0.15 * len(ankle_T3)
        assert max(speed(ankle_T3)[a:b].max() for a, b in grounded) < 0.05


@pytest.mark.parametrize("person", range(6))
def test_a_squat_goes_deep_and_comes_up_again(person):
    motion_TJ3 = generate("squatting", person, 0, 0, 10.0, 30.0)
    knee_T = flexion_deg(segment(motion_TJ3, "lhip", "lknee"), segment(motion_TJ3, "lknee", "lankle"))
    assert knee_T.max() > 90
    assert knee_T.min() < 30


@pytest.mark.parametrize("person", range(6))
def test_sitting_down_takes_the_pelvis_down_and_back(person):
    motion_TJ3 = generate("sitting_down", person, 0, 0, 4.0, 30.0)
    facing_3 = unit(np.cross(segment(motion_TJ3, "rhip", "lhip")[0], UP))
    moved_3 = motion_TJ3[-1, J["root"]] - motion_TJ3[0, J["root"]]
    thigh = bones(motion_TJ3)[0, J["lknee"] - 1]
    assert moved_3 @ facing_3 == pytest.approx(-thigh, rel=0.3)
    assert moved_3[1] == pytest.approx(-thigh, rel=0.3)
    assert flexion_deg(segment(motion_TJ3, "lhip", "lknee"), segment(motion_TJ3, "lknee", "lankle"))[-1] > 70


def pose_statistics(motion_TJ3):
    """Heights, their spread, and travel, in statures: no thresholds, no knowledge of the actions."""
    stature = bones(motion_TJ3)[0].sum() / 4
    heights_TJ = motion_TJ3[..., 1] / stature
    reach_TJ = np.linalg.norm((motion_TJ3[:, 1:] - motion_TJ3[:, :1])[..., [0, 2]], axis=-1) / stature
    root_speed = speed(motion_TJ3[:, 0], 30.0).mean() / stature
    return np.concatenate([heights_TJ.mean(0), heights_TJ.std(0), reach_TJ.mean(0), reach_TJ.std(0), [root_speed]])


def test_actions_are_told_apart_on_people_not_seen():
    made = [(a, p, generate(a, p, t, 0, 6.0, 30.0)) for a in ACTIONS for p in range(12) for t in range(2)]
    features_NC = np.array([pose_statistics(motion_TJ3) for _, _, motion_TJ3 in made])
    features_NC /= features_NC.std(axis=0)
    action_N = np.array([action for action, _, _ in made])
    held_out_N = np.array([f"procedural/p{person:02d}" in SOURCE.test_subjects for _, person, _ in made])
    assert held_out_N.mean() == 0.25
    centroids_KC = np.array([features_NC[~held_out_N & (action_N == action)].mean(axis=0) for action in ACTIONS])
    distance_NK = np.linalg.norm(features_NC[held_out_N, None] - centroids_KC, axis=-1)
    right = np.array(ACTIONS)[distance_NK.argmin(axis=1)] == action_N[held_out_N]
    assert right.mean() > 0.8


# Determinism


@pytest.mark.parametrize("action", ACTIONS)
def test_a_take_is_a_pure_function_of_its_key(action):
    first = generate(action, 3, 1, 7, 2.0, 30.0)
    assert first.shape == (60, 17, 3)
    np.testing.assert_array_equal(generate(action, 3, 1, 7, 2.0, 30.0), first)
    for other in ((4, 1, 7), (3, 2, 7), (3, 1, 8)):
        assert not np.allclose(generate(action, *other, 2.0, 30.0), first, atol=0.01)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_frame_rate_only_samples_the_motion(action):
    fine, coarse = generate(action, 5, 0, 0, 4.0, 60.0), generate(action, 5, 0, 0, 4.0, 30.0)
    # The last moment differs by 1/60 s, on which nothing may depend either.
    np.testing.assert_allclose(fine[::2], coarse, atol=1e-9)


def test_an_unknown_action_is_named():
    with pytest.raises(ValueError, match=r"'flying'.*walking"):
        generate("flying", 0, 0, 0, 1.0, 30.0)


# The reader


def sequence_of(recording):
    (sequence,) = READER.read(recording)
    return sequence


def test_the_default_corpus_has_twelve_people_and_a_third_as_many_seen_by_a_detector():
    recordings = READER.recordings("procedural://")
    detected = [recording for recording in recordings if recording.source == DETECTIONS_SOURCE]
    assert len(recordings) - len(detected) == 12 * len(ACTIONS) * 2
    assert len(detected) == 4 * len(ACTIONS) * 2
    assert len({recording.path for recording in recordings}) == len(recordings)
    assert {recording.reader for recording in recordings} == {READER.name}
    held_out = {f"procedural/p{person:02d}" for person in range(12)} & SOURCE.test_subjects
    assert len(held_out) == 3


def test_a_recording_is_read_from_its_url_alone():
    recordings = READER.recordings("procedural://?people=2&takes=1&seconds=1.5&fps=29.97&seed=5&detections=1")
    assert len(recordings) == 3 * len(ACTIONS)
    for recording in recordings:
        sequence = check(sequence_of(recording))
        assert sequence.source == recording.source
        assert (sequence.num_frames, sequence.fps) == (45, 29.97)
        if recording.source == SOURCE:
            person = int(sequence.subject.removeprefix("procedural/p"))
            expected_TJ3 = generate(str(sequence.action), person, 0, 5, 1.5, 29.97)
            assert sequence.keypoints_3d_TJC is not None
            np.testing.assert_allclose(sequence.keypoints_3d_TJC, expected_TJ3, atol=1e-5)
            assert sequence.label is not None
            assert SOURCE.labels[sequence.label] == sequence.action
            assert recording.path.startswith(f"procedural://{sequence.action}?person={person}&")
            assert (sequence.confidence_TJ == 1).all()
    names = {(recording.source, sequence_of(recording).sequence_id) for recording in recordings}
    assert len(names) == len(recordings)


def test_detections_are_what_a_detector_gives():
    (recording, *_) = READER.recordings("procedural://?people=0&detections=1&takes=1&seconds=20")
    sequence = sequence_of(recording)
    again = sequence_of(Recording(path=recording.path, reader=READER.name, source=recording.source))
    assert (sequence.keypoints_3d_TJC, sequence.action, sequence.label) == (None, None, None)
    assert sequence.subject.startswith("procedural_detections/")
    assert sequence.image_size == (1000, 1000)
    assert sequence.keypoints_2d_TJC is not None
    np.testing.assert_array_equal(sequence.keypoints_2d_TJC, again.keypoints_2d_TJC)
    lost_TJ = sequence.confidence_TJ == 0
    assert 0.001 < lost_TJ.mean() < 0.1
    assert (sequence.keypoints_2d_TJC[lost_TJ] == 0).all()
    seen_NC = sequence.keypoints_2d_TJC[~lost_TJ]
    assert seen_NC.min() > 0
    assert seen_NC.max() < 1000
    # The image's y axis points down: heads are above ankles.
    both_T = ~lost_TJ[:, [J["head"], J["lankle"]]].any(axis=1)
    head_T, ankle_T = sequence.keypoints_2d_TJC[both_T][:, [J["head"], J["lankle"]], 1].T
    assert (head_T < ankle_T).all()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("peoples=3", "'peoples'.*people, detections"),
        ("people=three", "'people'.*'three'"),
        ("people=", "'people'"),
        ("people=1&people=2", "'people'.*twice"),
        ("people=0&detections=0", "people"),
        ("people=2&wild=1", "'wild' is now called 'detections'"),
        ("people=101", "people.*100.*101"),
        ("takes=0", "takes"),
        ("seconds=0", "seconds"),
        ("seconds=nan", "seconds"),
        ("fps=-30", "fps"),
        ("seed=-1", "seed"),
    ],
)
def test_a_bad_parameter_is_named(query, message):
    with pytest.raises(ValueError, match=message):
        READER.recordings(f"procedural://?{query}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("procedural://flying?person=0&take=0&seconds=1&fps=30&seed=0", "walking"),
        ("procedural://walking?person=0&take=0&seconds=1&fps=30", "seed"),
        ("procedural://walking?person=0&take=0&seconds=1&fps=30&seed=0&mood=good", "mood"),
        ("procedural://walking?person=0&take=0&seconds=1&fps=30&seed=0&detections=2", "detections"),
    ],
)
def test_a_bad_recording_is_a_recording_error(path, message):
    with pytest.raises(RecordingError, match=message):
        sequence_of(Recording(path=path, reader=READER.name, source=SOURCE))


def test_no_file_is_claimed():
    reader: Reader = READER
    assert reader.find([File("walking.bvh", 10), File("procedural.json", 10)]) == []
