"""ASF/AMC in every order, unit and spelling that the definition allows, against kinematics written here from it.

Acclaim's "Skeleton File Definition V1.10" and its "ASF line details": ``order`` and ``dof`` say in which order values
stand in the AMC, and in which order rotations are made about fixed axes; ``axis`` turns from the world's axes to a
bone's; ``l`` moves the end along the bone; commas and parentheses are white space. SciPy's lower-case Euler sequences
are rotations about fixed axes, the first letter first.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.readers.mocap.amc import bone_ends
from datasets.readers.mocap.amc_file import parse_amc, parse_asf
from datasets.sequences import RecordingError
from tests.datasets.readers.mocap.test_amc import BONES, UNIT, assert_joints, read, write_amc, write_asf

PARENTS = {"thigh": "root", "shin": "thigh", "arm": "root"}
TOKENS = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass(frozen=True)
class Bone:
    direction: tuple[float, float, float]
    length: float
    axis: tuple[float, float, float]
    order: str
    freedoms: tuple[str, ...]
    values: tuple[float, ...]


def turn(letters: str, angles) -> Rotation:
    return Rotation.from_euler(letters.lower(), angles, degrees=True) if letters else Rotation.identity()


def moves_and_turn(bone: Bone) -> tuple[np.ndarray, Rotation, float]:
    """What the degrees of freedom say: a translation, a rotation, and how far the bone is pulled out."""
    named = dict(zip(bone.freedoms, bone.values, strict=True))
    translation = np.array([named.get("t" + axis, 0.0) for axis in "xyz"])
    sequence = [name for name in bone.freedoms if name[0] == "r"]
    return translation, turn("".join(n[1] for n in sequence), [named[n] for n in sequence]), named.get("l", 0.0)


def ends_of(bones: dict[str, Bone]) -> dict[str, np.ndarray]:
    """Where each bone ends, in the ASF's units; the root's own place for the root."""
    place, root_turn, _ = moves_and_turn(bones["root"])
    ends, turns = {"root": place}, {"root": root_turn}
    for name, parent in PARENTS.items():
        bone = bones[name]
        axes = turn(bone.order, bone.axis)
        translation, motion, pulled = moves_and_turn(bone)
        turns[name] = turns[parent] * axes * motion * axes.inv()
        start = ends[parent] + (turns[parent] * axes).apply(translation)
        ends[name] = start + turns[name].apply(np.multiply(bone.direction, bone.length + pulled))
    return ends


def in_unit(angle: float, unit: str) -> float:
    return angle if unit == "deg" else float(np.deg2rad(angle))


def asf_of(bones: dict[str, Bone], unit: str) -> bytes:
    lines = [":units", "length 0.45", f"angle {unit}", ":root", "order " + " ".join(bones["root"].freedoms)]
    lines += ["axis XYZ", "position 0 0 0", "orientation 0 0 0", ":bonedata"]
    for name in PARENTS:
        bone = bones[name]
        lines += ["begin", f"name {name}", "direction {} {} {}".format(*bone.direction), f"length {bone.length}"]
        lines += ["axis {} {} {} ".format(*(in_unit(angle, unit) for angle in bone.axis)) + bone.order]
        lines += ["dof " + " ".join(bone.freedoms), "end"]
    lines += [":hierarchy", "begin", "root thigh arm", "thigh shin", "end", ""]
    return "\n".join(lines).encode()


def amc_of(bones: dict[str, Bone], unit: str, header: str) -> bytes:
    lines = [":FULLY-SPECIFIED", header, "1"]
    for name in ("root", *PARENTS):
        pairs = zip(bones[name].freedoms, bones[name].values, strict=True)
        lines += [" ".join([name, *(repr(in_unit(v, unit) if n[0] == "r" else v) for n, v in pairs)])]
    return "\n".join([*lines, ""]).encode()


angles = st.floats(-180, 180)
lengths = st.floats(-9, 9)
triples = st.tuples(angles, angles, angles)


@st.composite
def bones(draw, *, is_root=False) -> Bone:
    freedoms = draw(st.permutations(TOKENS if is_root else (*TOKENS, "l")))
    freedoms = tuple(freedoms if is_root else freedoms[: draw(st.integers(0, 7))])
    values = tuple(draw(angles if name[0] == "r" else lengths) for name in freedoms)
    axis = (0.0, 0.0, 0.0) if is_root else draw(triples)
    direction = draw(st.sampled_from([(1.0, 0.0, 0.0), (0.6, -0.8, 0.0), (0.0, 0.28, 0.96)]))
    return Bone(direction, draw(st.floats(1, 9)), axis, "".join(draw(st.permutations("XYZ"))), freedoms, values)


skeletons = st.fixed_dictionaries({"root": bones(is_root=True)} | {name: bones() for name in PARENTS})


@given(skeletons, st.sampled_from(["deg", "rad"]), st.sampled_from(["deg", "rad", ""]))
@settings(max_examples=60, deadline=None)
def test_every_order_and_unit_gives_the_positions_of_the_definition(skeleton, in_asf, in_amc):
    header = {"deg": ":DEGREES", "rad": ":RADIANS", "": "# the header does not say it"}[in_amc]
    asf = parse_asf(asf_of(skeleton, in_asf), "a.asf")
    values = parse_amc(amc_of(skeleton, in_amc or in_asf, header), asf, "a.amc")
    [found_N3] = bone_ends(asf, values) / UNIT
    expected = ends_of(skeleton)
    for bone, found_3 in zip(asf.bones, found_N3, strict=True):
        np.testing.assert_allclose(found_3, expected[bone.name], atol=1e-9, err_msg=bone.name)


def test_commas_parentheses_capitals_and_comments_change_nothing(tmp_path):
    skeleton, motion = write_asf(), write_amc({"root": (1, 17, 3, 10, 20, 30), "lhumerus": (15, -25, 35)})
    plain = read(tmp_path, motion, skeleton)
    commas = skeleton.replace("direction 1 0 0", "direction 1,0, 0").replace("dof rx ry rz", "dof (rx, ry, rz) # three")
    spelled = read(tmp_path, motion.replace("1 17 3 10", "(1,17,3), 10").upper(), commas.replace("rfemur", "RFemur"))
    assert spelled.keypoints_3d_TJC is not None
    assert plain.keypoints_3d_TJC is not None
    assert (spelled.keypoints_3d_TJC == plain.keypoints_3d_TJC).all()


@pytest.mark.parametrize("unit", ["deg", "rad"])
@pytest.mark.parametrize(("header", "angle"), [(":DEGREES", 90.0), (":RADIANS", np.pi / 2)])
def test_the_motion_s_own_header_speaks_for_its_angles(tmp_path, unit, header, angle):
    """About y by a right angle, x goes to -z: so does the shoulder, 3 to the left of the thorax at height 6."""
    no_axes = {name: (*bone[:3], (0, 0, 0), bone[4]) for name, bone in BONES.items()}
    sequence = read(tmp_path, write_amc({"thorax": (angle,)}, degrees=header), write_asf(no_axes, angle=unit))
    assert_joints(sequence, {"lshoulder": (0, 6, -3)})


def test_the_root_s_position_at_rest_is_added_to_its_motion(tmp_path):
    skeleton = write_asf().replace("position 0 0 0", "position 1 2 3")
    assert_joints(read(tmp_path, write_amc({"root": (10, 20, 30, 0, 0, 0)}), skeleton), {"root": (11, 22, 33)})


def test_a_degree_of_freedom_that_the_format_does_not_have_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"09\.asf: skeleton: .*degrees of freedom called rw"):
        read(tmp_path, write_amc({}), write_asf().replace("dof rx ry rz", "dof rx ry rw"))
