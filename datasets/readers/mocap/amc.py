"""ASF/AMC: a skeleton file (Acclaim) and joint angles per frame, the format of CMU and HDM05.

Each bone's END is a joint, at its parent's end + length · G · direction, with G = G_parent · C · M · C⁻¹. C rotates to
the bone's own axes (``axis``). M rotates by the bone's degrees of freedom about these fixed axes, one after the other
in the order of ``dof`` (for the root: ``order``): ``rx ry rz`` is Rz·Ry·Rx, ``rz ry rx`` is Rx·Ry·Rz. The definition is
Acclaim's V1.10, with "ASF line details" (graphics.cs.cmu.edu/nsp/course/cs229/info/ACCLAIMdef.html).

The skeleton is the ``.asf`` whose name is the beginning of the AMC's name, in the same folder or the nearest one above
it. A motion is recognised by its suffix, or by AMC's header.

AMC states no frame rate. It is taken from a ``video.json`` with ``fps`` beside the file (video_json.py), or from the
list of CMU's 60 Hz subjects (cmu_rates.py). Otherwise the rate is 120 Hz, as documented for CMU and HDM05; for other
files that is an assumption, and the repairs say so.

Shapes: T frames, N bones (the root is bone 0), D degrees of freedom of a bone, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.cmu_rates import find_known_rate
from datasets.assembly.path_rules import AMC, CMU, HDM05, identify
from datasets.assembly.text_head import text_head
from datasets.assembly.video_json import SIDECAR, companions_of, read_video_json
from datasets.files import read_bytes
from datasets.joints.kinematics import BLOCK, Axes, along, cosine_and_sine, rotated, turned, unturned
from datasets.readers.mocap.amc_file import Asf, Bone, parse_amc, parse_asf
from datasets.sequences import File, MotionSequence, Recording, RecordingError, damaged
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

Values = dict[str, Float[np.ndarray, "T"]]
"""A bone's values over time by degree of freedom, in the bone's order."""

SOURCES = (AMC, CMU, HDM05)
FPS = 120.0
"""The rate of both public data sets, except for some of CMU's subjects."""
_HEADER = re.compile(rb"(?=[#:]).*?^:(?:FULLY-SPECIFIED|DEGREES|RADIANS)\s", re.DOTALL | re.MULTILINE | re.IGNORECASE)

TABLE = {
    "root": "root", "belly": "lowerback", "neck": "thorax", "nose": "upperneck", "head": "head",
    "rhip": "rhipjoint", "rknee": "rfemur", "rankle": "rtibia", "lhip": "lhipjoint", "lknee": "lfemur",
    "lankle": "ltibia", "lshoulder": "lclavicle", "lelbow": "lhumerus", "lwrist": "lradius",
    "rshoulder": "rclavicle", "relbow": "rhumerus", "rwrist": "rradius",
}  # fmt: skip


class AmcReader:
    """Reads AMC files together with their ASF."""

    name = "amc"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.amc``, and files that begin like one; ``.asf`` and ``video.json`` become companions."""
        files = list(files)
        companions = [file for file in files if _is_skeleton(file.path) or PurePosixPath(file.path).name == SIDECAR]
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=identify(file.path, "amc").source,
                companions=self.companions_of(file.path, companions),
                size=file.size,
            )
            for file in files
            if file.path.lower().endswith(".amc") or _HEADER.match(text_head(file))
        ]

    def companions_of(self, path: str, files: Iterable[File]) -> tuple[str, ...]:
        """Return those of a motion's skeleton and ``video.json`` that exist."""
        files = list(files)
        skeletons = [file.path for file in files if _is_skeleton(file.path)]
        return (*_skeleton_of(path, skeletons), *companions_of(path, files))

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file."""
        asf_path = next((path for path in recording.companions if _is_skeleton(path)), None)
        if asf_path is None:
            raise RecordingError(
                recording.path,
                where="skeleton",
                expected="an .asf whose name is the beginning of this file's name, in its folder or one above",
                found="none",
                fix="Put the subject's .asf beside it.",
            )
        asf = parse_asf(read_bytes(asf_path), asf_path)
        values = parse_amc(read_bytes(recording.path), asf, recording.path)
        positions_TJ3 = _to_h36m17(bone_ends(asf, values), asf, asf_path)
        identity = identify(recording.path, "amc")
        fps, repairs = _rate(recording, identity.subject)
        yield MotionSequence(
            source=recording.source,
            sequence_id=identity.sequence_id,
            subject=identity.subject,
            action=identity.action,
            label=identity.label,
            fps=fps,
            keypoints_3d_TJC=positions_TJ3.astype(np.float32),
            confidence_TJ=np.ones(positions_TJ3.shape[:2], np.float32),
            repairs=repairs,
        )


READER = AmcReader()


def bone_ends(asf: Asf, values: dict[str, Float[np.ndarray, "T D"]]) -> Float[np.ndarray, "T N 3"]:
    """Return the world position of every bone's end, in metres, by forward kinematics."""
    ends_TN3 = np.empty((len(values["root"]), len(asf.bones), 3))
    for start in range(0, len(ends_TN3), BLOCK):
        block = slice(start, start + BLOCK)
        for n, end_3T in enumerate(_ends(asf, {name: values_TD[block].T for name, values_TD in values.items()})):
            ends_TN3[block, n] = end_3T.T
    return ends_TN3


