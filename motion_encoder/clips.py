"""A batch of clips with any mix of supervision, from which a task computes losses or scores.

Shapes: B clips, T frames, J = 17 joints of ``h36m17``.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from motion_encoder.shapes import Bool, Float, Int


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """A batch of clips: positions, confidences, labels, and which of them are known."""

    points_BTJ3: Float[Tensor, "B T 17 3"]
    """With 3D (``has_depth_B``): metres, Y up. Without: x and y in pixels, and z = 0."""
    confidence_BTJ: Float[Tensor, "B T 17"]
    """Confidence of each joint; 0 for unobserved joints and padding."""
    has_depth_B: Bool[Tensor, "B"]
    """Whether the clip has 3D positions."""
    valid_BT: Bool[Tensor, "B T"] | None
    """False in padding. None if no clip is padded: attention without a mask is faster."""
    label_B: Int[Tensor, "B"]
    """Class of the clip; -1 if its segment has no label."""

    def to(self, device: torch.device | str) -> "Clips":
        """Copy to a device; from pinned memory, the copy is asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Clips":
        """Copy to page-locked memory, from which copies to a GPU are asynchronous."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, function: Any) -> "Clips":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})
