"""What the network sees and must say, against the camera's geometry worked out by hand."""

from typing import Any

import pytest
import torch

from motion_encoder.cameras import ViewRange
from motion_encoder.corruption import Corruption
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.observation import (
    TEST_VIEWS,
    Observation,
    ViewOptions,
    clean_input,
    corrupted_input,
    flip,
    observe,
)
from motion_encoder.skeletons import H36M17

NOTHING = Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0, noise_scale=0.0)
STRAIGHT = ViewOptions(
    azimuth_deg=(0.0, 0.0),
    elevation_deg=(0.0, 0.0),
    roll_deg=(0.0, 0.0),
    distance_m=(4.0, 4.0),
    focal=(1000.0, 1000.0),
    margin=(1.0, 1.0),
    flip_ratio=0.0,
)


def keys(count: int, step: int = 0) -> KeyedRandom:
    return KeyedRandom.at(0, step, torch.arange(count))


def motion(clips: int = 2, frames: int = 5) -> torch.Tensor:
    return torch.randn(clips, frames, 17, 3, generator=torch.Generator().manual_seed(1))


def look(
    points_BTJ3: torch.Tensor, has_depth: bool | list[bool], options: ViewOptions, confidence_BTJ=None
) -> Observation:
    count = len(points_BTJ3)
    has_depth_B = torch.tensor([has_depth] * count if isinstance(has_depth, bool) else has_depth)
    confidence_BTJ = torch.ones(points_BTJ3.shape[:3]) if confidence_BTJ is None else confidence_BTJ
    return observe(points_BTJ3, confidence_BTJ, has_depth_B, keys(count), options)


def test_a_camera_straight_ahead_sees_what_the_pinhole_says():
    points = motion(1)
    seen = look(points, True, STRAIGHT)
    low, high = points.amin(dim=(0, 1, 2)), points.amax(dim=(0, 1, 2))
    distance = (high - low).norm() / 2 + 4.0
    right_down_ahead = (points - (low + high) / 2) * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0, 0, distance])
    pixels = right_down_ahead[..., :2] / right_down_ahead[..., 2:] * 1000.0
    box_low, box_high = pixels.amin(dim=(0, 1, 2)), pixels.amax(dim=(0, 1, 2))
    half_side = (box_high - box_low).max() / 2
    torch.testing.assert_close(seen.keypoints_BTJ2, (pixels - (box_low + box_high) / 2) / half_side, atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.scale_BT, 1000.0 / right_down_ahead[:, :, 0, 2] / half_side, atol=1e-5, rtol=0)


def test_the_target_divided_by_its_scale_is_the_metric_skeleton():
    points = motion(3)
    seen = look(points, True, TEST_VIEWS)
    relative = (seen.target_BTJ3 - seen.target_BTJ3[:, :, :1]) / seen.scale_BT[..., None, None]
    true = points - points[:, :, :1]
    torch.testing.assert_close(torch.cdist(relative, relative), torch.cdist(true, true), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.target_BTJ3[:, :, 0, :2], seen.keypoints_BTJ2[:, :, 0], atol=1e-5, rtol=0)


def test_the_tightest_window_touches_the_border_and_a_margin_leaves_room():
    points = motion(4)
    assert look(points, True, TEST_VIEWS).keypoints_BTJ2.abs().amax(dim=(1, 2, 3)).tolist() == pytest.approx([1.0] * 4)
    roomy = ViewOptions(margin=(1.5, 1.5), flip_ratio=0.0)
    assert look(points, True, roomy).keypoints_BTJ2.abs().amax(dim=(1, 2, 3)).tolist() == pytest.approx([2 / 3] * 4)


def test_detections_are_their_own_view():
    pixels = torch.cat([motion()[..., :2] * 300 + 500, torch.zeros(2, 5, 17, 1)], dim=-1)
    seen = look(pixels, False, TEST_VIEWS)
    torch.testing.assert_close(seen.target_BTJ3[..., :2], seen.keypoints_BTJ2)
    assert (seen.scale_BT == 1).all()
    shape = seen.keypoints_BTJ2 - seen.keypoints_BTJ2[:, :, :1]
    true = pixels[..., :2] - pixels[:, :, :1, :2]
    half_side = (pixels[..., :2].amax(dim=(1, 2)) - pixels[..., :2].amin(dim=(1, 2))).amax(dim=-1) / 2
    torch.testing.assert_close(shape, true / half_side[:, None, None, None], atol=1e-5, rtol=0)


def test_supervision_mixes_in_one_batch_without_touching_the_neighbour():
    points = motion(2)
    points[1, ..., 2] = 0
    mixed = look(points, [True, False], TEST_VIEWS)
    all_3d, all_2d = look(points, True, TEST_VIEWS), look(points, False, TEST_VIEWS)
    assert torch.equal(mixed.target_BTJ3[0], all_3d.target_BTJ3[0])
    assert torch.equal(mixed.target_BTJ3[1], all_2d.target_BTJ3[1])


