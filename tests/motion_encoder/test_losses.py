"""Losses against their definitions, the published values, and the promise that the unknown changes nothing."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_encoder import losses
from motion_encoder.losses import LossWeights, Sum, pose_losses
from motion_encoder.skeletons import H36M17

PUBLISHED = {
    "mpjpe": losses.mpjpe,
    "n_mpjpe": losses.n_mpjpe,
    "velocity": losses.velocity,
    "limb_gt": losses.limb_length,
    "limb_var": lambda pred, _target, known=None: losses.limb_variance(pred, known),
    "angle": losses.angle,
    "angle_velocity": losses.angle_velocity,
    "loss_2d_weighted": losses.loss_2d,
}
EVERY = LossWeights(limb_variance=1.0, limb_length=1.0, angle=1.0, angle_velocity=1.0)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parents[1] / "data" / "losses.npz", allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("pred", "gt", "conf", *PUBLISHED)}


def poses(seed: int, clips: int = 2, frames: int = 5) -> torch.Tensor:
    return torch.randn(clips, frames, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def known_at_random(clips: int = 2, frames: int = 5, share: float = 0.6) -> torch.Tensor:
    return torch.rand(clips, frames, 17, generator=torch.Generator().manual_seed(9)) < share


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_published_value(name, published):
    known = published["conf"][..., 0] if name == "loss_2d_weighted" else None
    value = PUBLISHED[name](published["pred"], published["gt"], known).mean()
    assert value.item() == pytest.approx(published[name].item(), abs=1e-6)


def test_the_2d_loss_is_a_mean_over_seen_and_unseen_joints():
    """Three of 17 joints are seen, each 5 away with confidence 0.5; in the second frame none is."""
    confidence = torch.zeros(1, 2, 17)
    confidence[0, 0, [0, 3, 8]] = 0.5
    target = poses(0, clips=1, frames=2).float()
    loss = losses.loss_2d(target + torch.tensor([3.0, 4.0, 12.0]), target, confidence)
    assert loss.mean().item() == pytest.approx(3 * 0.5 * 5 / 17)


def test_by_hand():
    target = poses(0)
    offset = target + torch.tensor([3.0, 4.0, 12.0])
    drift = target + torch.arange(5)[:, None, None] * torch.tensor([0.0, 3.0, 4.0])
    assert losses.mpjpe(offset, target).mean().item() == pytest.approx(13)
    assert losses.loss_2d(offset, target, torch.full((2, 5, 17), 0.5)).mean().item() == pytest.approx(2.5)
    assert losses.velocity(offset, target).mean().item() == pytest.approx(0, abs=1e-9)
    assert losses.velocity(drift, target).mean().item() == pytest.approx(5)
    assert losses.n_mpjpe(7 * target, target).mean().item() == pytest.approx(0, abs=1e-9)
    assert losses.limb_length(offset, target).mean().item() == pytest.approx(0, abs=1e-9)
    assert losses.angle(-2 * target, target).mean().item() == pytest.approx(0, abs=1e-6)


def test_limb_terms_of_a_stretched_limb():
    """Only root to rhip is longer: by 1 in the second of two frames; variance of (a, a + 1) with n - 1 is 1/2."""
    still = poses(1, clips=1, frames=1).expand(1, 2, 17, 3).clone()
    stretched = still.clone()
    limb = still[0, 1, 1] - still[0, 1, 0]
    moved = [H36M17.index(joint) for joint in ("rhip", "rknee", "rankle")]
    stretched[0, 1, moved] += limb / limb.norm()
    assert losses.limb_variance(stretched).mean().item() == pytest.approx(0.5 / 16)
    assert losses.limb_length(stretched, still).mean().item() == pytest.approx(1 / (2 * 16))


def test_angle_of_a_bent_elbow():
    """One of 18 angles is wrong by pi / 2, in one frame of two."""
    straight = poses(2, clips=1, frames=1).expand(1, 2, 17, 3).clone()
    shoulder, elbow, wrist = (H36M17.index(joint) for joint in ("rshoulder", "relbow", "rwrist"))
    straight[0, :, elbow] = straight[0, :, shoulder] + torch.tensor([1.0, 0.0, 0.0])
    bent = straight.clone()
    straight[0, :, wrist] = straight[0, :, elbow] + torch.tensor([1.0, 0.0, 0.0])
    bent[0, 0, wrist] = straight[0, 0, wrist]
    bent[0, 1, wrist] = bent[0, 1, elbow] + torch.tensor([0.0, 1.0, 0.0])
    assert losses.angle(bent, straight).mean().item() == pytest.approx(math.pi / 2 / 18 / 2, abs=1e-4)
    assert losses.angle_velocity(bent, straight).mean().item() == pytest.approx(math.pi / 2 / 18, abs=1e-4)


def expected_counts(known: torch.Tensor) -> dict[str, int]:
    """The number of terms each loss averages, counted one by one; the 2D loss counts all joints of frames with any."""
    clips, frames, _ = known.shape
    joints = [(b, t, j) for b in range(clips) for t in range(frames) for j in range(17) if known[b, t, j]]
    limbs = {
        (b, t, end) for b in range(clips) for t in range(frames) for start, end in H36M17.bones
        if known[b, t, start] and known[b, t, end]
    }  # fmt: skip
    seen_limbs = [(b, end) for b, _, end in limbs]
    return {
        "mpjpe": len(joints),
        "n_mpjpe": len(joints),
        "loss_2d_weighted": 17 * len({(b, t) for b, t, _ in joints}),
        "velocity": sum((b, t + 1, j) in joints for b, t, j in joints),
        "limb_gt": len(limbs),
        "limb_var": sum(seen_limbs.count(limb) >= 2 for limb in set(seen_limbs)),
    }


def test_counts_are_of_what_is_known():
    known = known_at_random()
    for name, count in expected_counts(known).items():
        assert PUBLISHED[name](poses(3), poses(4), known).count.item() == count, name


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_unknown_changes_nothing(name):
    known = known_at_random()
    garbage = torch.where(known[..., None], poses(4), torch.nan)
    pred = poses(3).requires_grad_()
    clean, spoilt = PUBLISHED[name](pred, poses(4), known), PUBLISHED[name](pred, garbage, known)
    assert spoilt.total.item() == clean.total.item()
    spoilt.mean().backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert not pred.grad[~known].any()
    assert pred.grad[known].any()


@pytest.mark.parametrize("name", PUBLISHED)
def test_removing_an_unknown_frame_at_the_end_changes_nothing(name):
    known = known_at_random()
    known[:, 4] = False
    whole = PUBLISHED[name](poses(3), poses(4), known)
    cut = PUBLISHED[name](poses(3)[:, :4], poses(4)[:, :4], known[:, :4])
    assert whole.count.item() == cut.count.item()
    assert whole.total.item() == pytest.approx(cut.total.item())


@pytest.mark.parametrize("name", PUBLISHED)
def test_totals_and_counts_of_workers_add_up(name):
    known = known_at_random(clips=5)
    whole = PUBLISHED[name](poses(3, clips=5), poses(4, clips=5), known)
    parts = [PUBLISHED[name](poses(3, clips=5)[part], poses(4, clips=5)[part], known[part])
             for part in (slice(0, 1), slice(1, 5))]  # fmt: skip
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item())
    assert sum(part.count.item() for part in parts) == whole.count.item()


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("frames", [1, 5])
def test_nothing_known_is_a_loss_of_zero_with_gradient_zero(name, frames):
    pred = poses(3, frames=frames).requires_grad_()
    term = PUBLISHED[name](pred, poses(4, frames=frames), torch.zeros(2, frames, 17))
    term.mean().backward()
    assert (term.count.item(), term.mean().item()) == (0, 0)
    assert pred.grad is not None
    assert not pred.grad.any()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_prediction_of_zero_has_a_finite_gradient(name):
    pred = torch.zeros(2, 5, 17, 3, requires_grad=True)
    term = PUBLISHED[name](pred, poses(4).float(), None)
    term.mean().backward()
    assert term.mean().isfinite()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()


def test_only_terms_with_a_weight_are_computed():
    flags = torch.tensor([True, False])
    terms = pose_losses(poses(3), poses(4), torch.ones(2, 5, 17), flags, LossWeights(velocity=0.0, angle=0.1))
    assert set(terms) == {"mpjpe", "n_mpjpe", "angle", "xy_2d"}
    assert all(isinstance(term, Sum) for term in terms.values())


def test_each_clip_feeds_the_terms_of_its_supervision():
    pred, target, confidence = poses(3), poses(4), torch.rand(2, 5, 17, dtype=torch.float64) * 0.9 + 0.1
    relative = target - target[:, :, :1]
    terms = pose_losses(pred, target, confidence, torch.tensor([True, False]), EVERY)
    expected = {
        "mpjpe": losses.mpjpe(pred[:1], relative[:1]),
        "n_mpjpe": losses.n_mpjpe(pred[:1], relative[:1]),
        "velocity": losses.velocity(pred[:1], relative[:1]),
        "limb_variance": losses.limb_variance(pred[:1]),
        "limb_length": losses.limb_length(pred[:1], relative[:1]),
        "angle": losses.angle(pred[:1], relative[:1]),
        "angle_velocity": losses.angle_velocity(pred[:1], relative[:1]),
        "xy_2d": losses.loss_2d(pred[1:], relative[1:], confidence[1:]),
    }
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        assert terms[name].count.item() == term.count.item(), name
        assert terms[name].total.item() == pytest.approx(term.total.item()), name


def test_a_place_in_the_world_costs_nothing():
    """Targets are root-relative: moving a clip, differently in each frame, changes no term."""
    flags, known = torch.tensor([True, False]), torch.ones(2, 5, 17)
    moved = poses(4) + 10 * poses(5)[:, :, :1]
    here, there = (pose_losses(poses(3), target, known, flags, EVERY) for target in (poses(4), moved))
    for name in here:
        assert here[name].total.item() == pytest.approx(there[name].total.item()), name


def test_depth_is_never_supervised_without_depth():
    pred = poses(3).requires_grad_()
    target = poses(4)
    target[..., 2] = torch.nan
    terms = pose_losses(pred, target, torch.ones(2, 5, 17), torch.tensor([False, False]), EVERY)
    sum((term.mean() for term in terms.values()), start=torch.zeros(())).backward()
    assert pred.grad is not None
    assert pred.grad[..., :2].abs().sum() > 0
    assert not pred.grad[..., 2].any()
    assert all(term.count.item() == 0 for name, term in terms.items() if name != "xy_2d")


@pytest.mark.parametrize("has_depth", [True, False])
def test_a_frame_without_a_root_is_left_out(has_depth):
    known = torch.ones(1, 5, 17)
    known[0, 2, 0] = 0
    target = poses(4, clips=1)
    target[0, 2, 0] = torch.nan
    terms = pose_losses(poses(3, clips=1), target, known, torch.tensor([has_depth]), LossWeights())
    assert terms["mpjpe" if has_depth else "xy_2d"].count.item() == 4 * 17
    assert terms["velocity"].count.item() == (2 * 17 if has_depth else 0)
    assert all(term.total.isfinite() for term in terms.values())


def test_a_half_precision_prediction_is_compared_in_the_precision_of_the_target():
    terms = pose_losses(
        poses(3).bfloat16(), poses(4).float(), torch.ones(2, 5, 17), torch.tensor([True, False]), LossWeights()
    )
    assert all(term.total.dtype == torch.float32 for term in terms.values())


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_weights_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="velocity"):
        LossWeights(velocity=bad)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="all are 0"):
        LossWeights(mpjpe=0.0, n_mpjpe=0.0, velocity=0.0, xy_2d=0.0)
