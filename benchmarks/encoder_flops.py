"""What DSTformer costs: its floating-point operations in closed form, from the config and the clips alone.

Counted are the matrix products, a multiplication and an addition each: linear layers and attention. Norms, activations,
softmax and the loss are left out, as everywhere; they are few operations, whatever time they take. A training
step is three forward passes: the backward pass needs the gradients of both operands of each product.
Recomputation, which checkpointing and fused attention do, is not counted: it is a way, not a goal.

``counted_flops`` has PyTorch count the same, by running the model without numbers. It finds ``forward_flops`` exactly,
and in a training step less by 2 × tokens × in_channels × channels: nobody needs the gradient of the input, 1e-5.
"""

from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from motion_encoder import DSTformer, DSTformerConfig

Job = Literal["forward", "train"]

TOLERANCE = 1e-3
"""Largest relative difference between the two counts that is no mistake, at any size of use."""


def model_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> int:
    """Return the operations of one forward pass or training step."""
    forward = forward_flops(config, clips=clips, frames=frames)
    return forward if job == "forward" else 3 * forward


def forward_flops(config: DSTformerConfig, *, clips: int, frames: int) -> int:
    """Return the operations of one forward pass."""
    tokens = clips * frames * config.num_joints
    return 2 * tokens * (_linear_products(config) + _attention_products(config, frames))


def _linear_products(config: DSTformerConfig) -> int:
    """Multiplications per token in the linear layers."""
    channels, hidden = config.dim_feat, int(config.dim_feat * config.mlp_ratio)
    attention, mlp = 3 * channels**2 + channels**2, 2 * channels * hidden
    block = 2 * (attention + mlp)  # once over joints, once over frames
    fusion = 2 * channels * 2
    head = channels * config.dim_rep + config.dim_rep * config.out_channels
    return config.in_channels * channels + config.depth * (2 * block + fusion) + head


def _attention_products(config: DSTformerConfig, frames: int) -> int:
    """Multiplications per token: queries with keys, weights with values, over the joints and over the frames."""
    return 2 * config.depth * 2 * (config.num_joints + frames) * config.dim_feat


def counted_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> int:
    """Return PyTorch's own count of the model's operations; takes a second, and no memory."""
    with torch.device("meta"):
        model = DSTformer(config, torch.Generator())
        x_BTJC = torch.empty(clips, frames, config.num_joints, config.in_channels)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # attention written out
        output = model(x_BTJC)
        if job == "train":
            output.sum().backward()
    return counter.get_total_flops()


def check_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> None:
    """Stop if the closed form is not what the model does."""
    ours = model_flops(config, clips=clips, frames=frames, job=job)
    counted = counted_flops(config, clips=clips, frames=frames, job=job)
    assert abs(ours - counted) <= TOLERANCE * counted, f"{job}: {ours} operations by formula, {counted} counted"
