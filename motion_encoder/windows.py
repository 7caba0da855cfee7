"""Normalisation between pixels and the network, the same in training and in lifting.

The window of a clip is the square around every observed joint of all its frames, widened by a margin; inside it the
network sees x and y in [-1, 1], and a depth in the same unit. But for four things this is the published ``crop_scale``:

- Nothing is clamped to the border. (With a ratio below 1, as in published pretraining on 2D, joints pile up there, in
  input and target alike.)
- A clip with fewer than 4 observed points is normalised like any other; the published code sets it to 0.
- Unobserved joints are set to 0; the published code keeps the positions that the file has for them. (Joints that its
  corruption masks are 0 there too: that is how its networks know them.)
- 3D motion has the same window. Published pretraining and 3D pose normalise by the width of the picture instead.

Shapes: B clips, T frames, J joints, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_encoder.shapes import Float

MIN_HALF_SIDE = 1e-3
"""A window's half side is at least this (in input units), so that a clip with one observed point stays finite."""


@dataclass(frozen=True)
class Windows:
    """A square per clip: centre and half side, in pixels (or the unit of the keypoints)."""

    centre_B2: Float[Tensor, "B 2"]
    half_side_B: Float[Tensor, "B"]

    @classmethod
    def around(
        cls,
        keypoints_BTJC: Float[Tensor, "B T J C"],
        confidence_BTJ: Float[Tensor, "B T J"],
        margin: Tensor | float = 1.0,
    ) -> "Windows":
        """Return the windows that hold the observed joints (confidence > 0), with half side × ``margin``.

        A clip in which nothing was observed gets the window at 0 with half side 1.
        """
        seen_BTJ1 = (confidence_BTJ > 0)[..., None]
        xy_BTJ2 = keypoints_BTJC[..., :2]
        low_B2 = xy_BTJ2.masked_fill(~seen_BTJ1, torch.inf).amin(dim=(1, 2))
        high_B2 = xy_BTJ2.masked_fill(~seen_BTJ1, -torch.inf).amax(dim=(1, 2))
        any_B1 = seen_BTJ1.any(dim=1).any(dim=1)
        centre_B2 = torch.where(any_B1, (low_B2 + high_B2) / 2, 0.0)
        half_side_B = ((high_B2 - low_B2).amax(dim=-1) / 2).clamp_min(MIN_HALF_SIDE) * margin
        return cls(centre_B2, torch.where(any_B1[:, 0], half_side_B, 1.0))

    def normalise(self, points_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B T J C"]:
        """Pixels to window units: x and y are centred and scaled, a depth is scaled alone."""
        return (points_BTJC - self._centre_B11C(points_BTJC)) / self.half_side_B[:, None, None, None]

    def denormalise(self, points_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B T J C"]:
        """Window units back to pixels; the inverse of ``normalise``."""
        return points_BTJC * self.half_side_B[:, None, None, None] + self._centre_B11C(points_BTJC)

    def _centre_B11C(self, points_BTJC: Tensor) -> Tensor:
        depth = points_BTJC.shape[-1] - 2
        return torch.nn.functional.pad(self.centre_B2, (0, depth))[:, None, None, :]


def network_input(
    keypoints_BTJ2: Float[Tensor, "B T J 2"], confidence_BTJ: Float[Tensor, "B T J"]
) -> Float[Tensor, "B T J 3"]:
    """Stack x, y and confidence as the network reads them; unobserved joints are all zero, whatever came in."""
    unseen_BTJ1 = (confidence_BTJ <= 0)[..., None]
    return torch.cat([keypoints_BTJ2.masked_fill(unseen_BTJ1, 0), confidence_BTJ[..., None]], dim=-1)