def _ends(asf: Asf, values: dict[str, Float[np.ndarray, "D T"]]) -> list[Float[np.ndarray, "3 T"]]:
    """Walk down the tree: a bone starts at its parent's end, rotates in its own axes, and ends a step along them."""
    world = unturned(values["root"].shape[1])
    axes: list[Axes] = []
    ends: list[Float[np.ndarray, "3 T"]] = []
    for parent, bone in zip(asf.parents, asf.bones, strict=True):
        given = dict(zip(bone.freedoms, values.get(bone.name, ()), strict=False))
        own = rotated(axes[parent] if parent >= 0 else world, bone.axes_33)
        axes.append(rotated(_turned(own, given), bone.axes_33.T))
        if parent >= 0:
            ends.append(_moved(ends[parent], own, given, asf.unit_m) + along(axes[-1], _step(bone, given, asf.unit_m)))
        else:
            ends.append(_moved(bone.step_3[:, None], world, given, asf.unit_m))
    return ends


def _turned(axes: Axes, given: Values) -> Axes:
    """Rotate about fixed axes, the first degree of freedom first; about moving axes this is the last one first."""
    for freedom, value_T in reversed(given.items()):
        if freedom[0] == "r":
            axes = turned(axes, freedom[1].upper(), *cosine_and_sine(value_T))
    return axes


def _moved(start: Float[np.ndarray, "3 _"], axes: Axes, given: Values, unit_m: float) -> Float[np.ndarray, "3 _"]:
    """Move along the axes by tx, ty and tz, which rotations do not affect, given in any order."""
    if not {"tx", "ty", "tz"} & given.keys():
        return start
    return start + along(axes, [given[f"t{axis}"] * unit_m if f"t{axis}" in given else 0.0 for axis in "xyz"])


def _step(bone: Bone, given: Values, unit_m: float) -> list[float] | list[Float[np.ndarray, "T"]]:
    """The step from start to end; the degree of freedom ``l`` moves the end along the bone."""
    if "l" not in given:
        return bone.step_3.tolist()
    return list(bone.step_3[:, None] + bone.direction_3[:, None] * given["l"] * unit_m)


def _rate(recording: Recording, subject: str) -> tuple[float, tuple[str, ...]]:
    """Return the frame rate, and where it is from if no file states it."""
    if (stated := read_video_json(recording).fps) is not None:
        return stated, ()
    if (known := find_known_rate(subject)) is not None:
        return known, (f"frame rate not stated: {known:g} Hz, as is known of this subject",)
    assumed = (f"frame rate not stated: {FPS:g} Hz assumed",) if recording.source == AMC else ()
    return FPS, assumed


def _is_skeleton(path: str) -> bool:
    return path.lower().endswith(".asf")


def _skeleton_of(path: str, skeletons: list[str]) -> tuple[str, ...]:
    """The ASF whose name is the beginning of the AMC's name: nearest folder first, then the longest name."""
    stem = PurePosixPath(path).stem.lower().removesuffix(".amc")
    for folder in PurePosixPath(path).parents:
        here = [PurePosixPath(skeleton) for skeleton in skeletons if PurePosixPath(skeleton).parent == folder]
        fitting = [asf for asf in here if f"{stem}_".startswith(f"{asf.stem.lower()}_")]
        if fitting:
            nearest = max(fitting, key=lambda asf: len(asf.stem))
            return tuple(skeleton for skeleton in skeletons if PurePosixPath(skeleton) == nearest)
    return ()


def _to_h36m17(ends_TN3: Float[np.ndarray, "T N 3"], asf: Asf, path: str) -> Float[np.ndarray, "T 17 3"]:
    names = tuple(bone.name for bone in asf.bones)
    if missing := sorted(set(TABLE.values()) - set(names)):
        raise damaged(path, "bone names", f"{missing} too", ", ".join(names))
    return Conversion(source_joints=names, target=H36M17, table=TABLE).positions(ends_TN3)
