"""Joint sets, and the tables that convert one into another.

A skeleton is data: names, parents, left/right pairs. A conversion is data, too: each target joint is a weighted mean of
source joints, or absent. A joint that is computed from several joints has the lowest of their confidences, so it counts
as observed only if all of them were observed. A joint that the source does not have gets confidence 0.

The table for COCO is the published one. For the confidence of a joint that is computed from several, the published code
has three rules: the mean for Halpe-26 (its belly), the lowest for PoseTrack, and none for COCO, whose scores it leaves
in COCO's order, on other joints (MotionBERT issue 132). Here it is always the lowest: with the mean, a joint would
count as observed although one of its parts was not. ``confidence(..., fused="mean")`` gives the published belly.

Shapes: T frames, K source joints, J target joints, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from motion_encoder.shapes import Float


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A named joint set: order, parents (-1 for the root) and (left, right) pairs of joint names."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...]

    def index(self, joint: str) -> int:
        """Return the position of ``joint`` in the order."""
        return self.joints.index(joint)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) index pairs, in the order of the children."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """``left``, ``right`` or ``centre`` for each joint."""
        sides = {joint: side for pair in self.pairs for joint, side in zip(pair, ("left", "right"), strict=True)}
        return tuple(sides.get(joint, "centre") for joint in self.joints)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """The joint order with left and right exchanged: ``x[:, flip_order]`` exchanges the sides of ``x``."""
        mirror = {joint: joint for joint in self.joints}
        for left, right in self.pairs:
            mirror[left], mirror[right] = right, left
        return tuple(self.index(mirror[joint]) for joint in self.joints)


H36M17 = Skeleton(
    name="h36m17",
    joints=(
        "root", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "belly", "neck", "nose", "head",
        "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    pairs=(
        ("lhip", "rhip"), ("lknee", "rknee"), ("lankle", "rankle"),
        ("lshoulder", "rshoulder"), ("lelbow", "relbow"), ("lwrist", "rwrist"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How the joints of ``target`` are computed from a source joint set.

    ``table`` maps a target joint to one source joint or to {source joint: weight}; weights of a joint sum to 1.
    Target joints that are not in the table are absent: position 0, confidence 0.
    """

    source_joints: tuple[str, ...]
    target: Skeleton
    table: Mapping[str, str | Mapping[str, float]]

    def __post_init__(self) -> None:
        for joint, parts in self._parts.items():
            if joint not in self.target.joints:
                raise ValueError(f"conversion to {self.target.name}: it has no joint {joint!r}")
            unknown = sorted(set(parts) - set(self.source_joints))
            if unknown:
                raise ValueError(f"conversion to {self.target.name}.{joint}: unknown source joints {unknown}")
            if abs(sum(parts.values()) - 1) > 1e-9:
                raise ValueError(f"conversion to {self.target.name}.{joint}: weights {parts} do not sum to 1")

    @cached_property
    def _parts(self) -> dict[str, Mapping[str, float]]:
        return {joint: {parts: 1.0} if isinstance(parts, str) else parts for joint, parts in self.table.items()}

    @cached_property
    def weights_JK(self) -> np.ndarray:
        """The table as a matrix: ``target = weights_JK @ source``."""
        weights_JK = np.zeros((len(self.target.joints), len(self.source_joints)))
        for joint, parts in self._parts.items():
            for source_joint, weight in parts.items():
                weights_JK[self.target.index(joint), self.source_joints.index(source_joint)] = weight
        return weights_JK

    def convert(
        self, positions_TKC: Float[np.ndarray, "T K C"], confidence_TK: Float[np.ndarray, "T K"]
    ) -> tuple[Float[np.ndarray, "T J C"], Float[np.ndarray, "T J"]]:
        """Convert positions and confidences; a target joint is absent if one of its source joints was not observed.

        Source joints of confidence 0 are not used, so their positions may have any value, even NaN.
        """
        seen_TKC = np.where((confidence_TK > 0)[..., None], positions_TKC, 0)
        confidence_TJ = self.confidence(confidence_TK)
        return self.positions(seen_TKC) * (confidence_TJ > 0)[..., None], confidence_TJ

    def positions(self, positions_TKC: Float[np.ndarray, "T K C"]) -> Float[np.ndarray, "T J C"]:
        """Convert joint positions; absent joints get position 0."""
        return np.matmul(self.weights_JK, positions_TKC).astype(positions_TKC.dtype)

    def confidence(
        self, confidence_TK: Float[np.ndarray, "T K"], *, fused: Literal["least", "mean"] = "least"
    ) -> Float[np.ndarray, "T J"]:
        """Convert confidences; absent joints get 0.

        Args:
            confidence_TK: confidences of the source joints.
            fused: the confidence of a joint that is computed from several: their lowest, or their weighted mean.
        """
        if fused == "mean":
            return np.matmul(confidence_TK, self.weights_JK.T).astype(confidence_TK.dtype)
        used_JK = self.weights_JK != 0
        parts_TJK = np.where(used_JK, confidence_TK[:, None, :], np.inf)
        least_TJ = parts_TJK.min(axis=-1)
        return np.where(used_JK.any(axis=-1), least_TJ, 0).astype(confidence_TK.dtype)


def _mean(*joints: str) -> dict[str, float]:
    return dict.fromkeys(joints, 1 / len(joints))


COCO17_JOINTS = (
    "nose", "leye", "reye", "lear", "rear", "lshoulder", "rshoulder", "lelbow", "relbow", "lwrist", "rwrist",
    "lhip", "rhip", "lknee", "rknee", "lankle", "rankle",
)  # fmt: skip
PAIRED_JOINTS = tuple(side + part for side in "lr" for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))
"""The twelve joints that every detector and data set has; all of our tables use these names."""

# As in the published code: coco2h36m (lib/data/dataset_action.py).
COCO17_TO_H36M17 = Conversion(
    source_joints=COCO17_JOINTS,
    target=H36M17,
    table={
        **{joint: joint for joint in PAIRED_JOINTS},
        "root": _mean("lhip", "rhip"),
        "neck": _mean("lshoulder", "rshoulder"),
        "belly": _mean("lhip", "rhip", "lshoulder", "rshoulder"),
        "nose": "nose",
        "head": _mean("leye", "reye"),
    },
)
