"""A batch of clips with any mix of supervision: what a task turns into losses or scores.

Shapes: B clips, T frames, J = 17 joints of ``h36m17``.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from motion_encoder.shapes import Bool, Float, Int


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """A batch of clips: positions, what is known of them, labels."""

    points_BTJ3: Float[Tensor, "B T 17 3"]
    """Metres, Y up, where ``has_depth_B``; elsewhere x and y in pixels, and 0."""
    confidence_BTJ: Float[Tensor, "B T 17"]
    """0 where not observed and in padding."""
    has_depth_B: Bool[Tensor, "B"]
    """Whether the clip has 3D positions."""
    valid_BT: Bool[Tensor, "B T"] | None
    """False in padding; None where no clip is padded, since attention without a mask is faster."""
    label_B: Int[Tensor, "B"]
    """Class of the clip; -1 where the segment has none."""

    def to(self, device: torch.device | str) -> "Clips":
        """Copy to a device; from pinned memory the copy does not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Clips":
        """Copy to page-locked memory, from which a GPU copies while the CPU goes on."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, function: Any) -> "Clips":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})
