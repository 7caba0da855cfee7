"""Corruption: how much is masked, how far joints move, and that each clip has its own.

Bounds are 5 standard errors under the true law: with fixed seeds a test passes always or never.
"""

import math

import pytest
import torch

from motion_encoder.corruption import Corruption, add_masks, add_noise
from motion_encoder.keyed_random import KeyedRandom

CLIPS, FRAMES, JOINTS = 200, 81, 17
STILL = torch.zeros(CLIPS, FRAMES, JOINTS, 2)
SEEN = torch.ones(CLIPS, FRAMES, JOINTS)
ROOT, LEFT_WRIST = 0, 13


@pytest.fixture
def random() -> KeyedRandom:
    return KeyedRandom.at(0, 5, torch.arange(CLIPS))


def share_error(share: float, number: int) -> float:
    return 5 * math.sqrt(share * (1 - share) / number)


def test_share_of_masked_joints(random):
    kept = add_masks(random, SEEN, Corruption(joint_mask_ratio=0.05, frame_mask_ratio=0.0))
    assert abs((kept == 0).double().mean().item() - 0.05) < share_error(0.05, SEEN.numel())


def test_share_of_masked_frames(random):
    kept = add_masks(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.1))
    masked = kept == 0
    assert torch.equal(masked.any(dim=2), masked.all(dim=2))
    assert abs(masked.double().mean().item() - 0.1) < share_error(0.1, CLIPS * FRAMES)


def test_both_masks_together(random):
    masked = add_masks(random, SEEN, Corruption(joint_mask_ratio=0.3, frame_mask_ratio=0.2)) == 0
    whole_frames = masked.all(dim=2)
    assert abs(whole_frames.double().mean().item() - 0.2) < share_error(0.2, CLIPS * FRAMES)
    rest = masked[~whole_frames]
    assert abs(rest.double().mean().item() - 0.3) < share_error(0.3, rest.numel())


def test_joints_and_frames_are_masked_independently(random):
    """The correlation of independent masks is 0 with standard error 1 / sqrt(n); draws are paired in their order."""
    joints = add_masks(random, SEEN, Corruption(joint_mask_ratio=0.5, frame_mask_ratio=0.0)).flatten(1)[:, :FRAMES]
    frames = add_masks(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.5))[:, :, 0]
    correlation = torch.corrcoef(torch.stack([joints.flatten(), frames.flatten()]).double())[0, 1].item()
    assert abs(correlation) < 5 / math.sqrt(frames.numel())


def test_masks_keep_the_confidence_of_what_stays(random):
    confidence = torch.rand(CLIPS, FRAMES, JOINTS, generator=torch.Generator().manual_seed(0))
    kept = add_masks(random, confidence, Corruption())
    assert torch.equal(kept[kept > 0], confidence[kept > 0])


def test_without_masks_all_stays(random):
    assert torch.equal(add_masks(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0)), SEEN)


def test_each_clip_has_its_own_noise_and_masks(random):
    noisy, reported = add_noise(random, STILL, Corruption())
    kept = add_masks(random, SEEN, Corruption())
    alone = KeyedRandom.at(0, 5, torch.tensor([17]))
    alone_noisy, alone_reported = add_noise(alone, STILL[:1], Corruption())
    torch.testing.assert_close(alone_noisy[0], noisy[17])
    torch.testing.assert_close(alone_reported[0], reported[17])
    assert torch.equal(add_masks(alone, SEEN[:1], Corruption())[0], kept[17])
    assert not torch.equal(noisy[16], noisy[17])
    assert not torch.equal(kept[16].any(dim=1), kept[17].any(dim=1))


