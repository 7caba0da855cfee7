"""Rigs by rule: which joints of a skeleton that no table knows are which of the canonical seventeen.

Limbs, neck and head are found by the words that animation tools name them with, in any spelling of the side
(``LeftForeArm``, ``lForeArm``, ``forearm_l``, ``Bip01 L Forearm``, ``Robot_LeftForeArm``). Root and belly are found by
structure: where the legs meet, and the spine joint nearest to half-way between there and the neck. So Mixamo, Daz,
iClone, Biped, MotionBuilder, Perception Neuron, Xsens, Unreal and ASF names need no table. What a rig lacks is absent;
two joints that fit one place are refused, and a ``joint_map.json`` beside the recordings decides (``joint_map.py``).

Shapes: N nodes (joints and end sites).
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from datasets.joints.rigs import Rig
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

# One tool's words for the starts of thigh, shin and foot, or of upper arm, forearm and hand. A word means different
# things to different tools ("LeftShoulder" is a collar bone or an upper arm), so the set that fits best is taken whole.
LEG_WORDS = (
    ("upleg", "leg", "foot"), ("upperleg", "lowerleg", "foot"), ("hip", "knee", "ankle"), ("thigh", "shin", "foot"),
    ("thigh", "calf", "foot"), ("femur", "tibia", "foot"),
)  # fmt: skip
ARM_WORDS = (
    ("arm", "forearm", "hand"), ("upperarm", "forearm", "hand"), ("upperarm", "lowerarm", "hand"),
    ("shoulder", "elbow", "wrist"), ("shldr", "forearm", "hand"), ("humerus", "radius", "wrist"),
)  # fmt: skip
LEG_JOINTS = ("hip", "knee", "ankle")
ARM_JOINTS = ("shoulder", "elbow", "wrist")
NECK_WORDS = ("neck", "lowerneck", "neck01", "neck1", "necktwist01")
HEAD_TOP_WORDS = ("headtopend", "headend", "headtop", "headtip", "headnub")
ROOT_WORDS = ("hips", "pelvis", "hip", "root")
LEAST_LIMB_WORDS = 4
"""Of the six joints of a pair of limbs, so many must be there to know whose words they are."""

_PREFIX = re.compile(r"^(?:mixamorig\d*|robot|cc_base|bip0*1|character\d*|def|org)[_ ]+", re.IGNORECASE)
_KNOWN_WORDS = "|".join(sorted({word for words in (*LEG_WORDS, *ARM_WORDS) for word in words}))
_SIDES = (
    re.compile(r"^(?P<side>left|right)[_ .-]*(?P<part>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<part>.+?)[_ .-]+(?P<side>left|right|l|r)$", re.IGNORECASE),
    re.compile(r"^(?P<side>l|r)[_ .-]+(?P<part>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<side>[lrLR])(?P<part>[A-Z].*)$"),
    re.compile(rf"^(?P<side>[lr])(?P<part>{_KNOWN_WORDS})$"),
)


def rig_by_rules(names: Sequence[str], parents: Sequence[int], offsets_N3: Float[np.ndarray, "N 3"], path: str) -> Rig:
    """Return the rig that names and structure give; ``PARENT/end`` is an end site.

    Raises:
        RecordingError: Root, or both legs and both arms, are not there; or two joints fit one place.
    """
    nodes: dict[str, list[int]] = {}
    for node, name in enumerate(names):
        nodes.setdefault(_place(name), []).append(node)
    found = _limbs(nodes, LEG_WORDS, LEG_JOINTS) | _limbs(nodes, ARM_WORDS, ARM_JOINTS)
    found |= _first(nodes, "neck", NECK_WORDS) | _first(nodes, "nose", ("head",))
    found |= _first(nodes, "head", (*HEAD_TOP_WORDS, "head/end"))
    places = {joint: _only(nodes[place], names, joint, path) for joint, place in found.items()}
    places |= _root(nodes, places, parents)
    places |= _belly(places, parents, offsets_N3)
    if "root" not in places or not ({"lhip", "rhip"} <= set(places) or {"lshoulder", "rshoulder"} <= set(places)):
        raise RecordingError(
            path,
            where="joint names",
            expected="a root, and legs or arms by names we know (LeftUpLeg, lThigh, thigh_l, LeftArm, L_UpperArm ...)",
            found=f"{', '.join(sorted(places)) or 'none of them'} among the joints {', '.join(names)}",
            fix="Say which joint is which in a joint_map.json beside the recordings (datasets/joints/joint_map.py).",
        )
    return Rig(name="by rules", table={joint: names[node] for joint, node in places.items()})


def _place(name: str) -> str:
    """``mixamorig_LeftForeArm``, ``forearm.L`` and ``lForeArm`` are all ``l forearm``."""
    bare, is_end, _ = name.partition("/end")
    bare = _PREFIX.sub("", bare)
    for pattern in _SIDES:
        if match := pattern.match(bare):
            return f"{match['side'][0].lower()} {_word(match['part'])}{is_end}"
    return _word(bare) + is_end


def _word(part: str) -> str:
    return re.sub(r"[^a-z0-9]", "", part.lower())


def _limbs(
    nodes: Mapping[str, list[int]], dialects: Sequence[tuple[str, ...]], joints: tuple[str, ...]
) -> dict[str, str]:
    """Canonical joint to place, for the words that fit best."""
    best = max((_fit(nodes, words, joints) for words in dialects), key=len)
    return best if len(best) >= LEAST_LIMB_WORDS else {}


def _fit(nodes: Mapping[str, list[int]], words: tuple[str, ...], joints: tuple[str, ...]) -> dict[str, str]:
    """What is there of these words; the end site of a limb's second bone stands for a last joint without a name."""
    found = {}
    for side in "lr":
        places = {joint: f"{side} {word}" for joint, word in zip(joints, words, strict=True)}
        if places[joints[2]] not in nodes:
            places[joints[2]] = f"{side} {words[1]}/end"
        found |= {side + joint: place for joint, place in places.items() if place in nodes}
    return found


