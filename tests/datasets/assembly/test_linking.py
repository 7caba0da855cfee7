"""People walk about and are found again: the truth is known because the people are made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.assembly.linking import SIGMA_J, Detections, TrackingLimits, link


def detect(places: list[tuple[int, float]], size=40.0, seen=1.0) -> Detections:
    """One detection per (frame, x): a box of ``size`` with 17 joints inside."""
    frame_N = np.array([frame for frame, _ in places])
    x_N = np.array([x for _, x in places], dtype=np.float64)
    inside_J = np.linspace(0, size, 17)
    return Detections(
        frame_N=frame_N,
        box_N4=np.stack([x_N, np.zeros_like(x_N), np.full_like(x_N, size), np.full_like(x_N, size)], axis=-1),
        keypoints_NJ2=np.stack(np.broadcast_arrays(x_N[:, None] + inside_J, inside_J), axis=-1),
        confidence_NJ=np.full((len(places), 17), seen),
    )


@given(st.integers(1, 4), st.integers(1, 12), st.floats(-8, 8), st.randoms())
@settings(deadline=None)
def test_people_apart_keep_their_number_whatever_the_order_of_detections(people, frames, speed, random):
    truth = [(frame, 200 * who + speed * frame, who) for frame in range(frames) for who in range(people)]
    random.shuffle(truth)
    track_N = link(detect([(frame, x) for frame, x, _ in truth]))
    pairs = {(who, int(track)) for (_, _, who), track in zip(truth, track_N, strict=True)}
    assert len(pairs) == people == len(set(track_N.tolist()))


def test_the_greatest_total_similarity_wins_over_the_nearest_pair():
    # Moving right by 8: the first's new place (8) is nearer to the second's old one (12) than to its own (0).
    track_N = link(detect([(0, 0.0), (0, 12.0), (1, 8.0), (1, 20.0)]))
    np.testing.assert_array_equal(track_N, [0, 1, 0, 1])


def test_the_pose_tells_people_apart_whose_boxes_are_the_same():
    two = detect([(0, 0.0), (0, 0.0), (1, 0.0), (1, 0.0)])
    two.keypoints_NJ2[[1, 2]] = two.keypoints_NJ2[[1, 2]][..., ::-1] * [1, -1] + [0, 40]
    np.testing.assert_array_equal(link(two), [0, 1, 1, 0])


@pytest.mark.parametrize(("similarity", "linked"), [(1.31, True), (1.33, False)])
def test_oks_is_what_coco_defines(similarity, linked):
    """The same box (IoU 1); one joint seen, d away: OKS = exp(-d² / (2 area (2 sigma)²))."""
    elbow, area = 12, 40.0**2
    distance = np.sqrt(-np.log(0.32) * 2 * area * (2 * 0.072) ** 2)
    pair = detect([(0, 0.0), (1, 0.0)], seen=0.0)
    pair.confidence_NJ[:, elbow] = 1
    pair.keypoints_NJ2[1, elbow, 0] += distance
    assert SIGMA_J[elbow] == 0.072
    track_N = link(pair, TrackingLimits(min_similarity=similarity))
    np.testing.assert_array_equal(track_N, [0, 0] if linked else [0, 1])


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    limits = TrackingLimits(max_gap=3)
    np.testing.assert_array_equal(link(detect([(0, 0), (4, 0)]), limits), [0, 0])
    np.testing.assert_array_equal(link(detect([(0, 0), (5, 0)]), limits), [0, 1])


def test_frames_that_are_usually_far_apart_follow_each_other():
    limits = TrackingLimits(max_gap=3)
    np.testing.assert_array_equal(link(detect([(20 * t, 0) for t in range(4)]), limits), [0, 0, 0, 0])
    # The usual step is 20: one of 21 misses no frame, one of 40 does.
    np.testing.assert_array_equal(link(detect([(0, 0), (20, 0), (41, 0), (61, 0)]), limits), [0, 0, 0, 0])
    np.testing.assert_array_equal(link(detect([(0, 0), (20, 0), (40, 0), (80, 0)]), limits), [0, 0, 0, 1])
    np.testing.assert_array_equal(link(detect([(0, 0), (20, 500), (40, 0)]), limits), [0, 1, 2])


def test_a_number_that_begins_where_a_nameless_track_ends_names_it():
    numbers = np.array([-1, -1, 3, 5])
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 0), (2, 0), (2, 900)]), given_N=numbers), [3, 3, 3, 5])
    # From then on they are one track: of two people there only one goes on with it (4 was what is named 3 now).
    numbers = np.array([-1, 3, -1, -1])
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 0), (2, 0), (2, 3)]), given_N=numbers), [3, 3, 3, 5])


def test_a_number_that_was_there_before_names_nobody_else():
    """3 goes away, somebody without a number comes, and 3 comes back where that one was."""
    found = detect([(0, 0), (1, 500), (2, 500)])
    np.testing.assert_array_equal(link(found, given_N=np.array([3, -1, 3])), [3, 4, 3])


def test_two_numbers_in_one_place_stay_two():
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 0)]), given_N=np.array([3, 5])), [3, 5])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=16))
@settings(deadline=None)
def test_given_numbers_stand_and_none_stands_twice_in_a_frame(found):
    numbers = [(frame, number) for frame, _, number in found]
    given_N = np.array([-1 if each in numbers[:n] else each[1] for n, each in enumerate(numbers)])
    track_N = link(detect([(frame, 30.0 * place) for frame, place, _ in found]), given_N=given_N)
    np.testing.assert_array_equal(track_N[given_N >= 0], given_N[given_N >= 0])
    assert len({(each[0], int(track)) for each, track in zip(found, track_N, strict=True)}) == len(found)


def test_who_comes_elsewhere_is_somebody_new():
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 500)])), [0, 1])


def test_boxes_alone_are_enough_where_no_joint_is_seen():
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 2)], seen=0.0)), [0, 0])


def test_everybody_may_be_new_in_every_frame():
    np.testing.assert_array_equal(link(detect([(frame, 1000.0 * frame) for frame in range(500)])), np.arange(500))


def test_a_crowd_beyond_belief_is_refused():
    with pytest.raises(ValueError, match="at most 256 people, found 257"):
        link(detect([(0, 0.0)] * 257))
