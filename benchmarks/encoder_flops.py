"""The cost of DSTformer: a formula for its floating-point operations.

The formula counts the matrix products of linear layers and attention; each multiplication and each addition is one
operation. As usual, norms, activations, softmax and the loss are not counted: they have few operations, even if they
take time. A training step counts as three forward passes, since the backward pass computes the gradients of both
operands of each product. Recomputation (in checkpointing and fused attention) is not counted.

``counted_flops`` lets PyTorch count the same operations, by running the model on tensors without values. For a forward
pass the counts are equal. For a training step, PyTorch's count is 1e-5 lower, by 2 × tokens × in_channels × channels,
because the gradient of the input is not computed.
"""

from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from motion_encoder import DSTformer, DSTformerConfig

Job = Literal["forward", "train"]

TOLERANCE = 1e-3
"""Largest allowed relative difference between the two counts, for all sizes in use."""


def model_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> int:
    """Return the operations of one forward pass or training step."""
    forward = forward_flops(config, clips=clips, frames=frames)
    return forward if job == "forward" else 3 * forward


def forward_flops(config: DSTformerConfig, *, clips: int, frames: int) -> int:
    """Return the operations of one forward pass."""
    tokens = clips * frames * config.num_joints
    return 2 * tokens * (_linear_products(config) + _attention_products(config, frames))


def _linear_products(config: DSTformerConfig) -> int:
    """Return the number of multiplications per token in the linear layers."""
    channels, hidden = config.dim_feat, int(config.dim_feat * config.mlp_ratio)
    attention, mlp = 3 * channels**2 + channels**2, 2 * channels * hidden
    block = 2 * (attention + mlp)  # once over joints, once over frames
    fusion = 2 * channels * 2
    head = channels * config.dim_rep + config.dim_rep * config.out_channels
    return config.in_channels * channels + config.depth * (2 * block + fusion) + head


def _attention_products(config: DSTformerConfig, frames: int) -> int:
    """Return the number of multiplications per token in attention: queries × keys, weights × values, on both axes."""
    return 2 * config.depth * 2 * (config.num_joints + frames) * config.dim_feat


def counted_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> int:
    """Return PyTorch's own count of the model's operations; it takes a second and no memory."""
    with torch.device("meta"):
        model = DSTformer(config, torch.Generator())
        x_BTJC = torch.empty(clips, frames, config.num_joints, config.in_channels)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # attention written out
        output = model(x_BTJC)
        if job == "train":
            output.sum().backward()
    return counter.get_total_flops()


def check_flops(config: DSTformerConfig, *, clips: int, frames: int, job: Job) -> None:
    """Fail if the formula differs from PyTorch's count."""
    ours = model_flops(config, clips=clips, frames=frames, job=job)
    counted = counted_flops(config, clips=clips, frames=frames, job=job)
    assert abs(ours - counted) <= TOLERANCE * counted, f"{job}: {ours} operations by formula, {counted} counted"
