"""The tree of a rig's joints, with the queries that the rules of ``rig_rules.py`` need.

Shapes: N nodes (joints and end sites).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from datasets.joints.joint_names import JointName, take_apart
from motion_encoder.shapes import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class RigTree:
    """Joints with their parents; parents come before their children."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_N3: Float[np.ndarray, "N 3"]

    @cached_property
    def parts(self) -> list[JointName]:
        """The parts of each node's name."""
        return take_apart(self.names)

    @cached_property
    def children(self) -> list[list[int]]:
        """The nodes below each node."""
        children: list[list[int]] = [[] for _ in self.names]
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                children[parent].append(node)
        return children

    @cached_property
    def bones_N(self) -> Float[np.ndarray, "N"]:
        """Distance of each node from its parent."""
        return np.linalg.norm(self.offsets_N3, axis=-1)

    def is_end(self, node: int) -> bool:
        """Whether a node is an end site."""
        return self.names[node].endswith("/end")

    def joints_below(self, node: int) -> list[int]:
        """Return the children of a node that are joints, not end sites."""
        return [child for child in self.children[node] if not self.is_end(child)]

    def above(self, node: int) -> Iterator[int]:
        """Yield the ancestors of a node, the nearest first."""
        while self.parents[node] >= 0:
            node = self.parents[node]
            yield node

    def meeting(self, a: int, b: int) -> int | None:
        """Return the lowest common ancestor; None if the nodes are in different trees."""
        above_a = set(self.above(a))
        return next((node for node in self.above(b) if node in above_a), None)

    def between(self, top: int, low: int) -> list[int]:
        """Return the nodes between ``top`` and ``low``, the lowest first; empty if ``top`` is not above ``low``."""
        above = [*self.above(low)]
        return above[: above.index(top)] if top in above else []

    def length(self, top: int, low: int) -> float:
        """Return the distance from a node down to another one, along the bones."""
        return float(self.bones_N[[low, *self.between(top, low)]].sum())

    def longest_path(self, top: int) -> list[int]:
        """Return the nodes from ``top`` down to the end that is farthest away along the bones, on one side."""
        reach = {top: 0.0}
        for node in range(top + 1, len(self.names)):
            parent = self.parents[node]
            if parent < top:  # the nodes below follow their top without a gap
                break
            if parent in reach and self.parts[node].side in (self.parts[top].side, ""):
                reach[node] = reach[parent] + float(self.bones_N[node])
        farthest = max(reach, key=lambda node: reach[node])
        path = [farthest]
        while path[-1] != top:
            path.append(self.parents[path[-1]])
        return path[::-1]