def _first(nodes: Mapping[str, list[int]], joint: str, words: Sequence[str]) -> dict[str, str]:
    return {joint: next(word for word in words if word in nodes)} if any(word in nodes for word in words) else {}


def _only(fitting: list[int], names: Sequence[str], joint: str, path: str) -> int:
    if len(fitting) == 1:
        return fitting[0]
    raise RecordingError(
        path,
        where="joint names",
        expected=f"one joint that can be {joint}",
        found=", ".join(names[node] for node in fitting),
        fix="Say which it is in a joint_map.json beside the recordings (datasets/joints/joint_map.py).",
    )


def _root(nodes: Mapping[str, list[int]], places: Mapping[str, int], parents: Sequence[int]) -> dict[str, int]:
    """Where the legs meet; for a rig without legs, the joint that is named so."""
    if {"lhip", "rhip"} <= set(places):
        left = set(_upwards(places["lhip"], parents))
        meeting = [node for node in _upwards(places["rhip"], parents) if node in left]
    else:
        meeting = [nodes[word][0] for word in ROOT_WORDS if word in nodes]
    return dict(zip(["root"], meeting, strict=False))


def _belly(places: Mapping[str, int], parents: Sequence[int], offsets_N3: Float[np.ndarray, "N 3"]) -> dict[str, int]:
    """The joint between root and neck that is nearest to half of the way, measured along the bones."""
    if not {"root", "neck"} <= set(places):
        return {}
    above_root = {places["root"], *_upwards(places["root"], parents)}
    spine = [places["neck"]]
    for node in _upwards(places["neck"], parents):
        if node in above_root:
            break
        spine.append(node)
    spine.reverse()
    reached = np.cumsum(np.linalg.norm(offsets_N3[spine], axis=-1))
    if len(spine) < 2:
        return {}
    return {"belly": spine[int(np.abs(reached[:-1] - reached[-1] / 2).argmin())]}


def _upwards(node: int, parents: Sequence[int]) -> Iterator[int]:
    while parents[node] >= 0:
        node = parents[node]
        yield node
