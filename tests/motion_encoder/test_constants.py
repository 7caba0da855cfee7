"""Constants are made once per device, and a training step's own tensors never come from the host."""

import subprocess
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from motion_encoder.constants import constant, indices
from motion_encoder.corruption import Corruption
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import LossWeights, pose_losses
from motion_encoder.observation import ViewOptions, corrupted_input, observe

CPU = torch.device("cpu")


def test_the_same_values_are_one_tensor():
    assert constant((1.0, 2.0), CPU) is constant((1.0, 2.0), CPU)
    assert constant(((1, 2), (3, 4)), CPU, torch.int64).tolist() == [[1, 2], [3, 4]]
    assert indices((2, 0), CPU).dtype == torch.int64
    assert constant((1.0,), torch.device("meta")).is_meta


def test_made_in_inference_mode_it_can_be_trained_with():
    with torch.inference_mode():
        kept = constant((3.0, 5.0), CPU)
    weight = torch.ones(2, requires_grad=True)
    (weight * kept).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 5.0]


COMPILED = """
import torch
from motion_encoder.observation import flip

compiled = torch.compile(flip, backend="eager", fullgraph=True)
points = torch.randn(1, 2, 17, 3, requires_grad=True)
with torch.inference_mode():  # what is kept must not be of this graph
    assert torch.equal(compiled(points), flip(points))
compiled(points).sum().backward()
flip(points).sum().backward()
"""


def test_compiled_code_may_use_constants():
    """In a process of its own: the checks of types in these tests cannot be traced."""
    child = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


class HostTraffic(TorchDispatchMode):
    """Notes operators that make a tensor of host data, or ask the device for a number."""

    NAMES = ("aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.name() in self.NAMES:
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def one_step(position_B: torch.Tensor) -> None:
    points = torch.randn(4, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    has_depth_B = position_B % 2 == 0
    every_term = LossWeights(limb_variance=1.0, limb_length=1.0, angle=1.0, angle_velocity=1.0)
    random = KeyedRandom.at(0, 3, position_B)
    observation = observe(points, torch.ones(4, 9, 17), has_depth_B, random, ViewOptions())
    pred_BTJ3 = corrupted_input(observation, random, Corruption()).requires_grad_()
    terms = pose_losses(pred_BTJ3, observation.target_BTJ3, observation.confidence_BTJ, has_depth_B, every_term)
    torch.stack([term.mean() for term in terms.values()]).sum().backward()


def test_a_step_neither_copies_from_the_host_nor_waits_for_it():
    """From views to the gradient of all losses, once the constants are there."""
    position_B = torch.arange(4)
    one_step(position_B)
    with HostTraffic() as traffic:
        one_step(position_B)
    assert traffic.seen == []


def test_host_traffic_would_be_seen():
    with HostTraffic() as traffic:
        torch.tensor([1.0, 2.0]).sum().item()
    assert traffic.seen == ["aten::lift_fresh", "aten::_local_scalar_dense"]
