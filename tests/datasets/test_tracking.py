"""People walk about and are found again: the truth is known because the people are made up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.tracking import Detections, TrackingLimits, link


def detect(places: list[tuple[int, float]], size=40.0, seen=1.0) -> Detections:
    """One detection per (frame, x): a box of ``size`` with three keypoints inside."""
    frame_N = np.array([frame for frame, _ in places])
    x_N = np.array([x for _, x in places], dtype=np.float64)
    keypoints_NK2 = np.stack(
        [np.stack([x_N + dx, np.full_like(x_N, 10.0 * dx)], axis=-1) for dx in (0, 10, 20)], axis=1
    )
    return Detections(
        frame_N=frame_N,
        box_N4=np.stack([x_N, np.zeros_like(x_N), np.full_like(x_N, size), np.full_like(x_N, size)], axis=-1),
        keypoints_NK2=keypoints_NK2,
        confidence_NK=np.full((len(places), 3), seen),
    )


@given(st.integers(1, 4), st.integers(1, 12), st.floats(-8, 8), st.randoms())
@settings(deadline=None)
def test_people_apart_keep_their_number_whatever_the_order_of_detections(people, frames, speed, random):
    truth = [(frame, 200 * who + speed * frame, who) for frame in range(frames) for who in range(people)]
    random.shuffle(truth)
    track_N = link(detect([(frame, x) for frame, x, _ in truth]))
    pairs = {(who, int(track)) for (_, _, who), track in zip(truth, track_N, strict=True)}
    assert len(pairs) == people == len(set(track_N.tolist()))


def test_the_least_total_cost_wins_over_the_nearest_pair():
    # Moving right by 16: the first's new place (16) is nearer to the second's old one (20) than to its own (0).
    track_N = link(detect([(0, 0.0), (0, 20.0), (1, 16.0), (1, 36.0)]))
    np.testing.assert_array_equal(track_N, [0, 1, 0, 1])


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    limits = TrackingLimits(max_gap=3)
    np.testing.assert_array_equal(link(detect([(0, 0), (4, 0)]), limits), [0, 0])
    np.testing.assert_array_equal(link(detect([(0, 0), (5, 0)]), limits), [0, 1])


def test_who_comes_elsewhere_is_somebody_new():
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 500)])), [0, 1])


def test_boxes_alone_are_enough_where_no_joint_is_seen():
    np.testing.assert_array_equal(link(detect([(0, 0), (1, 2)], seen=0.0)), [0, 0])
