"""Partial finetuning: every weight in one group, at its learning rate, or frozen."""

from dataclasses import replace

import pytest
import torch

from motion_encoder import DSTformer, DSTformerConfig, PartialFinetuning

CONFIG = DSTformerConfig(dim_feat=8, depth=3, num_heads=2, dim_rep=4, max_frames=5)


def encoder() -> DSTformer:
    return DSTformer(CONFIG, torch.Generator().manual_seed(0))


def part_of(name: str) -> int:
    """By the definition: embeddings, levels, and what follows them."""
    if "embed" in name:
        return 0
    if name.startswith(("blocks_", "ts_attn")):
        return 1 + int(name.split(".")[1])
    return 4


def test_each_weight_has_the_learning_rate_of_its_part():
    model = encoder()
    groups = PartialFinetuning(lr_scale=0.1, lr_decay=0.5).parameter_groups(model, lr=1e-2)
    rates = {weight: group["lr"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, weight in model.named_parameters():
        assert rates[weight] == pytest.approx(1e-3 * 0.5 ** (4 - part_of(name))), name


@pytest.mark.parametrize("frozen", range(6))
def test_frozen_parts_do_not_move(frozen: int):
    model = encoder()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    groups = PartialFinetuning(frozen=frozen).parameter_groups(model, lr=1e-2)
    assert len(groups) == 5 - frozen
    if groups:
        optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
        model(torch.rand(1, 4, 17, 3)).square().sum().backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) == (part_of(name) < frozen), name


def test_a_pose_head_without_a_task_stays_frozen():
    model = encoder()
    groups = PartialFinetuning().parameter_groups(model, lr=1.0, pose_head=False)
    moving = {weight for group in groups for weight in group["params"]}
    assert {name for name, weight in model.named_parameters() if weight not in moving} == {"head.weight", "head.bias"}
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == {
        "head.weight",
        "head.bias",
    }


def test_freezing_is_undone_by_freezing_less():
    model = encoder()
    PartialFinetuning(frozen=5).parameter_groups(model, lr=1.0)
    PartialFinetuning().parameter_groups(model, lr=1.0)
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(("name", "value"), [("lr_scale", 0.0), ("lr_decay", -1.0), ("frozen", -1), ("frozen", 6)])
def test_what_cannot_be(name: str, value: float):
    with pytest.raises(ValueError, match=f"^{name}: expected .* found {value}"):
        replace(PartialFinetuning(), **{name: value}).parameter_groups(encoder(), lr=1.0)