def test_what_was_not_observed_reaches_nothing_however_wild_its_numbers():
    points, confidence = motion(2), torch.ones(2, 5, 17)
    confidence[:, :, 13] = 0
    plain = look(points, True, TEST_VIEWS, confidence)
    points[:, :, 13] = torch.nan
    wild = look(points, True, TEST_VIEWS, confidence)
    for name in ("keypoints_BTJ2", "target_BTJ3", "scale_BT"):
        assert torch.equal(getattr(plain, name), getattr(wild, name)), name
    assert (wild.keypoints_BTJ2[:, :, 13] == 0).all()
    assert (clean_input(wild)[:, :, 13] == 0).all()


def test_mirrored_clips_are_mirrored_throughout():
    points = motion(8)
    plain = look(points, True, ViewOptions(margin=(1.0, 1.0), flip_ratio=0.0))
    mirrored = look(points, True, ViewOptions(margin=(1.0, 1.0), flip_ratio=1.0))
    torch.testing.assert_close(mirrored.keypoints_BTJ2, flip(plain.keypoints_BTJ2))
    torch.testing.assert_close(mirrored.target_BTJ3, flip(plain.target_BTJ3))
    left, right = H36M17.index("lwrist"), H36M17.index("rwrist")
    torch.testing.assert_close(mirrored.target_BTJ3[:, :, left, 0], -plain.target_BTJ3[:, :, right, 0])
    torch.testing.assert_close(mirrored.target_BTJ3[:, :, left, 2], plain.target_BTJ3[:, :, right, 2])


def test_the_input_without_corruption_is_what_was_seen():
    seen = look(motion(), True, TEST_VIEWS)
    assert torch.equal(corrupted_input(seen, keys(2), NOTHING), clean_input(seen))
    assert torch.equal(clean_input(seen)[..., :2], seen.keypoints_BTJ2)


@pytest.mark.parametrize(
    ("has_depth", "confidence", "is_noisy"),
    [(True, 1.0, True), (True, 0.7, True), (False, 1.0, True), (False, 0.5, True), (False, 0.7, False)],
    ids=["3D", "3D of a sensor", "annotated", "annotated as hidden", "detected"],
)
def test_noise_is_for_exact_clips(has_depth, confidence, is_noisy):
    """Detections have errors of their own: the published code adds none to InstaVariety."""
    confidence_BTJ = torch.ones(2, 5, 17)
    confidence_BTJ[0, 2, 3] = confidence
    confidence_BTJ[:, 1, 9] = 0
    seen = look(motion(), has_depth, TEST_VIEWS, confidence_BTJ)
    unmasked = Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0)
    corrupted, clean = corrupted_input(seen, keys(2), unmasked), clean_input(seen)
    assert torch.equal(corrupted[0], clean[0]) == (not is_noisy)
    assert not torch.equal(corrupted[1], clean[1])  # the other clip of the batch is exact either way
    assert not corrupted[:, 1, 9].any()


def test_masked_joints_vanish_from_the_input_and_stay_in_the_target():
    seen = look(motion(4, 50), True, TEST_VIEWS)
    masks = Corruption(joint_mask_ratio=0.5, frame_mask_ratio=0.0, noise_scale=0.0)
    spoilt = corrupted_input(seen, keys(4), masks)
    gone = spoilt[..., 2] == 0
    assert 0.4 < gone.float().mean() < 0.6
    assert (spoilt[gone] == 0).all()
    assert torch.equal(spoilt[~gone], clean_input(seen)[~gone])


@pytest.mark.parametrize("field", ["azimuth_deg", "elevation_deg", "roll_deg", "distance_m", "focal"])
@pytest.mark.parametrize("low_high", [(2.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_a_range_that_is_none_is_named(field: str, low_high: tuple[float, float]):
    with pytest.raises(ValueError, match=rf"cameras\.{field}: expected low <= high"):
        ViewRange(**{field: low_high})


@pytest.mark.parametrize(
    ("field", "value"), [("margin", (0.0, 1.0)), ("margin", (2.0, 1.0)), ("flip_ratio", 1.5), ("flip_ratio", -0.1)]
)
def test_a_bad_view_option_is_named(field: str, value: Any):
    with pytest.raises(ValueError, match=rf"cameras\.{field}: expected .*found"):
        ViewOptions(**{field: value})


def test_a_camera_cannot_look_straight_down():
    with pytest.raises(ValueError, match=r"cameras\.elevation_deg"):
        ViewRange(elevation_deg=(0.0, 90.0))


def test_a_clip_is_seen_alike_in_any_batch():
    points, confidence = motion(6), torch.ones(6, 5, 17)
    depth = torch.ones(6, dtype=torch.bool)
    whole = observe(points, confidence, depth, keys(6), ViewOptions())
    part = observe(points[4:], confidence[4:], depth[4:], KeyedRandom.at(0, 0, torch.arange(4, 6)), ViewOptions())
    assert torch.equal(whole.target_BTJ3[4:], part.target_BTJ3)
    other_step = observe(points, confidence, depth, keys(6, step=1), ViewOptions())
    assert not torch.equal(whole.target_BTJ3, other_step.target_BTJ3)
