"""Normalisation between pixels and the network, the same in training and in lifting.

The window of a clip is the square around all observed joints of all its frames, enlarged by a margin. Inside it, the
network gets x and y in [-1, 1], and a depth in the same unit. This is the published ``crop_scale``, with four
differences:

- Points are not clamped to the border. (With a ratio below 1, as in published pretraining on 2D, many joints are
  clamped there, in both input and target.)
- A clip with fewer than 4 observed points is normalised like any other; the published code sets it to 0.
- Unobserved joints are set to 0; the published code keeps the positions that the file has for them. (Joints that are
  masked by its corruption are 0 there, too, so its networks know such joints.)
- 3D motion has the same window. Published pretraining and 3D pose normalise by the width of the image instead.

Shapes: B clips, T frames, J joints, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_encoder.shapes import Float

MIN_HALF_SIDE = 1e-3
"""Smallest half side of a window (in input units), so that a clip with one observed point can be normalised."""


@dataclass(frozen=True)
class Windows:
    """One square per clip: centre and half side, in pixels (or the unit of the keypoints)."""

    centre_B2: Float[Tensor, "B 2"]
    half_side_B: Float[Tensor, "B"]

    @classmethod
    def around(
        cls,
        keypoints_BTJC: Float[Tensor, "B T J C"],
        confidence_BTJ: Float[Tensor, "B T J"],
        margin: Tensor | float = 1.0,
    ) -> "Windows":
        """Return the tightest windows around the observed joints (confidence > 0), with half sides × ``margin``.

        A clip without observed joints gets the window with centre 0 and half side 1.
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
        """Convert pixels to window units: x and y are centred and scaled, a depth is only scaled."""
        return (points_BTJC - self._centre_B11C(points_BTJC)) / self.half_side_B[:, None, None, None]

    def denormalise(self, points_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B T J C"]:
        """Convert window units to pixels: the inverse of ``normalise``."""
        return points_BTJC * self.half_side_B[:, None, None, None] + self._centre_B11C(points_BTJC)

    def _centre_B11C(self, points_BTJC: Tensor) -> Tensor:
        depth = points_BTJC.shape[-1] - 2
        return torch.nn.functional.pad(self.centre_B2, (0, depth))[:, None, None, :]


def network_input(
    keypoints_BTJ2: Float[Tensor, "B T J 2"], confidence_BTJ: Float[Tensor, "B T J"]
) -> Float[Tensor, "B T J 3"]:
    """Return the network's input, x, y and confidence stacked; unobserved joints are set to 0."""
    unseen_BTJ1 = (confidence_BTJ <= 0)[..., None]
    return torch.cat([keypoints_BTJ2.masked_fill(unseen_BTJ1, 0), confidence_BTJ[..., None]], dim=-1)
