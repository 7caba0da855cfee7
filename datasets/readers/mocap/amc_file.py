"""Parse ASF and AMC files: the bones of a subject, and the values of their degrees of freedom over time.

The format is that of Acclaim's "Skeleton File Definition V1.10". ASF has sections that begin with ``:keyword``, of
which ``units``, ``root``, ``bonedata`` and ``hierarchy`` are read. AMC has header lines, then for each frame a line
with its number and a line for each bone with its name and values. In both, commas and parentheses are white space,
``#`` begins a comment, and case does not matter.

Angles are degrees or radians: an ASF's ``angle`` states the unit of its own axes, an AMC's header (``:DEGREES``,
``:RADIANS``) that of its values. If the header does not state it, the ASF's ``angle`` is used for the values too.

Shapes: T frames, D degrees of freedom of a bone.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datasets.containers.number_text import parse_numbers
from datasets.joints.kinematics import euler_rotation
from datasets.sequences import damaged
from motion_encoder.shapes import Float

INCH_M = 0.0254
FREEDOMS = frozenset({"tx", "ty", "tz", "rx", "ry", "rz", "l"})
_WHITE = bytes.maketrans(b",()", b"   ")
_COMMENT = re.compile(rb"#[^\r\n]*")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bone:
    """One bone: the step from its start to its end at rest (metres), its own axes, and its degrees of freedom."""

    name: str
    step_3: Float[np.ndarray, "3"]
    """Position of the root at rest; 0 for other bones."""
    direction_3: Float[np.ndarray, "3"]
    """Step from start to end; 0 for the root."""
    axes_33: Float[np.ndarray, "3 3"]
    freedoms: tuple[str, ...]
    """Names of the AMC's values, in their order, which is also the order of the rotations: any of FREEDOMS."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asf:
    """A parsed skeleton; parents come before their children."""

    bones: tuple[Bone, ...]
    parents: tuple[int, ...]
    unit_m: float
    degrees: bool


@lru_cache(maxsize=64)
def parse_asf(content: bytes, path: str) -> Asf:
    """Parse a skeleton file; the result is cached for all recordings of a subject.

    Raises:
        RecordingError: It is not ASF, or a bone is incomplete.
    """
    sections = _sections(content)
    try:
        units = {words[0]: words[1] for words in sections["units"]}
        unit_m = INCH_M / float(units["length"])
        degrees = units.get("angle", "deg").startswith("deg")
        root = {words[0]: words[1:] for words in sections["root"]}
        bones = [_root_bone(root, unit_m, degrees=degrees)]
        bones += [_bone(block, unit_m, degrees=degrees) for block in _blocks(sections["bonedata"])]
        parent_of = {child: words[0] for words in sections["hierarchy"] for child in words[1:]}
        ordered = _parents_first(bones, parent_of)
    except (KeyError, ValueError, IndexError) as error:
        expected = ":units, :root, :bonedata and :hierarchy, each bone with direction, length and axis"
        raise damaged(path, "skeleton", expected, f"{type(error).__name__}: {error}") from error
    index = {bone.name: position for position, bone in enumerate(ordered)}
    return Asf(
        bones=tuple(ordered),
        parents=tuple(-1 if bone.name == "root" else index[parent_of[bone.name]] for bone in ordered),
        unit_m=unit_m,
        degrees=degrees,
    )


def parse_amc(content: bytes, asf: Asf, path: str) -> dict[str, Float[np.ndarray, "T D"]]:
    """Return each bone's values over time, angles in degrees.

    Raises:
        RecordingError: A frame is truncated, has other bones than the first one, or values that are not numbers.
    """
    words_of_lines = _lines(content)
    header = [words for words in words_of_lines if words[0][0] == ":"]
    lines = [words for words in words_of_lines if words[0][0] != ":"]
    starts = [position for position, words in enumerate(lines) if len(words) == 1 and words[0].isdigit()]
    if not starts or starts[0] != 0:
        raise damaged(path, "frames", "a line with only the frame number, then one line per bone", "no such line")
    numbers = [int(lines[start][0]) for start in starts]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise damaged(path, "frames", "consecutive frame numbers", f"a jump between {numbers[0]} and {numbers[-1]}")
    step = (starts[1] if len(starts) > 1 else len(lines)) - starts[0]
    layout = [(words[0], len(words) - 1) for words in lines[1:step]]
    for start, number in zip(starts, numbers, strict=True):
        if [(words[0], len(words) - 1) for words in lines[start + 1 : start + step]] != layout:
            raise damaged(path, f"frame {number}", "the bones and values of the first frame", "others, or fewer")
    return _by_bone(lines, layout, asf, path, degrees=_in_degrees(header, asf))


def _in_degrees(header: list[list[str]], asf: Asf) -> bool:
    keywords = {words[0] for words in header}
    if ":radians" in keywords:
        return False
    return asf.degrees or ":degrees" in keywords


