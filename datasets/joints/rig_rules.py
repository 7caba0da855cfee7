"""Rules that map the joints of an unknown rig to the canonical 17.

Limbs are found by name and order (``limbs.py``), in any spelling of the side, or by shape if their names are unknown
(``limb_shapes.py``). Root and belly are found by structure: the joint where the legs meet, and the spine joint nearest
to the middle between it and the neck. Neck and head are found by name, or by structure: the chain that rises from where
the arms meet. So the rigs of Mixamo, Daz, iClone, Biped, MotionBuilder, Rigify, Unreal, VRM, OptiTrack, Perception
Neuron, Xsens, Kinect, OpenNI, SMPL, Wisconsin and ASF need no table, nor do mixtures of them.

Joints that a rig lacks are absent, and ``guesses`` lists them. A rig is rejected if two joints fit one canonical joint,
or if it has limbs that cannot be identified; a ``joint_map.json`` beside the recordings then decides
(``joint_map.py``).

Shapes: N nodes (joints and end sites).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.joints.kinematics import world_positions
from datasets.joints.limb_shapes import limbs_by_shape
from datasets.joints.limb_words import ARM, LEG
from datasets.joints.limbs import Limbs, limbs_by_name
from datasets.joints.rig_tree import RigTree
from datasets.joints.rigs import Rig
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

NECK_WORDS = ("neck", "lowerneck", "necklower", "necktwist")
HEAD_TOP_WORDS = ("headtopend", "headtop", "headend", "headtip", "headnub")
ROOT_WORDS = ("hips", "pelvis", "hip", "root")
FAR_FROM_HIPS = 0.35
"""Largest distance of the pelvis from the middle of the hips, as a share of the thigh; a joint farther away is the root
only if its name says so. OpenNI's rigs, whose limbs all start at the torso, have 0.4 to 0.6, others at most 0.33."""


def rig_by_rules(names: Sequence[str], parents: Sequence[int], offsets_N3: Float[np.ndarray, "N 3"], path: str) -> Rig:
    """Return the rig found from names and structure; ``PARENT/end`` is an end site.

    Raises:
        RecordingError: The root, or both legs and both arms, are missing; two joints fit one canonical joint; or there
            are limbs that cannot be identified.
    """
    tree = RigTree(names=tuple(names), parents=tuple(parents), offsets_N3=offsets_N3)
    places = _neck_and_head(tree, path)
    legs, arms = _limbs(tree, set(places.values()), path)
    places |= {**legs.nodes, **arms.nodes}
    guesses = [*legs.guesses, *arms.guesses]
    if "neck" not in places:
        risen = _risen_from_arms(tree, places)
        places |= risen
        guesses += [f"{joint} by its place in the rig: {tree.names[node]}" for joint, node in risen.items()]
    meeting = _meeting(tree, places)
    if meeting is None or not ({"lhip", "rhip"} <= set(places) or {"lshoulder", "rshoulder"} <= set(places)):
        raise _unknown(tree, places | ({} if meeting is None else {"root": meeting}), path)
    table: dict[str, str | Mapping[str, float]] = {joint: tree.names[node] for joint, node in places.items()}
    table |= {"root": tree.names[meeting]} | _belly(tree, places, meeting)
    if _is_far_from_hips(tree, places, meeting):
        table["root"] = {tree.names[places[hip]]: 0.5 for hip in ("lhip", "rhip")}
        guesses.append(f"root midway between the hips: the legs meet at {tree.names[meeting]}, far above them")
    if missing := [joint for joint in H36M17.joints if joint not in table]:
        guesses.append(f"no joint found for {', '.join(missing)}")
    return Rig(name="by rules", table=table, guesses=tuple(guesses))


def _limbs(tree: RigTree, taken: set[int], path: str) -> tuple[Limbs, Limbs]:
    """Legs and arms: by name, then by shape; known limbs of one kind help to identify the other kind."""
    legs, arms = limbs_by_name(tree, LEG, path), limbs_by_name(tree, ARM, path)
    for _ in range(2):
        legs = legs if legs.nodes else limbs_by_shape(tree, LEG, arms.nodes, taken, path)
        arms = arms if arms.nodes else limbs_by_shape(tree, ARM, legs.nodes, taken, path)
    return legs, arms


def _unknown(tree: RigTree, places: Mapping[str, int], path: str) -> RecordingError:
    return RecordingError(
        path,
        where="joint names",
        expected="a root, and legs or arms by names we know (LeftUpLeg, lThigh, thigh_l, LeftArm, L_UpperArm ...)",
        found=f"{', '.join(sorted(places)) or 'none of them'} among the joints {', '.join(tree.names)}",
        fix="Say which joint is which in a joint_map.json beside the recordings (docs/data.md).",
    )


