"""Joint sets and the tables that turn one into another.

A skeleton is data: names, parents, left/right pairs. A conversion is data too: each target joint is a weighted mean
of source joints, or absent. A fused joint is as trustworthy as its least certain part, and a joint that the source
lacks has confidence 0: nothing is invented.

Shapes: T frames, K source joints, J target joints, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

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
        """The joint order after left and right are exchanged: ``x[:, flip_order]`` mirrors the labels."""
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
    """How ``target`` is made from a source joint set.

    ``table`` maps a target joint to one source joint or to {source joint: weight}; weights of a joint sum to 1.
    Target joints that the table leaves out come out absent (position 0, confidence 0).
    """

    source_joints: tuple[str, ...]
    target: Skeleton
    table: Mapping[str, str | Mapping[str, float]]

    def __post_init__(self) -> None:
        for joint, parts in self._parts.items():
            if joint not in self.target.joints:
                raise ValueError(f"conversion to {self.target.name}: no joint {joint!r} in it")
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
        """Convert positions and confidences; a target joint that lacks one of its parts is absent.

        Source joints of confidence 0 are not used, so their positions may be anything, also not a number.
        """
        seen_TKC = np.where((confidence_TK > 0)[..., None], positions_TKC, 0)
        confidence_TJ = self.confidence(confidence_TK)
        return self.positions(seen_TKC) * (confidence_TJ > 0)[..., None], confidence_TJ

    def positions(self, positions_TKC: Float[np.ndarray, "T K C"]) -> Float[np.ndarray, "T J C"]:
        """Convert joint positions; absent joints are at 0."""
        return np.matmul(self.weights_JK, positions_TKC).astype(positions_TKC.dtype)

    def confidence(self, confidence_TK: Float[np.ndarray, "T K"]) -> Float[np.ndarray, "T J"]:
        """Convert confidences: the least of the parts, 0 for absent joints."""
        used_JK = self.weights_JK != 0
        parts_TJK = np.where(used_JK, confidence_TK[:, None, :], np.inf)
        least_TJ = parts_TJK.min(axis=-1)
        return np.where(used_JK.any(axis=-1), least_TJ, 0).astype(confidence_TK.dtype)
