"""Random numbers that are a pure function of a key: the same on any device, in any batch, on any worker.

The view, noise and masks of a training clip are keyed by (seed, step, position in the global batch). With one key per
clip, a whole batch is drawn in one vectorised expression, and there is no generator state to save, restore or seed.
The bits come from the SplitMix64 finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
OOPSLA 2014, figure 16) applied to a counter; integer arithmetic, so CPU and GPU draw identical bits.
"""

import math
import zlib

import torch
from torch import Tensor

from motion_encoder.shapes import Int

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


class KeyedRandom:
    """Draws random numbers for B clips, each from its own key. The same ``name`` always gives the same numbers."""

    def __init__(self, key_B: Int[Tensor, "B"]) -> None:
        self.key_B = key_B

    @classmethod
    def at(cls, seed: int, step: int, position_B: Int[Tensor, "B"]) -> "KeyedRandom":
        """Key clips by (seed, step, position in the global batch)."""
        run = _mix(torch.full((1,), seed, dtype=torch.int64, device=position_B.device) + _GOLDEN)
        at_step = _mix((run ^ step) + _GOLDEN)
        return cls(_mix((at_step ^ position_B.to(torch.int64)) + _GOLDEN))

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Uniform draws in (0, 1), float32 [B, *shape]."""
        bits = _shift(self._bits(name, math.prod(shape)), 41)  # 23 bits: each value + 0.5 is exact in float32
        return ((bits.to(torch.float32) + 0.5) * 2**-23).reshape(-1, *shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal draws, float32 [B, *shape] (Box-Muller)."""
        radius = (-2 * self.uniform(name + "/radius", *shape).log()).sqrt()
        return radius * (2 * math.pi * self.uniform(name + "/angle", *shape)).cos()

    def between(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Uniform draws in (low, high), float32 [B, *shape]."""
        return low + (high - low) * self.uniform(name, *shape)

    def _bits(self, name: str, count: int) -> Tensor:
        stream_B = _mix(self.key_B ^ _mix(torch.full_like(self.key_B, zlib.crc32(name.encode()))))
        counter_N = torch.arange(1, count + 1, device=self.key_B.device, dtype=torch.int64) * _GOLDEN
        return _mix(stream_B[:, None] + counter_N)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros (torch's ``>>`` would keep the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX_1
    bits = (bits ^ _shift(bits, 27)) * _MIX_2
    return bits ^ _shift(bits, 31)