def _neck_and_head(tree: RigTree, path: str) -> dict[str, int]:
    """By name: the lowest neck, the head, and the top of the head or the end site of the head."""
    found = _named(tree, "neck", NECK_WORDS, path) | _named(tree, "nose", ("head",), path)
    tops = _named(tree, "head", HEAD_TOP_WORDS, path)
    return found | (tops or _end_of(tree, found.get("nose")))


def _named(tree: RigTree, joint: str, words: Sequence[str], path: str) -> dict[str, int]:
    """The joint in the middle of the body with one of these words: of several in a row, the one nearest to the root."""
    fitting = [node for node, part in enumerate(tree.parts) if not part.side and part.word(words)]
    first = fitting[:1]
    same = [node for node in fitting if node in first or not set(tree.above(node)) & set(first)]
    same += [node for node in fitting if tree.parts[node].rest == tree.parts[first[0]].rest and node not in same]
    if len(same) > 1:
        raise RecordingError(
            path,
            where="joint names",
            expected=f"one joint that can be {joint}",
            found=", ".join(tree.names[node] for node in same),
            fix="Say which it is in a joint_map.json beside the recordings (docs/data.md).",
        )
    return {joint: first[0]} if first else {}


def _end_of(tree: RigTree, head: int | None) -> dict[str, int]:
    ends = [node for node in tree.children[head] if tree.is_end(node)] if head is not None else []
    return {"head": ends[0]} if ends else {}


def _risen_from_arms(tree: RigTree, places: Mapping[str, int]) -> dict[str, int]:
    """Neck and head where no joint is called neck: the one chain that rises from where the arms meet."""
    if not {"lshoulder", "rshoulder"} <= set(places):
        return {}
    chest = tree.meeting(places["lshoulder"], places["rshoulder"])
    if chest is None or chest == _meeting(tree, places):
        return {}
    chain: list[int] = []
    below = _middle_joints_below(tree, chest, places)
    while len(below) == 1:
        chain += below
        below = _middle_joints_below(tree, chain[-1], places)
    if len(chain) > 1 and places.get("nose", chain[-1]) in chain[1:]:
        head = {} if "nose" in places else {"nose": chain[-1]}
        return {"neck": chain[0]} | head | ({} if "head" in places else _end_of(tree, places.get("nose", chain[-1])))
    return {}


def _middle_joints_below(tree: RigTree, node: int, places: Mapping[str, int]) -> list[int]:
    """Joints right below that have no side and do not lead to a limb."""
    above_limbs = {above for place in places.values() if tree.parts[place].side for above in tree.above(place)}
    return [child for child in tree.joints_below(node) if not tree.parts[child].side and child not in above_limbs]


def _meeting(tree: RigTree, places: Mapping[str, int]) -> int | None:
    """The joint where the legs meet; for a rig without legs, the joint with a name for the root."""
    if {"lhip", "rhip"} <= set(places):
        return tree.meeting(places["lhip"], places["rhip"])
    named = [
        node for word in ROOT_WORDS for node, part in enumerate(tree.parts) if not part.side and part.word((word,))
    ]
    return named[0] if named else None


def _belly(tree: RigTree, places: Mapping[str, int], root: int) -> dict[str, str]:
    """The joint between root and neck that is nearest to half of the way, measured along the bones."""
    if "neck" not in places:
        return {}
    above_root = {root, *tree.above(root)}
    spine = [places["neck"]]
    for node in tree.above(places["neck"]):
        if node in above_root:
            break
        spine.append(node)
    spine.reverse()
    reached = np.cumsum(tree.bones_N[spine])
    if len(spine) < 2:
        return {}
    return {"belly": tree.names[spine[int(np.abs(reached[:-1] - reached[-1] / 2).argmin())]]}


def _is_far_from_hips(tree: RigTree, places: Mapping[str, int], root: int) -> bool:
    if tree.parts[root].word(ROOT_WORDS) or not {"lhip", "rhip", "lknee"} <= set(places):
        return False
    [rest_N3] = world_positions(tree.parents, tree.offsets_N3[None])
    thigh = np.linalg.norm(rest_N3[places["lknee"]] - rest_N3[places["lhip"]])
    middle_3 = (rest_N3[places["lhip"]] + rest_N3[places["rhip"]]) / 2
    return bool(np.linalg.norm(rest_N3[root] - middle_3) > FAR_FROM_HIPS * thigh)