def test_noise_of_scale_zero_moves_nothing(random):
    clip = torch.randn(CLIPS, FRAMES, JOINTS, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(add_noise(random, clip, Corruption(noise_scale=0.0))[0], clip)


def test_displacements_grow_with_the_scale(random):
    once, _ = add_noise(random, STILL, Corruption())
    twice, _ = add_noise(random, STILL, Corruption(noise_scale=2.0))
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize(
    ("joint", "mean", "std", "gaussian_share"),
    [
        (ROOT, (0.00081, 0.00021), (0.00366, 0.00357), 0.99875),
        (LEFT_WRIST, (0.00116, 0.00163), (0.00499, 0.00509), 0.70277),
    ],
)
def test_displacement_statistics_of_the_published_fit(joint, mean, std, gaussian_share):
    """First frame, no jitter: a Gaussian with probability w, else uniform in ±0.03 (variance 0.06² / 12)."""
    random = KeyedRandom.at(0, 5, torch.arange(10_000))
    moved = add_noise(random, torch.zeros(10_000, 2, JOINTS, 2), Corruption(jitter_std=0.0))[0][:, 0, joint].double()
    for axis in (0, 1):
        expected = gaussian_share * mean[axis]
        second = gaussian_share * (std[axis] ** 2 + mean[axis] ** 2) + (1 - gaussian_share) * 0.06**2 / 12
        assert abs(moved[:, axis].mean().item() - expected) < 5 * math.sqrt(second / len(moved))
        # E x^4 <= 0.03^2 E x^2 in the uniform part and about 3 E x^2 squared in the Gaussian one bounds the variance.
        fourth = gaussian_share * 10 * std[axis] ** 4 + (1 - gaussian_share) * 0.03**4 / 5
        assert abs(moved[:, axis].square().mean().item() - second) < 5 * math.sqrt(fourth / len(moved))


def test_jitter_is_white(random):
    jitter = add_noise(random, STILL, Corruption(uniform_range=0.0))[0] - add_noise(
        random, STILL, Corruption(uniform_range=0.0, jitter_std=0.0)
    )[0]  # fmt: skip
    number = jitter.numel()
    assert abs(jitter.double().square().mean().item() - 0.002**2) < 5 * 0.002**2 * math.sqrt(2 / number)
    lagged = (jitter[:, 1:].double() * jitter[:, :-1].double()).mean().item()
    assert abs(lagged) < 5 * 0.002**2 / math.sqrt(number)


def test_displacements_are_linear_between_keyframes(random):
    """81 frames, one keyframe per 9: 9 keyframes, 10 frames apart. Second differences vanish but at the keyframes."""
    moved, _ = add_noise(random, STILL, Corruption(jitter_std=0.0))
    bends = moved.diff(dim=1).diff(dim=1).abs().amax(dim=(0, 2, 3)) > 1e-5
    assert (bends.nonzero().flatten() + 1).tolist() == [10, 20, 30, 40, 50, 60, 70]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_clips(frames):
    moved, reported = add_noise(KeyedRandom.at(0, 0, torch.arange(3)), torch.zeros(3, frames, 17, 2), Corruption())
    assert moved.shape == (3, frames, 17, 2)
    assert moved.isfinite().all()
    assert reported.shape == (3, frames, 17)


def test_reported_confidence_falls_with_the_error(random):
    _, near = add_noise(random, STILL, Corruption())
    _, far = add_noise(random, STILL, Corruption(noise_scale=8.0))
    for reported in (near, far):
        assert 0 <= reported.min().item() < reported.max().item() <= 1
    assert far.mean().item() < near.mean().item() - 0.1


def test_reported_confidence_of_a_perfect_detection(random):
    """At distance 0 it is 1 + N(-0.0046, 0.143²) clamped to 1: it is 1 whenever the Gaussian is above 0."""
    _, reported = add_noise(random, STILL, Corruption(noise_scale=0.0))
    share = 0.5 * math.erfc(0.0045857 / 0.1431057 / math.sqrt(2))
    assert abs((reported == 1).double().mean().item() - share) < share_error(share, reported.numel())


@pytest.mark.parametrize(
    "bad",
    [
        {"joint_mask_ratio": 1.0},
        {"frame_mask_ratio": -0.1},
        {"keyframe_every": 0},
        {"noise_scale": -1.0},
        {"jitter_std": -0.1},
        {"uniform_range": math.nan},
    ],
)
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Corruption(**bad)
