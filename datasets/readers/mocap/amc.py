"""ASF/AMC: a skeleton file (Acclaim) and joint angles per frame, as CMU and HDM05 publish them.

Per bone, C comes from ``axis``, M = Rz·Ry·Rx of its degrees of freedom,
G = G_parent · C · M · C⁻¹, and the bone's END at the parent's end + length · G · direction. Each bone's end is a joint.
The skeleton is the ``.asf`` whose name begins the AMC's name, in the same folder or the nearest one above it. A motion
is known by its suffix, or by the header that AMC begins with.

AMC states no frame rate. A ``video.json`` with ``fps`` beside it wins; then what is known of CMU's 60 Hz subjects
(cmu_rates.py); then 120 Hz, which is documented for CMU and HDM05 and is assumed, and said, for all others.

Shapes: T frames, N bones (the root is bone 0), D degrees of freedom of a bone, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.cmu_rates import known_rate
from datasets.assembly.path_rules import AMC, CMU, HDM05, identify
from datasets.assembly.text_head import text_head
from datasets.assembly.video_json import folder_of, sidecars, video_facts
from datasets.files import read_bytes
from datasets.joints.kinematics import BLOCK, Axes, along, cosine_and_sine, rotated, turned, unturned
from datasets.readers.mocap.amc_file import Asf, parse_amc, parse_asf
from datasets.sequences import File, MotionSequence, Recording, RecordingError, damaged
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

SOURCES = (AMC, CMU, HDM05)
FPS = 120.0
"""Of both public data sets, but for some of CMU's subjects."""
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
        """Claim every ``.amc``, and what begins as one; ``.asf`` and ``video.json`` are attached where they are."""
        files = list(files)
        skeletons = [file.path for file in files if _is_skeleton(file.path)]
        facts = sidecars(files)
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=identify(file.path, "amc").source,
                companions=(
                    *_skeleton_of(file.path, skeletons),
                    *([facts[folder_of(file.path)]] if folder_of(file.path) in facts else []),
                ),
                size=file.size,
            )
            for file in files
            if file.path.lower().endswith(".amc") or _HEADER.match(text_head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the one sequence of a file."""
        asf_path = next((path for path in recording.companions if _is_skeleton(path)), None)
        if asf_path is None:
            raise RecordingError(
                recording.path,
                where="skeleton",
                expected="an .asf whose name begins this file's name, in its folder or one above",
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
    """Forward kinematics: the world position of every bone's end, in metres."""
    ends_TN3 = np.empty((len(values["root"]), len(asf.bones), 3))
    for start in range(0, len(ends_TN3), BLOCK):
        block = slice(start, start + BLOCK)
        for n, end_3T in enumerate(_ends(asf, {name: values_TD[block].T for name, values_TD in values.items()})):
            ends_TN3[block, n] = end_3T.T
    return ends_TN3


def _ends(asf: Asf, values: dict[str, Float[np.ndarray, "D T"]]) -> list[Float[np.ndarray, "3 T"]]:
    """Walk down the tree: a bone turns about axes of its own, given in those of its parent, and ends a step along."""
    world = unturned(values["root"].shape[1])
    axes: list[Axes] = []
    ends: list[Float[np.ndarray, "3 T"]] = []
    for parent, bone in zip(asf.parents, asf.bones, strict=True):
        given = dict(zip(bone.freedoms, values.get(bone.name, ()), strict=False))
        own = rotated(axes[parent] if parent >= 0 else world, bone.axes_33)
        for turn in ("rz", "ry", "rx"):
            if turn in given:
                own = turned(own, turn[1].upper(), *cosine_and_sine(given[turn]))
        own = rotated(own, bone.axes_33.T)
        step_3T = along(own, bone.step_3.tolist())
        if parent >= 0:
            ends.append(ends[parent] + step_3T)
        else:
            moves = [
                given[f"t{axis}"] * asf.unit_m if f"t{axis}" in given else step_3T[n] for n, axis in enumerate("xyz")
            ]
            ends.append(np.stack(moves))
        axes.append(own)
    return ends


def _rate(recording: Recording, subject: str) -> tuple[float, tuple[str, ...]]:
    """The frame rate, and in words how it is known where nobody says it."""
    if (stated := video_facts(recording).fps) is not None:
        return stated, ()
    if (known := known_rate(subject)) is not None:
        return known, (f"frame rate not stated: {known:g} Hz, as is known of this subject",)
    assumed = (f"frame rate not stated: {FPS:g} Hz assumed",) if recording.source == AMC else ()
    return FPS, assumed


def _is_skeleton(path: str) -> bool:
    return path.lower().endswith(".asf")


def _skeleton_of(path: str, skeletons: list[str]) -> tuple[str, ...]:
    """The ASF whose name begins the AMC's name: nearest folder first, then the longest name."""
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
