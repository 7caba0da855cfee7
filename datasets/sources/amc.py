"""ASF/AMC: a skeleton file (Acclaim) and joint angles per frame, as CMU and HDM05 publish them.

The formulas are those of `formats.md` entry 2: per bone C from ``axis``, M = Rz·Ry·Rx of its degrees of freedom,
G = G_parent · C · M · C⁻¹, and the bone's END at the parent's end + length · G · direction. Each bone's end is a joint.
The skeleton is the ``.asf`` whose name begins the AMC's name, in the same folder or the nearest one above it.

Shapes: T frames, N bones (the root is bone 0), D degrees of freedom of a bone, J = 17 joints.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from datasets.files import read_bytes
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from datasets.sources.catalogue import identify
from datasets.sources.kinematics import euler_rotation, world_positions, world_rotations
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

FPS = 120.0
"""AMC does not state a rate; both public data sets are at 120 Hz."""
INCH_M = 0.0254

TABLE = {
    "root": "root", "belly": "lowerback", "neck": "thorax", "nose": "upperneck", "head": "head",
    "rhip": "rhipjoint", "rknee": "rfemur", "rankle": "rtibia", "lhip": "lhipjoint", "lknee": "lfemur",
    "lankle": "ltibia", "lshoulder": "lclavicle", "lelbow": "lhumerus", "lwrist": "lradius",
    "rshoulder": "rclavicle", "relbow": "rhumerus", "rwrist": "rradius",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Bone:
    """One bone: the step to its end at rest (metres), its own axes, and the degrees of freedom that AMC gives."""

    name: str
    step_3: Float[np.ndarray, "3"]
    axes_33: Float[np.ndarray, "3 3"]
    freedoms: tuple[str, ...]
    """In the order of the AMC's values: tx, ty, tz, rx, ry, rz or some of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asf:
    """A parsed skeleton; parents stand before their children."""

    bones: tuple[Bone, ...]
    parents: tuple[int, ...]
    unit_m: float
    degrees: bool


class AmcReader:
    """Reads AMC files together with their ASF."""

    name = "amc"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.amc``; its ``.asf`` is attached where there is one."""
        files = list(files)
        skeletons = [file.path for file in files if file.path.lower().endswith(".asf")]
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=identify(file.path, "amc").source,
                companions=_skeleton_of(file.path, skeletons),
                size=file.size,
            )
            for file in files
            if file.path.lower().endswith(".amc")
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the one sequence of a file."""
        if not recording.companions:
            raise RecordingError(
                recording.path,
                where="skeleton",
                expected="an .asf whose name begins this file's name, in its folder or one above",
                found="none",
                fix="Put the subject's .asf beside it.",
            )
        [asf_path] = recording.companions
        asf = parse_asf(read_bytes(asf_path), asf_path)
        values = parse_amc(read_bytes(recording.path), asf, recording.path)
        positions_TJ3 = _to_h36m17(bone_ends(asf, values), asf, asf_path)
        identity = identify(recording.path, "amc")
        yield MotionSequence(
            source=recording.source,
            sequence_id=identity.sequence_id,
            subject=identity.subject,
            action=identity.action,
            label=identity.label,
            fps=FPS,
            keypoints_3d_TJC=positions_TJ3.astype(np.float32),
            confidence_TJ=np.ones(positions_TJ3.shape[:2], np.float32),
        )


READER = AmcReader()


@lru_cache(maxsize=64)
def parse_asf(content: bytes, path: str) -> Asf:
    """Parse a skeleton file; one subject's is parsed once for all of the subject's recordings.

    Raises:
        RecordingError: It is not ASF, or a bone lacks something.
    """
    sections = _sections(content.decode("latin-1"))
    try:
        units = {words[0]: words[1] for words in sections["units"]}
        unit_m = INCH_M / float(units["length"])
        root = {words[0].lower(): words[1:] for words in sections["root"]}
        bones = [_root_bone(root), *(_bone(lines, unit_m) for lines in _blocks(sections["bonedata"]))]
        parent_of = {child: words[0] for words in sections["hierarchy"] for child in words[1:]}
        ordered = _parents_first(bones, parent_of)
    except (KeyError, ValueError, IndexError) as error:
        expected = ":units, :root, :bonedata and :hierarchy, each bone with direction, length and axis"
        raise _error(path, "skeleton", expected, f"{type(error).__name__}: {error}") from error
    index = {bone.name: position for position, bone in enumerate(ordered)}
    return Asf(
        bones=tuple(ordered),
        parents=tuple(-1 if bone.name == "root" else index[parent_of[bone.name]] for bone in ordered),
        unit_m=unit_m,
        degrees=units.get("angle", "deg").startswith("deg"),
    )


