"""One training step of the recipe ``motionbert`` against one of the published code: losses, gradients, weights.

``step.bin`` is a small network with random weights, in the published format; ``step.npz`` has a batch of Human3.6M (3D)
and one of PoseTrack (2D), and what ``train_epoch`` of the published code computes and makes of the weights with them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion_encoder import DSTformer, load
from motion_encoder.losses import LossWeights, pose_losses
from motion_encoder.tasks.pose import motionbert

DATA = Path(__file__).parents[2] / "data"
RECIPE = motionbert()
TERMS = {
    "3d_pos": "mpjpe",
    "3d_scale": "n_mpjpe",
    "3d_velocity": "velocity",
    "lv": "limb_variance",
    "lg": "limb_length",
    "angle": "angle",
    "angle_velocity": "angle_velocity",
    "2d_proj": "xy_2d",
}
ALL_TERMS = replace(RECIPE.losses, limb_variance=1.0, limb_length=2.0, angle=0.3, angle_velocity=0.7)
CASES = {"3d": RECIPE.losses, "3d_all_terms": ALL_TERMS, "2d": RECIPE.losses}
LEAST_GRADIENT = 1e-5
"""Below it rounding decides where AdamW moves a weight, since it divides by the gradient's size."""


@pytest.fixture(scope="module")
def published() -> Mapping[str, np.ndarray]:
    with np.load(DATA / "step.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def network() -> DSTformer:
    model = load(DATA / "step.bin", num_heads=2)
    assert isinstance(model, DSTformer)
    return model.train()


def terms(model: nn.Module, published: Mapping[str, np.ndarray], case: str, weights: LossWeights) -> dict[str, Tensor]:
    """2D clips are seen with the confidence of their input, all of 3D clips is known."""
    is_3d = case.startswith("3d")
    x_BTJC = torch.from_numpy(published["input_3d" if is_3d else "item_2d"])
    target_BTJ3 = torch.from_numpy(published["label_3d"]) if is_3d else x_BTJC
    known_BTJ = torch.ones(x_BTJC.shape[:3]) if is_3d else x_BTJC[..., 2]
    sums = pose_losses(model(x_BTJC), target_BTJ3, known_BTJ, torch.full((len(x_BTJC),), is_3d), weights)
    return {name: each.mean() for name, each in sums.items()}


def backward(model: nn.Module, published: Mapping[str, np.ndarray], case: str) -> float:
    weights = CASES[case]
    values = terms(model, published, case, weights)
    loss = torch.stack([weights.active[name] * value for name, value in values.items()]).sum()
    loss.backward()
    return loss.item()


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    optimisation = RECIPE.optimisation
    assert optimisation.clip_norm is None
    return torch.optim.AdamW(
        model.parameters(), lr=optimisation.lr_at(0), weight_decay=optimisation.weight_decay, fused=True
    )


@pytest.mark.parametrize("case", CASES)
def test_losses(network, published, case):
    with torch.no_grad():
        values = terms(network, published, case, ALL_TERMS)
    expected = {TERMS[name.partition("/")[2]]: float(value) for name, value in published.items()
                if name.startswith(f"loss_{case}/") and not name.endswith("/total")}  # fmt: skip
    assert len(expected) == (1 if case == "2d" else 7)
    for name, value in expected.items():
        assert values[name].item() == pytest.approx(value, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("case", CASES)
def test_total_and_gradients(network, published, case):
    assert backward(network, published, case) == pytest.approx(float(published[f"loss_{case}/total"]), rel=1e-5)
    norms = {name: parameter.grad.norm().item() for name, parameter in network.named_parameters()}
    expected = dict(zip(published["names"].tolist(), published[f"gradient_norms_{case}"].tolist(), strict=True))
    assert norms == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("case", ["3d", "2d"])
def test_weights_after_one_step(network, published, case):
    optimizer = make_optimizer(network)
    backward(network, published, case)
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    optimizer.step()
    compared = [name.partition("/")[2] for name in published if name.startswith(f"after_{case}/")]
    assert len(compared) == 8
    for name in compared:
        gradient = torch.from_numpy(published[f"grad_{case}/{name}"])
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
        decided = gradient.abs() > LEAST_GRADIENT
        assert decided.double().mean().item() > 0.6
        after = torch.from_numpy(published[f"after_{case}/{name}"])
        torch.testing.assert_close(network.get_parameter(name)[decided], after[decided], rtol=0, atol=1e-6)


def test_five_steps(network, published):
    optimizer = make_optimizer(network)
    decided = {name: torch.ones_like(parameter, dtype=torch.bool) for name, parameter in network.named_parameters()}
    losses = []
    for _ in range(5):
        losses.append(backward(network, published, "3d"))
        for name, parameter in network.named_parameters():
            decided[name] &= parameter.grad.abs() > LEAST_GRADIENT
        optimizer.step()
        optimizer.zero_grad()
    assert losses == pytest.approx(published["loss_3d_five"].tolist(), rel=1e-4)
    compared = [name.partition("/")[2] for name in published if name.startswith("after_3d_five/")]
    assert len(compared) == 8
    for name in compared:
        assert decided[name].double().mean().item() > 0.6
        after = torch.from_numpy(published[f"after_3d_five/{name}"])
        torch.testing.assert_close(network.get_parameter(name)[decided[name]], after[decided[name]], rtol=0, atol=1e-5)
