"""Human3.6M: definitions that its three layouts share (`h36m_sh`, `h36m_videopose`, `h36m_mmpose`).

Ionescu et al., "Human3.6M: Large Scale Datasets and Predictive Methods for 3D Human Sensing in Natural Environments",
PAMI 2014. Eleven people (seven with poses), fifteen actions, each done twice, four cameras, 50 Hz. The 17 canonical
joints are its own. The original must not be redistributed, so users have files that others derived from it.

All publications test on S9 and S11. The published numbers leave out three of S9's takes, whose 3D is shifted against
the video (Greeting, SittingDown and Waiting: `s_09_act_05_subact_02`, `s_09_act_10_subact_02`,
`s_09_act_13_subact_01`); they are kept here, since the motion itself is correct, and the evaluation must leave them
out.

A camera's own axes are x right, y down, z forward, and it looks down by 11 to 16 degrees. Points in these axes are
rotated upright (`h36m_cameras.upright`): Y is the room's up, the lens is at 0, and the heading is the camera's. To get
the camera's own axes back, for example to compare 3D with the pixels of the same sequence, use the person and camera of
the sequence (``subject``, ``view``) and the rotation `h36m_cameras.PlacedCamera.to_upright`.

Shapes: T frames, J = 17 joints.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from datasets.sequences import Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

FPS = 50.0
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown",
    "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkingTogether",
)  # fmt: skip
FIRST_ACTION = 2
"""Number of the first action in the data set; 1 is the calibration."""
H36M = Source(
    name="h36m",
    kind="mocap",
    licence="Human3.6M: academic use by registered users only, not to be passed on",
    url="http://vision.imar.ro/human3.6m",
    test_subjects=frozenset({"h36m/S9", "h36m/S11"}),
    labels=ACTIONS,
)
JOINTS_32 = {
    "root": 0, "rhip": 1, "rknee": 2, "rankle": 3, "lhip": 6, "lknee": 7, "lankle": 8, "belly": 12, "neck": 13,
    "nose": 14, "head": 15, "lshoulder": 17, "lelbow": 18, "lwrist": 19, "rshoulder": 25, "relbow": 26, "rwrist": 27,
}  # fmt: skip
"""Indices of the 17 joints among the 32 of the original; the others are duplicates, hands and toes."""
SAME_JOINTS = Conversion(source_joints=H36M17.joints, target=H36M17, table={joint: joint for joint in H36M17.joints})
CAMERA_TO_CANONICAL = np.array([1.0, -1.0, -1.0], np.float32)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The lens of one of the four cameras, the same for all people; in pixels, without distortion."""

    image_size: tuple[int, int]
    focal: tuple[float, float]
    centre: tuple[float, float]

    def unproject(
        self, pixels_TJ2: Float[np.ndarray, "T J 2"], depth_TJ: Float[np.ndarray, "T J"]
    ) -> Float[np.ndarray, "T J 3"]:
        """Return the points at these pixels and depths, in the unit of the depths, in the camera's own axes."""
        xy_TJ2 = (pixels_TJ2 - np.array(self.centre)) / np.array(self.focal) * depth_TJ[..., None]
        return np.concatenate([xy_TJ2, depth_TJ[..., None]], axis=-1)

    def project(self, own_TJ3: Float[np.ndarray, "T J 3"]) -> Float[np.ndarray, "T J 2"]:
        """Return the pixels of points in the camera's own axes."""
        return own_TJ3[..., :2] / own_TJ3[..., 2:] * np.array(self.focal) + np.array(self.centre)


# metadata.xml of the data set, rounded to 1/1000 pixel, in the order of all layouts
CAMERAS: Mapping[str, Camera] = MappingProxyType(
    {
        "54138969": Camera(image_size=(1000, 1002), focal=(1145.049, 1143.781), centre=(512.542, 515.451)),
        "55011271": Camera(image_size=(1000, 1000), focal=(1149.676, 1147.592), centre=(508.849, 508.065)),
        "58860488": Camera(image_size=(1000, 1000), focal=(1149.141, 1148.799), centre=(519.816, 501.403)),
        "60457274": Camera(image_size=(1000, 1002), focal=(1145.511, 1144.774), centre=(514.968, 501.882)),
    }
)

_SHORT = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog", "WalkTogether": "WalkingTogether"}


def action_of(take: str) -> tuple[str | None, int | None]:
    """Return action and label of a take such as ``Walking``, ``Walking 1`` or ``WalkDog_2``; None for other names.

    "Photo", "WalkDog" and "WalkTogether" are other names of three actions, which only some people's files have.
    """
    name = re.sub(r"[ _]\d+$", "", take)
    name = _SHORT.get(name, name)
    return (name, ACTIONS.index(name)) if name in ACTIONS else (None, None)
