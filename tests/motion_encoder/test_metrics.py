"""Metrics against the published values and their laws; scores against their protocols."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_encoder.metrics import (
    Protocol,
    Score,
    accuracy,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    procrustes,
)

PROTOCOL = Protocol(
    metric="mpjpe_mm", alignment="root", scale="true", input="projected-2d", clip_frames=81, split="test", data="1a2b"
)
ALL_KNOWN = torch.ones(2, 3, 17, dtype=torch.bool)


def poses(seed: int, joints: int = 17) -> torch.Tensor:
    return torch.randn(2, 3, joints, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed: int) -> torch.Tensor:
    """A proper rotation out of a QR factorisation."""
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return q * torch.linalg.det(q)


@pytest.mark.parametrize(("metric", "name"), [(mpjpe, "mpjpe_per_frame"), (p_mpjpe, "p_mpjpe_per_frame")])
def test_equals_the_published_value_in_every_frame(metric, name):
    with np.load(Path(__file__).parents[1] / "data" / "losses.npz", allow_pickle=False) as arrays:
        value_BT = metric(torch.from_numpy(arrays["pred"]), torch.from_numpy(arrays["gt"]))
        np.testing.assert_allclose(value_BT[0].numpy(), arrays[name], atol=1e-6, rtol=0)


def test_published_means():
    with np.load(Path(__file__).parents[1] / "data" / "losses.npz", allow_pickle=False) as arrays:
        pred, target = torch.from_numpy(arrays["pred"]), torch.from_numpy(arrays["gt"])
        assert n_mpjpe(pred, target).mean().item() == pytest.approx(arrays["n_mpjpe"].item(), abs=1e-6)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_a_similarity_transform_is_no_error(seed, scale, shift):
    target = poses(seed)
    moved = scale * target @ rotation(seed + 1) + shift
    assert p_mpjpe(moved, target).max().item() < 1e-9
    assert mpjpe(moved - moved[:, :, :1], target - target[:, :, :1]).min().item() >= 0


def test_a_reflection_is_an_error():
    target = poses(0)
    assert p_mpjpe(target * torch.tensor([-1.0, 1.0, 1.0]), target).min().item() > 0.1


def test_procrustes_is_the_least_squares_fit():
    """No nearby similarity transform of the result comes closer to the target."""
    pred, target = poses(1), poses(2)
    aligned = procrustes(pred, target, ALL_KNOWN)
    best = (aligned - target).square().sum(dim=(2, 3))
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 1e-3, 0], [-1e-3, 0, 0], [0, 0, 0]], dtype=torch.float64))
    for other in (aligned * 1.001, aligned * 0.999, aligned + 1e-3, aligned @ turn, aligned @ turn.T):
        assert ((other - target).square().sum(dim=(2, 3)) > best).all()


@pytest.mark.parametrize("metric", [mpjpe, n_mpjpe, p_mpjpe])
def test_only_known_joints_count(metric):
    known = ALL_KNOWN.clone()
    known[..., 12:] = False
    pred, target = poses(3), poses(4)
    garbage = torch.where(known[..., None], target, torch.nan)
    torch.testing.assert_close(metric(pred, garbage, known), metric(pred[:, :, :12], target[:, :, :12]))


@pytest.mark.parametrize("metric", [mpjpe, n_mpjpe, p_mpjpe])
def test_a_frame_without_known_joints_has_no_error(metric):
    known = ALL_KNOWN.clone()
    known[1, 2] = False
    value_BT = metric(poses(3), poses(4), known)
    assert value_BT.isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "degenerate",
    [
        torch.zeros(1, 1, 17, 3),
        torch.ones(1, 1, 17, 3),
        torch.arange(17.0)[:, None].expand(1, 1, 17, 3).clone(),
    ],
    ids=["origin", "one point", "a line"],
)
def test_degenerate_frames_are_safe(degenerate):
    ordinary = poses(5)[:1, :1].float()
    for pred, target in ((degenerate, ordinary), (ordinary, degenerate), (degenerate, degenerate)):
        assert p_mpjpe(pred, target).isfinite().all()
        assert n_mpjpe(pred, target).isfinite().all()
    spread = (ordinary - ordinary.mean(dim=2, keepdim=True)).norm(dim=-1).mean().item()
    assert p_mpjpe(torch.ones(1, 1, 17, 3), ordinary).item() == pytest.approx(spread, rel=1e-5)


def test_accuracy_by_hand():
    label, predicted = torch.tensor([0, 0, 0, 2]), torch.tensor([0, 0, 1, 0])
    assert accuracy(predicted, label) == pytest.approx(2 / 4)


def test_accuracy_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        accuracy(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64))


def test_the_key_of_a_protocol():
    assert PROTOCOL.key == "mpjpe_mm/root/true-scale/projected-2d/T81/test/1a2b"
    labels = Protocol(metric="accuracy", input="detected-2d", clip_frames=27, split="test", data="1a2b")
    assert labels.key == "accuracy/detected-2d/T27/test/1a2b"


@pytest.mark.parametrize("bad", ["", "a/b"])
def test_a_name_that_would_blur_the_key_is_refused(bad):
    with pytest.raises(ValueError, match="split"):
        replace(PROTOCOL, split=bad)


def test_better_is_lower_for_errors_and_higher_for_accuracies():
    low, high = (Score(protocol=PROTOCOL, value=value, higher_is_better=False) for value in (40.0, 50.0))
    assert low.better_than(high)
    assert not high.better_than(low)
    assert not low.better_than(low)
    share = Score(protocol=replace(PROTOCOL, metric="accuracy"), value=0.9, higher_is_better=True)
    assert share.better_than(replace(share, value=0.8))


@pytest.mark.parametrize(
    "change",
    [
        {"alignment": "procrustes"},
        {"scale": "fitted"},
        {"input": "detected-2d"},
        {"clip_frames": 243},
        {"data": "ffff"},
    ],
)
def test_scores_of_unlike_protocols_are_not_compared(change):
    score = Score(protocol=PROTOCOL, value=40.0, higher_is_better=False)
    with pytest.raises(ValueError, match="different protocols"):
        score.better_than(Score(protocol=replace(PROTOCOL, **change), value=50.0, higher_is_better=False))


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite"):
        Score(protocol=PROTOCOL, value=float("nan"), higher_is_better=False)
