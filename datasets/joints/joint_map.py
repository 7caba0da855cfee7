"""``joint_map.json``: the user's mapping from joints of a BVH rig, or markers of a C3D file, to the canonical joints.

The file is in the folder of the recordings, or in one above; the nearest one is used, and it takes precedence over the
built-in tables and rules. Its three keys are optional, but at least one is required. Joints that are not listed in
``joints`` are absent. For example::

    {
      "joints": {"root": "pelvis", "neck": "spine_07", "head": "skull/end", "lhip": "leg_a_01", "rhip": "leg_b_01"},
      "unit_m": 0.01,
      "up": "+Z"
    }

``joints`` maps canonical names to names of the file (``NAME/end`` is the end site below NAME), or to a list of names
whose mean position is the joint: ``"lknee": ["LKneeOut", "LKneeIn"]``. ``unit_m``, metres per unit, and ``up``, the
axis that points up, are found from the body where they are left out.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from datasets.files import read_bytes
from datasets.joints.up_axis import AXES
from datasets.sequences import RecordingError
from motion_encoder.skeletons import H36M17

NAME = "joint_map.json"


@dataclass(frozen=True, kw_only=True)
class JointMap:
    """The content of a ``joint_map.json``."""

    path: str
    joints: Mapping[str, tuple[str, ...]]
    """Canonical joint to the joints or markers whose mean position it is; empty if the map has no ``joints``."""
    unit_m: float | None
    up: str | None

    def names(self) -> frozenset[str]:
        """Return all joint or marker names that the map expects in a file."""
        return frozenset(name for names in self.joints.values() for name in names)

    def table(self, names: Collection[str], path: str) -> dict[str, str | Mapping[str, float]]:
        """Return the table from canonical joints to those of a file with these joint names.

        Raises:
            RecordingError: The map names joints that the file lacks, or the same joint twice.
        """
        if missing := {joint: _shown(wanted) for joint, wanted in self.joints.items() if not set(wanted) <= set(names)}:
            expected = f"names of {path}, which has {', '.join(names)}"
            fix = "Correct the map, or put it beside its own files."
            raise _error(self.path, expected, f"not in it: {missing}", fix)
        if len(set(self.joints.values())) < len(self.joints):
            said = {joint: _shown(wanted) for joint, wanted in self.joints.items()}
            raise _error(self.path, "another joint of the file for each", f"one named twice in {said}", "Correct it.")
        return {
            joint: wanted[0] if len(wanted) == 1 else dict.fromkeys(wanted, 1 / len(wanted))
            for joint, wanted in self.joints.items()
        }


def nearest_map(path: str, maps: Sequence[str]) -> tuple[str, ...]:
    """Return the map in the folder of ``path``, else in the nearest folder above; empty if there is none."""
    by_folder = {PurePosixPath(each).parent: each for each in maps}
    return next(((by_folder[folder],) for folder in PurePosixPath(path).parents if folder in by_folder), ())


def read_map(path: str) -> JointMap:
    """Read a map.

    Raises:
        RecordingError: It is not valid JSON, has unknown keys, or has joints without a root.
    """
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise _error(path, "JSON", str(error), "Correct the file.") from error
    if not isinstance(content, dict) or not content:
        raise _error(path, 'an object with "joints", "unit_m" or "up"', "none", "Add one of them.")
    if unknown := sorted(set(content) - {"joints", "unit_m", "up"}):
        raise _error(path, "joints, unit_m and up only", f"{unknown}", "Correct the names.")
    return JointMap(
        path=path,
        joints=_joints(content["joints"], path) if "joints" in content else {},
        unit_m=_unit(content.get("unit_m"), path),
        up=_up(content.get("up"), path),
    )


def _joints(joints: object, path: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(joints, dict):
        raise _error(
            path, 'an object with "joints": {canonical name: name in the file}', "something else", "Correct it."
        )
    if unknown := sorted(set(joints) - set(H36M17.joints)):
        raise _error(path, f"joints of {', '.join(H36M17.joints)}", f"{unknown}", "Correct the names.")
    if "root" not in joints:
        raise _error(path, "a joint for root", f"only {sorted(joints)}", "Add it.")
    return {joint: _names(said, joint, path) for joint, said in joints.items()}


def _names(said: object, joint: str, path: str) -> tuple[str, ...]:
    """Prefixes such as ``mixamorig:`` are optional in the map; they were removed from the names of the file."""
    names = said if isinstance(said, list) else [said]
    texts = [name.rpartition(":")[2] if isinstance(name, str) else repr(name) for name in names]
    if not texts or len(set(texts)) < len(texts):
        raise _error(path, f"a name, or a list of different names, for {joint}", repr(said), "Correct it.")
    return tuple(texts)


def _shown(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def _unit(unit_m: object, path: str) -> float | None:
    if unit_m is None:
        return None
    if isinstance(unit_m, bool) or not isinstance(unit_m, int | float) or not (math.isfinite(unit_m) and unit_m > 0):
        raise _error(path, "unit_m: metres per unit, above 0", repr(unit_m), "For centimetres write 0.01.")
    return float(unit_m)


def _up(up: object, path: str) -> str | None:
    if up is None or up in AXES:
        return up if isinstance(up, str) else None
    raise _error(path, f"up: one of {', '.join(AXES)}", repr(up), "Correct it, or leave it out.")


def _error(path: str, expected: str, found: str, fix: str) -> RecordingError:
    return RecordingError(path, where="joint map", expected=expected, found=found, fix=fix)
