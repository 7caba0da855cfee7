"""Finds arms and legs by shape where their names are unknown: two long bones in a row, the same on both sides.

This needs something that is known by name: the other limbs, or a hand or foot. Each guess is reported. A rig that has
limbs which cannot be identified is rejected, so that no body is stored without its arms unnoticed.
"""

from collections.abc import Mapping

from datasets.joints.limb_words import ARM, LEG, LimbKind
from datasets.joints.limbs import LONGER, SIDES, Limbs
from datasets.joints.rig_tree import RigTree
from datasets.sequences import RecordingError

ARM_PER_LEG = (0.45, 1.0)
"""Shoulder to wrist over hip to ankle: 0.68 in Drillis and Contini (1966)."""


def limbs_by_shape(tree: RigTree, kind: LimbKind, other: Mapping[str, int], taken: set[int], path: str) -> Limbs:
    """Return limbs found by two long bones in a row that are the same on both sides.

    Args:
        tree: The rig.
        kind: The limbs sought.
        other: Known joints of the other kind of limb; no limb starts below them.
        taken: Head and neck, below which no limb starts.
        path: For messages.

    Raises:
        RecordingError: The other limbs are known, and some joints could be these limbs but cannot be identified.
    """
    pairs = _pairs(tree, taken | set(other.values()))
    fitting = [(left, right) for left, right in pairs if _fits(tree, kind, other, left, right)]
    if len(fitting) == 1:
        triples = dict(zip(SIDES, (_two_long_bones(tree, top) for top in fitting[0]), strict=True))
        nodes = {side + joint: node for side in SIDES for joint, node in zip(kind.joints, triples[side], strict=True)}
        said = ", ".join(f"{joint} = {tree.names[node]}" for joint, node in nodes.items())
        return Limbs(nodes=nodes, guesses=(f"{kind.name}s by their two long bones, not by name: {said}",))
    if pairs and other:
        chains = " and ".join(" > ".join(tree.names[node] for node in tree.longest_path(top)) for top in pairs[0])
        raise RecordingError(
            path,
            where="joint names",
            expected=f"{kind.name}s by names that we know ({', '.join(kind.words)})",
            found=f"others: {chains}",
            fix="Say which joint is which in a joint_map.json beside the recordings (docs/data.md).",
        )
    return Limbs(nodes={})


def _pairs(tree: RigTree, taken: set[int]) -> list[tuple[int, int]]:
    """The first joints of chains of at least three joints that both sides have, and that avoid the taken nodes."""
    tops: dict[str, dict[str, int]] = {side: {} for side in SIDES}
    for node, (part, parent) in enumerate(zip(tree.parts, tree.parents, strict=True)):
        is_top = part.side and not tree.is_end(node) and (parent < 0 or tree.parts[parent].side != part.side)
        if is_top and _chain_is_free(tree, node, taken):
            tops[part.side].setdefault(part.rest, node)
    return [(tops["l"][rest], tops["r"][rest]) for rest in tops["l"] if rest in tops["r"]]


def _chain_is_free(tree: RigTree, top: int, taken: set[int]) -> bool:
    chain = tree.longest_path(top)
    joints = [node for node in chain if not tree.is_end(node)]
    return len(joints) >= 3 and taken.isdisjoint(chain) and taken.isdisjoint(tree.above(top))


def _fits(tree: RigTree, kind: LimbKind, other: Mapping[str, int], left: int, right: int) -> bool:
    """Whether two chains have the shape of this kind of limb, confirmed by a name or by the size of the other limbs."""
    triples = [_two_long_bones(tree, top) for top in (left, right)]
    if not all(triples):
        return False
    lengths = [sum(float(tree.bones_N[node]) for node in triple[1:]) for triple in triples]
    if not max(lengths) < LONGER * min(lengths):
        return False
    if any(tree.parts[node].word(kind.words) for node in tree.longest_path(left)):
        return True
    of_others = _length_of_others(tree, other)
    if not of_others:
        return False
    arm_per_leg = lengths[0] / of_others if kind is ARM else of_others / lengths[0]
    return ARM_PER_LEG[0] < arm_per_leg < ARM_PER_LEG[1]


def _length_of_others(tree: RigTree, other: Mapping[str, int]) -> float:
    """Length of a limb of the other kind, along its bones; 0 if no such limb is complete."""
    for kind in (ARM, LEG):
        for side in SIDES:
            start, end = other.get(side + kind.joints[0]), other.get(side + kind.joints[2])
            if start is not None and end is not None:
                return tree.length(start, end)
    return 0.0


def _two_long_bones(tree: RigTree, top: int) -> tuple[int, ...]:
    """The three joints of two bones in a row that are longer than all others of the chain; empty if there are none."""
    chain = tree.longest_path(top)
    bones = [float(tree.bones_N[node]) for node in chain[1:]]
    for i in range(len(bones) - 1):
        others = [*bones[:i], *bones[i + 2 :]]
        if min(bones[i : i + 2]) > LONGER * max(others, default=0.0):
            return tuple(chain[i : i + 3])
    return ()
