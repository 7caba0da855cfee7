"""Writes BVH files joint by joint, and a plain body to write."""

LIMBS = {
    "UpLeg": ("Hips", (0.1, -0.05, 0)), "Leg": ("UpLeg", (0, -0.42, 0)), "Foot": ("Leg", (0, -0.42, 0)),
    "Arm": ("Spine1", (0.18, 0.2, 0)), "ForeArm": ("Arm", (0.28, 0, 0)), "Hand": ("ForeArm", (0.25, 0, 0)),
}  # fmt: skip
TRUNK = {
    "Hips": ("", (0, 0, 0)), "Spine": ("Hips", (0, 0.1, 0)), "Spine1": ("Spine", (0, 0.15, 0)),
    "Neck": ("Spine1", (0, 0.25, 0)), "Head": ("Neck", (0, 0.1, 0)),
}  # fmt: skip
HEAD_END = (0, 0.15, 0)
# Canonical joints of that body in metres, the root at 0, added up by hand from the offsets.
AT_REST = {
    "root": (0, 0, 0), "belly": (0, 0.25, 0), "neck": (0, 0.5, 0), "nose": (0, 0.6, 0), "head": (0, 0.75, 0),
    "lhip": (0.1, -0.05, 0), "lknee": (0.1, -0.47, 0), "lankle": (0.1, -0.89, 0),
    "rhip": (-0.1, -0.05, 0), "rknee": (-0.1, -0.47, 0), "rankle": (-0.1, -0.89, 0),
    "lshoulder": (0.18, 0.45, 0), "lelbow": (0.46, 0.45, 0), "lwrist": (0.71, 0.45, 0),
    "rshoulder": (-0.18, 0.45, 0), "relbow": (-0.46, 0.45, 0), "rwrist": (-0.71, 0.45, 0),
}  # fmt: skip


def body(names=TRUNK, limbs=LIMBS) -> dict[str, tuple[str, tuple[float, ...]]]:
    joints = dict(names)
    for side, sign in (("Left", 1), ("Right", -1)):
        for part, (parent, (x, y, z)) in limbs.items():
            joints[side + part] = (parent if parent in names else side + parent, (sign * x, y, z))
    return joints


def write_bvh(
    joints=None,
    frames=({},),
    *,
    unit=1.0,
    turn=lambda xyz: xyz,
    order="ZXY",
    frame_time="0.0333333",
    prefix="",
    eol="\n",
    positions=None,
    offsets=True,
) -> bytes:
    """Write joints {name: (parent, offset)} and frames {joint: rotation values, "root": position}.

    With ``positions`` every joint has position channels: "offsets" for the values of its offset, "zeros" for 0.
    Without ``offsets`` the hierarchy states none.
    """
    joints = joints or body()
    lines, written = ["HIERARCHY"], []

    def offset(xyz):
        return "OFFSET " + " ".join(f"{unit * value:.6f}" for value in turn(xyz))

    def node(name):
        parent, xyz = joints[name]
        written.append(name)
        rotations = " ".join(f"{axis}rotation" for axis in order)
        channels = f"6 Xposition Yposition Zposition {rotations}" if not parent or positions else f"3 {rotations}"
        stated = offset(xyz if offsets else (0, 0, 0))
        lines.extend([f"{'JOINT' if parent else 'ROOT'} {prefix}{name}", "{", stated, f"CHANNELS {channels}"])
        children = [child for child, (its_parent, _) in joints.items() if its_parent == name]
        for child in children:
            node(child)
        if not children:
            lines.extend(["End Site", "{", offset(HEAD_END if offsets else (0, 0, 0)), "}"])
        lines.append("}")

    node(next(iter(joints)))
    lines += ["MOTION", f"Frames: {len(frames)}", f"Frame Time: {frame_time}"]
    for frame in frames:
        values = list(turn(frame.get("root", (0.0, 0.0, 0.0))))
        for name in written:
            if positions and joints[name][0]:
                values += [unit * value for value in turn(joints[name][1] if positions == "offsets" else (0, 0, 0))]
            values += frame.get(name, (0.0, 0.0, 0.0))
        lines.append(" ".join(f"{value:.6f}" for value in values))
    return eol.join([*lines, ""]).encode()


NAMED_SPINE = {"root": (0, 0, 0), "belly": (0, 0.25, 0), "neck": (0, 0.25, 0), "nose": (0, 0.1, 0)}
NAMED_LIMBS = {
    "hip": ("root", (0.1, -0.05, 0)), "knee": ("hip", (0, -0.42, 0)), "ankle": ("knee", (0, -0.42, 0)),
    "toe": ("ankle", (0, -0.05, 0.15)), "collar": ("belly", (0.03, 0.2, 0)), "shoulder": ("collar", (0.15, 0, 0)),
    "elbow": ("shoulder", (0.28, 0, 0)), "wrist": ("elbow", (0.25, 0, 0)), "finger": ("wrist", (0.1, 0, 0)),
}  # fmt: skip


def skeleton(spine, side, parts, mirror=1.0):
    """A body whose joints bear these names; ``mirror`` -1 puts the left ones on the right."""
    centre = dict(zip(NAMED_SPINE, spine.split(), strict=True))
    joints, parent = {}, ""
    for joint, xyz in NAMED_SPINE.items():
        joints[centre[joint]] = (parent, xyz)
        parent = centre[joint]
    for sign, left in ((mirror, "Left"), (-mirror, "Right")):
        names = {
            joint: side.format(part, Left=left, L=left[0], l=left[0].lower())
            for joint, part in zip(NAMED_LIMBS, parts.split(), strict=True)
        }
        for joint, (parent, (x, y, z)) in NAMED_LIMBS.items():
            joints[names[joint]] = (names.get(parent, centre.get(parent)), (sign * x, y, z))
    return joints
