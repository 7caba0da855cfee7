"""``joint_map.json``: the user says which joint of a BVH rig is which of the canonical seventeen.

The file lies in the folder of the recordings, or in one above; the nearest counts, and it goes before every table and
rule of ours. Joints that it leaves out are absent. Example::

    {
      "joints": {"root": "pelvis", "neck": "spine_07", "head": "skull/end", "lhip": "leg_a_01", "rhip": "leg_b_01"},
      "unit_m": 0.01,
      "up": "+Z"
    }

``joints`` maps canonical names to names of the file (``NAME/end`` is the end site below NAME). ``unit_m``, metres per
unit, and ``up``, the axis that points up, are optional: else both are found from the body.
"""

import json
import math
from collections.abc import Sequence
from pathlib import PurePosixPath

from datasets.files import read_bytes
from datasets.joints.rigs import Rig
from datasets.sequences import RecordingError
from motion_encoder.skeletons import H36M17

NAME = "joint_map.json"
UP_AXES = tuple(sign + axis for sign in "+-" for axis in "XYZ")


def nearest_map(path: str, maps: Sequence[str]) -> tuple[str, ...]:
    """Return the one of ``maps`` that lies in the folder of ``path``, else in the nearest one above, else none."""
    by_folder = {PurePosixPath(each).parent: each for each in maps}
    return next(((by_folder[folder],) for folder in PurePosixPath(path).parents if folder in by_folder), ())


def rig_from_map(map_path: str, names: Sequence[str], path: str) -> Rig:
    """Return the rig that the user's map gives to a file with joints of these names.

    Raises:
        RecordingError: The map is no such JSON, names joints that are none, or lacks the root.
    """
    try:
        content = json.loads(read_bytes(map_path))
    except (ValueError, RecursionError) as error:
        raise _error(map_path, "JSON", str(error), "Mend the file.") from error
    if not isinstance(content, dict) or not isinstance(content.get("joints"), dict):
        raise _error(map_path, 'an object with "joints": {canonical name: name in the file}', "none", "Add it.")
    if unknown := sorted(set(content) - {"joints", "unit_m", "up"}):
        raise _error(map_path, "joints, unit_m and up only", f"{unknown}", "Correct the names.")
    if unknown := sorted(set(content["joints"]) - set(H36M17.joints)):
        raise _error(map_path, f"joints of {', '.join(H36M17.joints)}", f"{unknown}", "Correct the names.")
    if "root" not in content["joints"]:
        raise _error(map_path, "a joint for root", f"only {sorted(content['joints'])}", "Add it.")
    return Rig(
        name=NAME,
        table=_table(content["joints"], names, map_path, path),
        unit_m=_unit(content.get("unit_m"), map_path),
        up=_up(content.get("up"), map_path),
    )


def _table(joints: dict[str, object], names: Sequence[str], map_path: str, path: str) -> dict[str, str]:
    """Prefixes such as ``mixamorig:`` may stand in the map or not; the names of the file have lost theirs."""
    table = {joint: name.rpartition(":")[2] if isinstance(name, str) else repr(name) for joint, name in joints.items()}
    if missing := {joint: name for joint, name in table.items() if name not in names}:
        expected = f"joints of {path}, which has {', '.join(names)}"
        raise _error(map_path, expected, f"not in it: {missing}", "Correct the map, or put it beside its own files.")
    if len(set(table.values())) < len(table):
        raise _error(map_path, "another joint of the file for each", f"one named twice in {table}", "Correct the map.")
    return table


def _unit(unit_m: object, map_path: str) -> float | None:
    if unit_m is None:
        return None
    if isinstance(unit_m, bool) or not isinstance(unit_m, int | float) or not (math.isfinite(unit_m) and unit_m > 0):
        raise _error(map_path, "unit_m: metres per unit, above 0", repr(unit_m), "For centimetres write 0.01.")
    return float(unit_m)


def _up(up: object, map_path: str) -> str | None:
    if up is None or up in UP_AXES:
        return up if isinstance(up, str) else None
    raise _error(map_path, f"up: one of {', '.join(UP_AXES)}", repr(up), "Correct it, or leave it out.")


def _error(path: str, expected: str, found: str, fix: str) -> RecordingError:
    return RecordingError(path, where="joint map", expected=expected, found=found, fix=fix)