def parse_amc(content: bytes, asf: Asf, path: str) -> dict[str, Float[np.ndarray, "T D"]]:
    """Return each bone's values over time, angles in degrees.

    Raises:
        RecordingError: A frame is cut off, has other bones than the first, or numbers that are none.
    """
    lines = [line.split() for line in content.decode("latin-1").splitlines()]
    lines = [words for words in lines if words and words[0][0] not in "#:"]
    starts = [position for position, words in enumerate(lines) if len(words) == 1 and words[0].isdigit()]
    if not starts or starts[0] != 0:
        raise _error(path, "frames", "a line with only the frame number, then one line a bone", "no such line")
    numbers = [int(lines[start][0]) for start in starts]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise _error(path, "frames", "consecutive frame numbers", f"a jump between {numbers[0]} and {numbers[-1]}")
    step = (starts[1] if len(starts) > 1 else len(lines)) - starts[0]
    layout = [(words[0], len(words) - 1) for words in lines[1:step]]
    for start, number in zip(starts, numbers, strict=True):
        if [(words[0], len(words) - 1) for words in lines[start + 1 : start + step]] != layout:
            raise _error(path, f"frame {number}", "the bones and values of the first frame", "others, or fewer")
    return _by_bone(lines, layout, asf, path)


def bone_ends(asf: Asf, values: dict[str, Float[np.ndarray, "T D"]]) -> Float[np.ndarray, "T N 3"]:
    """Forward kinematics: the world position of every bone's end, in metres."""
    num_frames = len(values["root"])
    local_TN33 = np.empty((num_frames, len(asf.bones), 3, 3))
    step_TN31 = np.empty((num_frames, len(asf.bones), 3, 1))
    for n, bone in enumerate(asf.bones):
        values_TD = values.get(bone.name, np.zeros((num_frames, 0)))
        local_TN33[:, n] = bone.axes_33 @ _rotation(bone, values_TD) @ bone.axes_33.T
        step_TN31[:, n] = bone.step_3[:, None]
    world_TN33 = world_rotations(asf.parents, local_TN33)
    step_TN3 = (world_TN33 @ step_TN31)[..., 0]
    root = asf.bones[0]
    for d, freedom in enumerate(root.freedoms):
        if freedom.startswith("t"):
            step_TN3[:, 0, "xyz".index(freedom[1])] = values["root"][:, d] * asf.unit_m
    return world_positions(asf.parents, step_TN3)