def _lines(content: bytes) -> list[list[str]]:
    """Return the words of each non-empty line, in lower case."""
    text = _COMMENT.sub(b"", content.removeprefix(codecs.BOM_UTF8).translate(_WHITE)).decode("latin-1").lower()
    return [words for line in text.splitlines() if (words := line.split())]


def _sections(content: bytes) -> dict[str, list[list[str]]]:
    """Split ASF text at its ``:keyword`` lines into lines of words."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for words in _lines(content):
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:], [])
        elif words == ["end"]:
            current.append([])
        elif words[0] not in ("begin", "end"):
            current.append(words)
    return {
        name: lines if name == "bonedata" else [words for words in lines if words] for name, lines in sections.items()
    }


def _blocks(lines: list[list[str]]) -> Iterator[dict[str, list[str]]]:
    block: dict[str, list[str]] = {}
    for words in lines:
        if words:
            block[words[0]] = words[1:]
        else:
            yield block
            block = {}


def _bone(block: dict[str, list[str]], unit_m: float, *, degrees: bool) -> Bone:
    *angles, order = block["axis"]
    direction_3 = _vector("direction", block)
    return Bone(
        name=block["name"][0],
        step_3=direction_3 * float(block["length"][0]) * unit_m,
        direction_3=direction_3,
        axes_33=_axes(angles, order, degrees=degrees),
        freedoms=_freedoms(block.get("dof", [])),
    )


def _root_bone(root: dict[str, list[str]], unit_m: float, *, degrees: bool) -> Bone:
    return Bone(
        name="root",
        step_3=_vector("position", root) * unit_m if "position" in root else np.zeros(3),
        direction_3=np.zeros(3),
        axes_33=_axes(root["orientation"], root["axis"][0], degrees=degrees),
        freedoms=_freedoms(root["order"]),
    )


def _vector(name: str, block: dict[str, list[str]]) -> Float[np.ndarray, "3"]:
    vector_3 = np.array([float(word) for word in block[name][:3]])
    if len(vector_3) < 3:
        raise ValueError(f"a {name} of {len(vector_3)} numbers")
    return vector_3


def _freedoms(words: list[str]) -> tuple[str, ...]:
    if unknown := sorted(set(words) - FREEDOMS):
        raise ValueError(f"degrees of freedom called {', '.join(unknown)}")
    return tuple(words)


def _axes(angles: list[str], order: str, *, degrees: bool) -> Float[np.ndarray, "3 3"]:
    """``1 2 3 XYZ`` turns about the fixed X first, then Y, then Z: Rz(3) · Ry(2) · Rx(1)."""
    angles_deg = np.array([float(angle) for angle in angles]) * (1.0 if degrees else np.rad2deg(1))
    return euler_rotation(order.upper()[::-1], angles_deg[::-1])


def _parents_first(bones: list[Bone], parent_of: dict[str, str]) -> list[Bone]:
    named = {bone.name: bone for bone in bones}
    ordered: dict[str, Bone] = {"root": named["root"]}
    waiting = [bone for bone in bones if bone.name != "root"]
    while waiting:
        ready = [bone for bone in waiting if parent_of[bone.name] in ordered]
        if not ready:
            raise ValueError(f"bones {[bone.name for bone in waiting]} are not connected to the root")
        ordered |= {bone.name: bone for bone in ready}
        waiting = [bone for bone in waiting if bone.name not in ordered]
    return list(ordered.values())


def _by_bone(
    lines: list[list[str]], layout: list[tuple[str, int]], asf: Asf, path: str, *, degrees: bool
) -> dict[str, Float[np.ndarray, "T D"]]:
    """Split the frames, which all have the same lines, into one array per bone."""
    num_freedoms = {bone.name: len(bone.freedoms) for bone in asf.bones}
    for name, count in layout:
        if num_freedoms.get(name) != count:
            expected = f"{num_freedoms.get(name, 'no such bone')} values, as the skeleton says"
            raise damaged(path, f"bone {name}", expected, f"{count} values")
    if "root" not in dict(layout):
        raise damaged(path, "frames", "a line for the root", "none")
    try:
        numbers = parse_numbers(" ".join([word for words in lines for word in words[1:]]).encode("latin-1"))
    except ValueError as error:
        raise damaged(path, "frames", "numbers", str(error)) from error
    values_TK = numbers.reshape(-1, sum(count for _, count in layout))
    ends = np.cumsum([count for _, count in layout])
    angle_scale = 1.0 if degrees else np.rad2deg(1)
    values = dict(zip(dict(layout), np.split(values_TK, ends[:-1], axis=1), strict=True))
    scale = {bone.name: [angle_scale if freedom[0] == "r" else 1.0 for freedom in bone.freedoms] for bone in asf.bones}
    return {name: values_TD * scale[name] for name, values_TD in values.items()}
