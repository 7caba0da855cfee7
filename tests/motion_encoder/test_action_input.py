"""The action network's input against the published code's, and what it promises beyond.

``action_items.npz`` has three samples in the published file's layout (float16), what the published test data set makes
of them, and the same with its two faults mended (scores at their joints, exchanged with their people): one person in a
portrait picture, two people who trade slots in frames 11 to 19, and two of whom one leaves the picture for a while.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_encoder.action_input import make_action_input, make_published_action_input
from motion_encoder.skeletons import COCO17_JOINTS, H36M17

SAMPLES = ("portrait", "exchange", "gone")


@pytest.fixture(scope="module")
def published() -> Mapping[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "data" / "action_items.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def people(num_people: int = 2, num_frames: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """People 300 pixels apart, all seen; eyes and ears where the nose is, so that they do not widen the window."""
    rng = np.random.default_rng(seed)
    body_PTK2 = rng.uniform(100, 300, size=(num_people, 1, 17, 2)) + rng.normal(size=(num_people, num_frames, 17, 2))
    body_PTK2[1:, ..., 0] += 300
    body_PTK2[:, :, 1:5] = body_PTK2[:, :, :1]
    return body_PTK2.astype(np.float32), rng.uniform(0.5, 1, size=(num_people, num_frames, 17)).astype(np.float32)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_published_input(published, name):
    width, height = published[f"{name}_image_size"].tolist()
    assert (name == "portrait") == (height > width)
    item = make_published_action_input(
        published[f"{name}_keypoints"], published[f"{name}_scores"], image_size=(width, height), clip_frames=27
    )
    np.testing.assert_allclose(item.numpy(), published[f"{name}_published"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_corrected_input(published, name):
    """Where something was seen; elsewhere the published code keeps positions that mean nothing, and here is 0."""
    keypoints, scores = (published[f"{name}_{kind}"].astype(np.float32) for kind in ("keypoints", "scores"))
    item, expected = make_action_input(keypoints, scores, clip_frames=27).numpy(), published[f"{name}_corrected"]
    seen = expected[..., 2] > 0
    np.testing.assert_allclose(item[seen], expected[seen], rtol=0, atol=1e-6)
    assert not item[~seen].any()
    assert expected[~seen].any()


def test_half_precision_is_what_the_files_lose(published):
    """The published numbers are of float16 positions; the same samples in float32 differ by up to 0.0015."""
    options = {"image_size": tuple(published["portrait_image_size"].tolist()), "clip_frames": 27}
    half, full = (
        make_published_action_input(
            published["portrait_keypoints"].astype(kind), published["portrait_scores"], **options
        )
        for kind in (np.float16, np.float32)
    )
    assert 1e-4 < (half - full).abs().max().item() < 2e-3


def test_people_are_followed_where_they_trade_slots():
    keypoints, scores = people()
    traded = [values.copy() for values in (keypoints, scores)]
    for values in traded:
        values[:, 3:6] = values[::-1, 3:6]
    torch.testing.assert_close(make_action_input(*traded), make_action_input(keypoints, scores))


def test_a_person_who_disappears_is_not_mistaken_for_the_other():
    """In frames 3 to 5 the first slot is empty, at 0, which is nearer to the second person than to the first."""
    keypoints, scores = people()
    keypoints[0] += 1000
    gone = scores.copy()
    gone[0, 3:6] = 0
    for anywhere in (0.0, np.nan):
        keypoints[0, 3:6] = anywhere
        item = make_action_input(keypoints, gone)
        assert not item[0, 3:6].any()
        assert (item[1, ..., 2] > 0).all()
        assert item.isfinite().all()


def test_the_window_is_around_both_and_a_margin_leaves_room():
    keypoints, scores = people()
    tight, wide = (make_action_input(keypoints, scores, margin=margin)[..., :2] for margin in (1.0, 2.0))
    assert tight.abs().max().item() == pytest.approx(1.0)
    torch.testing.assert_close(wide, tight / 2)
    low, high = keypoints.min(axis=(0, 1, 2)), keypoints.max(axis=(0, 1, 2))
    nose = (keypoints[..., 0, :] - (low + high) / 2) / ((high - low).max() / 2)
    torch.testing.assert_close(tight[:, :, H36M17.index("nose")], torch.from_numpy(nose), rtol=0, atol=1e-5)


def test_scores_are_those_of_their_joints():
    keypoints, scores = people(1)
    item = make_action_input(keypoints, scores)
    for joint in ("lwrist", "rknee", "nose"):
        ours, coco = H36M17.index(joint), COCO17_JOINTS.index(joint)
        np.testing.assert_array_equal(item[0, :, ours, 2].numpy(), scores[0, :, coco])


@pytest.mark.parametrize(("num_frames", "clip_frames"), [(8, 8), (8, 20), (20, 8), (1, 5)])
def test_frames_are_evenly_spaced(num_frames, clip_frames):
    """The i-th of N frames out of M is the one at i M / N, rounded down."""
    keypoints, scores = people(1, num_frames)
    item = make_action_input(keypoints, scores, clip_frames=clip_frames)
    expected = [int(i * num_frames / clip_frames) for i in range(clip_frames)]
    np.testing.assert_array_equal(item[0, :, 9, 2].numpy(), scores[0, expected, 0])


def test_with_nothing_seen_the_published_input_is_all_zero():
    keypoints, _ = people(1)
    item = make_published_action_input(keypoints, np.zeros((1, 8, 17)), image_size=(640, 480), clip_frames=8)
    assert item.shape == (2, 8, 17, 3)
    assert not item.any()
    assert not make_action_input(keypoints, np.zeros((1, 8, 17))).any()


@pytest.mark.parametrize("shape", [(3, 8, 17), (0, 8, 17), (1, 8, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected keypoints \[people, frames, 17, 2\] .*found"):
        make_action_input(np.zeros((*shape, 2)), np.zeros(shape))