def _rotation(bone: Bone, values_TD: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T 3 3"]:
    """Rz · Ry · Rx of what is given; the rest is 0."""
    given = {freedom: values_TD[:, d] for d, freedom in enumerate(bone.freedoms)}
    turns = [freedom for freedom in ("rz", "ry", "rx") if freedom in given]
    angles_TD = np.stack([given[turn] for turn in turns], axis=-1) if turns else np.zeros((len(values_TD), 0))
    return euler_rotation("".join(turn[1].upper() for turn in turns), angles_TD)


def _skeleton_of(path: str, skeletons: list[str]) -> tuple[str, ...]:
    """The ASF whose name begins the AMC's name: nearest folder first, then the longest name."""
    stem = PurePosixPath(path).stem.lower()
    for folder in PurePosixPath(path).parents:
        here = [PurePosixPath(skeleton) for skeleton in skeletons if PurePosixPath(skeleton).parent == folder]
        fitting = [asf for asf in here if f"{stem}_".startswith(f"{asf.stem.lower()}_")]
        if fitting:
            nearest = max(fitting, key=lambda asf: len(asf.stem))
            return tuple(skeleton for skeleton in skeletons if PurePosixPath(skeleton) == nearest)
    return ()


def _sections(text: str) -> dict[str, list[list[str]]]:
    """Split ASF text at its ``:keyword`` lines into lines of words."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in text.splitlines():
        words = line.partition("#")[0].replace("(", " ").replace(")", " ").split()
        if words and words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words and words[0] not in ("begin", "end"):
            current.append(words)
        elif words == ["end"]:
            current.append([])
    return {
        name: lines if name == "bonedata" else [words for words in lines if words] for name, lines in sections.items()
    }


def _blocks(lines: list[list[str]]) -> Iterator[dict[str, list[str]]]:
    block: dict[str, list[str]] = {}
    for words in lines:
        if words:
            block[words[0].lower()] = words[1:]
        else:
            yield block
            block = {}


def _bone(block: dict[str, list[str]], unit_m: float) -> Bone:
    *angles, order = block["axis"]
    direction_3 = np.array([float(word) for word in block["direction"][:3]])
    return Bone(
        name=block["name"][0],
        step_3=direction_3 * float(block["length"][0]) * unit_m,
        axes_33=_axes(angles, order),
        freedoms=tuple(word.lower() for word in block.get("dof", []) if word.lower() != "l"),
    )


def _root_bone(root: dict[str, list[str]]) -> Bone:
    return Bone(
        name="root",
        step_3=np.zeros(3),
        axes_33=_axes(root["orientation"], root["axis"][0]),
        freedoms=tuple(word.lower() for word in root["order"]),
    )


def _axes(angles: list[str], order: str) -> Float[np.ndarray, "3 3"]:
    """``1 2 3 XYZ`` turns about X first: Rz(3) · Ry(2) · Rx(1)."""
    angles_deg = np.array([float(angle) for angle in angles])
    return euler_rotation(order.upper()[::-1], angles_deg[::-1])


def _parents_first(bones: list[Bone], parent_of: dict[str, str]) -> list[Bone]:
    named = {bone.name: bone for bone in bones}
    ordered: dict[str, Bone] = {"root": named["root"]}
    waiting = [bone for bone in bones if bone.name != "root"]
    while waiting:
        ready = [bone for bone in waiting if parent_of[bone.name] in ordered]
        if not ready:
            raise ValueError(f"bones {[bone.name for bone in waiting]} do not hang on the root")
        ordered |= {bone.name: bone for bone in ready}
        waiting = [bone for bone in waiting if bone.name not in ordered]
    return list(ordered.values())


def _by_bone(
    lines: list[list[str]], layout: list[tuple[str, int]], asf: Asf, path: str
) -> dict[str, Float[np.ndarray, "T D"]]:
    """Cut the frames, known to be alike, into one array a bone."""
    num_freedoms = {bone.name: len(bone.freedoms) for bone in asf.bones}
    for name, count in layout:
        if num_freedoms.get(name) != count:
            expected = f"{num_freedoms.get(name, 'no such bone')} values, as the skeleton says"
            raise _error(path, f"bone {name}", expected, f"{count} values")
    if "root" not in dict(layout):
        raise _error(path, "frames", "a line for the root", "none")
    try:
        numbers = np.array([word for words in lines for word in words[1:]], dtype=np.float64)
    except ValueError as error:
        raise _error(path, "frames", "numbers", str(error)) from error
    values_TK = numbers.reshape(-1, sum(count for _, count in layout))
    ends = np.cumsum([count for _, count in layout])
    angle_scale = 1.0 if asf.degrees else np.rad2deg(1)
    values = dict(zip(dict(layout), np.split(values_TK, ends[:-1], axis=1), strict=True))
    scale = {bone.name: [1.0 if f[0] == "t" else angle_scale for f in bone.freedoms] for bone in asf.bones}
    return {name: values_TD * scale[name] for name, values_TD in values.items()}


def _to_h36m17(ends_TN3: Float[np.ndarray, "T N 3"], asf: Asf, path: str) -> Float[np.ndarray, "T 17 3"]:
    names = tuple(bone.name for bone in asf.bones)
    if missing := sorted(set(TABLE.values()) - set(names)):
        raise _error(path, "bone names", f"{missing} too", ", ".join(names))
    return Conversion(source_joints=names, target=H36M17, table=TABLE).positions(ends_TN3)


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the file again.")
