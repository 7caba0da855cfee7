"""Corruption: the published numbers, how much is masked, how far joints move, and that each clip has its own.

``corruption.npz`` has the published parameters, and what the published code makes of a clip of 30 frames and given
random numbers. Bounds of statistics are 5 standard errors under the true law: with fixed seeds a test passes always or
never.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_encoder.corruption import (
    Corruption,
    MaskDraws,
    NoiseDraws,
    add_masks,
    add_noise,
    reported_confidence,
)
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.windows import network_input

CLIPS, FRAMES, JOINTS = 200, 81, 17
STILL = torch.zeros(CLIPS, FRAMES, JOINTS, 2)
SEEN = torch.ones(CLIPS, FRAMES, JOINTS)
ROOT, LEFT_WRIST = 0, 13


@pytest.fixture
def random() -> KeyedRandom:
    return KeyedRandom.at(0, 5, torch.arange(CLIPS))


@pytest.fixture(scope="module")
def published() -> Mapping[str, Tensor]:
    with np.load(Path(__file__).parents[1] / "data" / "corruption.npz", allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def published_draws(published: Mapping[str, Tensor]) -> NoiseDraws:
    return NoiseDraws(
        which_BKJ=published["which"][..., 0],
        gaussian_BKJ2=published["gaussian"],
        uniform_BKJ2=published["uniform"],
        jitter_BTJ2=published["jitter"][None],
        confidence_BTJ=published["confidence"],
    )


def noisy(random: KeyedRandom, keypoints: Tensor, corruption: Corruption) -> tuple[Tensor, Tensor]:
    return add_noise(keypoints, NoiseDraws.of(random, keypoints.shape[1], corruption.keyframes), corruption)


def masked(random: KeyedRandom, confidence: Tensor, corruption: Corruption) -> Tensor:
    return add_masks(confidence, MaskDraws.of(random, *confidence.shape[1:]), corruption)


def share_error(share: float, number: int) -> float:
    return 5 * math.sqrt(share * (1 - share) / number)


def test_noise_is_the_published_one(published):
    """27 keyframes for the 30 frames of a clip of PoseTrack."""
    moved, reported = add_noise(published["x"][..., :2], published_draws(published), Corruption())
    torch.testing.assert_close(moved, published["noisy"][..., :2], rtol=0, atol=1e-7)
    torch.testing.assert_close(reported, published["noisy"][..., 2], rtol=0, atol=1e-6)
    assert Corruption().keyframes == published["which"].shape[1] == 27


def test_masks_are_the_published_ones(published):
    """But for joints whose reported confidence is 0: they are unobserved here, and keep their places there."""
    noisy = published["noisy"]
    draws = MaskDraws(joint_BTJ=published["mask_joint"][..., 0], frame_BT1=published["mask_frame"][..., 0])
    kept = network_input(noisy[..., :2], add_masks(noisy[..., 2], draws, Corruption()))
    observed = noisy[..., 2] > 0
    assert torch.equal(kept[observed], published["masked"][observed])
    assert not kept[~observed].any()


def test_confidence_over_distance_is_the_published_fit(published):
    confidence = reported_confidence(published["d2c_distance"], published["d2c_draw"])
    torch.testing.assert_close(confidence, published["d2c_confidence"], rtol=0, atol=1e-6)


def test_parameters_are_the_published_ones_in_float32(published):
    """Read off the function: Gaussian draws of 0 give the means, of 1 the means and deviations."""
    table = []
    for value in (0.0, 1.0):
        ones = torch.ones(1, 27, 17)
        draws = NoiseDraws(
            which_BKJ=0 * ones,
            gaussian_BKJ2=value * ones[..., None].expand(-1, -1, -1, 2),
            uniform_BKJ2=0.5 * ones[..., None].expand(-1, -1, -1, 2),
            jitter_BTJ2=torch.zeros(1, 27, 17, 2),
            confidence_BTJ=torch.zeros(1, 27, 17),
        )
        table.append(add_noise(torch.zeros(1, 27, 17, 2), draws, Corruption())[0][0, 0])
    assert torch.equal(table[0], published["noise_mean"].float())
    torch.testing.assert_close(table[1] - table[0], published["noise_std"].float(), rtol=1e-6, atol=1e-9)


def test_the_gaussian_has_the_published_probability(published):
    """Just below it a joint is displaced by the Gaussian, just above by the uniform."""
    probability = published["noise_weight"].float()
    for factor, is_gaussian in ((1 - 1e-6, True), (1 + 1e-6, False)):
        draws = NoiseDraws(
            which_BKJ=(probability * factor).expand(1, 27, 17),
            gaussian_BKJ2=torch.full((1, 27, 17, 2), 1000.0),
            uniform_BKJ2=torch.full((1, 27, 17, 2), 1.0),
            jitter_BTJ2=torch.zeros(1, 27, 17, 2),
            confidence_BTJ=torch.zeros(1, 27, 17),
        )
        moved = add_noise(torch.zeros(1, 27, 17, 2), draws, Corruption())[0]
        assert bool(((moved > 1) == is_gaussian).all())


def test_share_of_masked_joints(random):
    kept = masked(random, SEEN, Corruption(joint_mask_ratio=0.05, frame_mask_ratio=0.0))
    assert abs((kept == 0).double().mean().item() - 0.05) < share_error(0.05, SEEN.numel())


def test_share_of_masked_frames(random):
    kept = masked(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.1))
    gone = kept == 0
    assert torch.equal(gone.any(dim=2), gone.all(dim=2))
    assert abs(gone.double().mean().item() - 0.1) < share_error(0.1, CLIPS * FRAMES)


def test_both_masks_together(random):
    gone = masked(random, SEEN, Corruption(joint_mask_ratio=0.3, frame_mask_ratio=0.2)) == 0
    whole_frames = gone.all(dim=2)
    assert abs(whole_frames.double().mean().item() - 0.2) < share_error(0.2, CLIPS * FRAMES)
    rest = gone[~whole_frames]
    assert abs(rest.double().mean().item() - 0.3) < share_error(0.3, rest.numel())


def test_joints_and_frames_are_masked_independently(random):
    """The correlation of independent masks is 0 with standard error 1 / sqrt(n); draws are paired in their order."""
    joints = masked(random, SEEN, Corruption(joint_mask_ratio=0.5, frame_mask_ratio=0.0)).flatten(1)[:, :FRAMES]
    frames = masked(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.5))[:, :, 0]
    correlation = torch.corrcoef(torch.stack([joints.flatten(), frames.flatten()]).double())[0, 1].item()
    assert abs(correlation) < 5 / math.sqrt(frames.numel())


def test_masks_keep_the_confidence_of_what_stays(random):
    confidence = torch.rand(CLIPS, FRAMES, JOINTS, generator=torch.Generator().manual_seed(0))
    kept = masked(random, confidence, Corruption())
    assert torch.equal(kept[kept > 0], confidence[kept > 0])


def test_without_masks_all_stays(random):
    assert torch.equal(masked(random, SEEN, Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0)), SEEN)


def test_each_clip_has_its_own_noise_and_masks(random):
    moved, reported = noisy(random, STILL, Corruption())
    kept = masked(random, SEEN, Corruption())
    alone = KeyedRandom.at(0, 5, torch.tensor([17]))
    alone_moved, alone_reported = noisy(alone, STILL[:1], Corruption())
    torch.testing.assert_close(alone_moved[0], moved[17])
    torch.testing.assert_close(alone_reported[0], reported[17])
    assert torch.equal(masked(alone, SEEN[:1], Corruption())[0], kept[17])
    assert not torch.equal(moved[16], moved[17])
    assert not torch.equal(kept[16].any(dim=1), kept[17].any(dim=1))


def test_noise_of_scale_zero_moves_nothing(random):
    clip = torch.randn(CLIPS, FRAMES, JOINTS, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noisy(random, clip, Corruption(noise_scale=0.0))[0], clip)


def test_displacements_grow_with_the_scale(random):
    once, _ = noisy(random, STILL, Corruption())
    twice, _ = noisy(random, STILL, Corruption(noise_scale=2.0))
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
    moved = noisy(random, torch.zeros(10_000, 2, JOINTS, 2), Corruption(jitter_std=0.0))[0][:, 0, joint].double()
    for axis in (0, 1):
        expected = gaussian_share * mean[axis]
        second = gaussian_share * (std[axis] ** 2 + mean[axis] ** 2) + (1 - gaussian_share) * 0.06**2 / 12
        assert abs(moved[:, axis].mean().item() - expected) < 5 * math.sqrt(second / len(moved))
        # E x^4 <= 0.03^2 E x^2 in the uniform part and about 3 E x^2 squared in the Gaussian one bounds the variance.
        fourth = gaussian_share * 10 * std[axis] ** 4 + (1 - gaussian_share) * 0.03**4 / 5
        assert abs(moved[:, axis].square().mean().item() - second) < 5 * math.sqrt(fourth / len(moved))


def test_jitter_is_white(random):
    with_it, _ = noisy(random, STILL, Corruption(uniform_range=0.0))
    without, _ = noisy(random, STILL, Corruption(uniform_range=0.0, jitter_std=0.0))
    jitter = with_it - without
    number = jitter.numel()
    assert abs(jitter.double().square().mean().item() - 0.002**2) < 5 * 0.002**2 * math.sqrt(2 / number)
    lagged = (jitter[:, 1:].double() * jitter[:, :-1].double()).mean().item()
    assert abs(lagged) < 5 * 0.002**2 / math.sqrt(number)


def test_displacements_are_linear_between_keyframes(random):
    """81 frames, 9 keyframes, 10 frames apart. Second differences vanish but at the keyframes."""
    moved, _ = noisy(random, STILL, Corruption(jitter_std=0.0, keyframes=9))
    bends = moved.diff(dim=1).diff(dim=1).abs().amax(dim=(0, 2, 3)) > 1e-5
    assert (bends.nonzero().flatten() + 1).tolist() == [10, 20, 30, 40, 50, 60, 70]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_clips(frames):
    moved, reported = noisy(KeyedRandom.at(0, 0, torch.arange(3)), torch.zeros(3, frames, 17, 2), Corruption())
    assert moved.shape == (3, frames, 17, 2)
    assert moved.isfinite().all()
    assert reported.shape == (3, frames, 17)


def test_reported_confidence_falls_with_the_error(random):
    moved, reported = noisy(random, STILL, Corruption())
    distance = moved.norm(dim=-1)
    near, far = reported[distance < 0.005], reported[distance > 0.02]
    assert 0 <= reported.min().item() < reported.max().item() <= 1
    assert far.mean().item() < near.mean().item() - 0.1


def test_the_scale_is_of_positions_alone(random):
    """It says how large a unit of the fit is in the window; the detector is as sure as before."""
    _, once = noisy(random, STILL, Corruption())
    _, twice = noisy(random, STILL, Corruption(noise_scale=2.0))
    assert torch.equal(once, twice)


def test_reported_confidence_of_a_perfect_detection(random):
    """At distance 0 it is 1 + N(-0.0046, 0.143²) clamped to 1: it is 1 whenever the Gaussian is above 0."""
    normal = random.normal("test", FRAMES, JOINTS)
    reported = reported_confidence(torch.zeros_like(normal), normal).clamp(0, 1)
    share = 0.5 * math.erfc(0.0045857 / 0.1431057 / math.sqrt(2))
    assert abs((reported == 1).double().mean().item() - share) < share_error(share, reported.numel())


@pytest.mark.parametrize(
    "bad",
    [
        {"joint_mask_ratio": 1.0},
        {"frame_mask_ratio": -0.1},
        {"keyframes": 0},
        {"noise_scale": -1.0},
        {"jitter_std": -0.1},
        {"uniform_range": math.nan},
    ],
)
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Corruption(**bad)
