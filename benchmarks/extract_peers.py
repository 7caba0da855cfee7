"""Compare our readers with other libraries that do the same work, and check that the results agree.

Every peer can be installed by name and is imported only when it is measured; the project needs none of them. Both sides
get the path of a file and return the same numbers, which are compared before timing.

Shapes: T frames, N joints or markers.
"""

import importlib
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Spread, interleave
from datasets.containers import pickles
from datasets.containers.json_stream import stream
from datasets.files import read_bytes
from datasets.readers.mocap.amc_file import parse_amc, parse_asf
from datasets.readers.mocap.bvh import node_positions
from datasets.readers.mocap.bvh_file import Hierarchy, parse_bvh
from datasets.readers.mocap.c3d_file import parse_c3d
from datasets.sequences import Recording

Read = Callable[[Recording], Any]

TOLERANCE = 1e-3
"""Largest difference in the file's unit: peers compute in float32, or parse text less exactly."""
_MODULES = {"asfamc-parser": "asfamcparser"}
"""Import names of peers, if they differ from the names for installation."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two ways to do the same work; both return the same array, or the same data."""

    peer: str
    """The peer's name for installation, or a module of Python itself."""
    reader: str
    """The format of the recordings."""
    work: str
    theirs: Read
    ours: Read
    alike: Callable[[Any], Any] = lambda result: result
    """Converts our result to the form of theirs for the comparison; not timed."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The result of a comparison: frames per second, and our speed relative to the peer's, in alternating runs."""

    work: str
    peer: str
    frames: int
    theirs: Spread
    ours: Spread
    ratio: Spread
    largest_difference: float


def install_hint(peer: str) -> str:
    """Return how to install a missing peer."""
    return f"{peer} is not installed: pip install --target DIR {peer}, then --peers-at DIR"


def is_installed(peer: str, peers_at: Path | None) -> bool:
    """Tell whether a peer can be imported."""
    add_to_path(peers_at)
    return find_spec(_MODULES.get(peer, peer)) is not None


def add_to_path(peers_at: Path | None) -> None:
    """Let peers be imported from a folder; the project's own packages take precedence."""
    if peers_at and str(peers_at) not in sys.path:
        sys.path.append(str(peers_at))
        importlib.invalidate_caches()


def compare(number: int, recording: Recording, frames: int, peers_at: Path | None, seconds: float) -> Compared:
    """Check that both sides of comparison ``number`` agree, then run them alternately. Runs in a new process.

    Raises:
        ValueError: The results do not agree.
    """
    add_to_path(peers_at)
    comparison = COMPARISONS[number]
    difference = largest_difference(comparison.theirs(recording), comparison.alike(comparison.ours(recording)))
    if not difference <= TOLERANCE:
        raise ValueError(f"{recording.path}: expected what {comparison.peer} reads, found a difference of {difference}")
    steps = {"theirs": lambda: comparison.theirs(recording), "ours": lambda: comparison.ours(recording)}
    times = interleave(steps, device="cpu", seconds=seconds, at_least=5)
    pairs = zip(times["theirs"], times["ours"], strict=True)
    return Compared(
        work=comparison.work,
        peer=f"{comparison.peer} {_version(comparison.peer)}",
        frames=frames,
        theirs=Spread.of([frames / each for each in times["theirs"]]),
        ours=Spread.of([frames / each for each in times["ours"]]),
        ratio=Spread.of([theirs / ours for theirs, ours in pairs]),
        largest_difference=difference,
    )


def largest_difference(theirs: Any, ours: Any) -> float:
    """Return the largest difference between two results: of arrays, of lists of them, or 0 for equal data."""
    if isinstance(ours, list) and ours and isinstance(ours[0], np.ndarray):
        if len(theirs) != len(ours):
            return float("inf")
        return max(largest_difference(*pair) for pair in zip(theirs, ours, strict=True))
    if isinstance(ours, np.ndarray):
        same_shape = np.shape(theirs) == ours.shape
        return float(np.abs(np.asarray(theirs, np.float64) - ours).max()) if same_shape else float("inf")
    return 0.0 if theirs == ours else float("inf")


def _version(peer: str) -> str:
    try:
        return version(peer)
    except PackageNotFoundError:
        return f"of Python {sys.version_info.major}.{sys.version_info.minor}"


def _bvhio_positions(recording: Recording) -> np.ndarray:
    """Load each frame's pose and read the joints' world positions, as in bvhio's documentation."""
    import bvhio  # pyright: ignore[reportMissingImports]

    root = bvhio.readAsHierarchy(recording.path)
    joints = [joint for joint, _, _ in root.layout()]
    frames = range(len(root.Keyframes))
    return np.array([[tuple(joint.PositionWorld) for joint in joints] for _ in map(root.loadPose, frames)])


def _bvh_positions(recording: Recording) -> tuple[Hierarchy, np.ndarray]:
    bvh = parse_bvh(read_bytes(recording.path), recording.path)
    return bvh.hierarchy, node_positions(bvh.hierarchy, bvh.motion_TK)


def _joints_alone(result: tuple[Hierarchy, np.ndarray]) -> np.ndarray:
    """Leave out the end sites, whose positions bvhio does not compute."""
    hierarchy, positions_TN3 = result
    return positions_TN3[:, [not name.endswith("/end") for name in hierarchy.names]]


def _bvhio_parse(recording: Recording) -> np.ndarray:
    """Positions of the root, for the comparison; bvhio's rotations are quaternions."""
    import bvhio  # pyright: ignore[reportMissingImports]

    return np.array([tuple(key.Position) for key in bvhio.readAsBvh(recording.path).Root.Keyframes])


def _bvh_parse(recording: Recording) -> np.ndarray:
    import bvh  # pyright: ignore[reportMissingImports]

    return np.array(bvh.Bvh(Path(recording.path).read_text()).frames, dtype=np.float64)


def _bvh_values(recording: Recording) -> np.ndarray:
    return parse_bvh(read_bytes(recording.path), recording.path).motion_TK


def _asfamc_parse(recording: Recording) -> np.ndarray:
    import asfamcparser  # pyright: ignore[reportMissingImports]

    return np.array([frame["root"] for frame in asfamcparser.ParseAMC(recording.path).amc])


def _amc_values(recording: Recording) -> np.ndarray:
    [asf_path] = recording.companions
    return parse_amc(read_bytes(recording.path), parse_asf(read_bytes(asf_path), asf_path), recording.path)["root"]


def _ezc3d_points(recording: Recording) -> np.ndarray:
    import ezc3d  # pyright: ignore[reportMissingImports]

    return np.nan_to_num(ezc3d.c3d(recording.path)["data"]["points"][:3].transpose(2, 1, 0))


def _c3d_points(recording: Recording) -> np.ndarray:
    return parse_c3d(read_bytes(recording.path), recording.path).points_TP3


def _json_load(recording: Recording) -> list[Any]:
    return json.loads(Path(recording.path).read_bytes())


def _json_stream(recording: Recording) -> list[Any]:
    return [part for _, part in stream(recording.path)]


def _pickle_load(recording: Recording) -> list[np.ndarray]:
    content = pickle.loads(_written_anew(recording.path))  # noqa: S301
    return [each["keypoint"] for each in content["annotations"]]


@lru_cache(maxsize=1)
def _written_anew(path: str) -> bytes:
    """The same data as our own pickle, since a user's pickle is never run."""
    return pickle.dumps(pickles.load(path))


def _pickles_load(recording: Recording) -> list[np.ndarray]:
    return [each["keypoint"] for each in pickles.load(recording.path)["annotations"]]


COMPARISONS = (
    Comparison(
        peer="bvhio",
        reader="bvh",
        work="BVH file to world joint positions",
        theirs=_bvhio_positions,
        ours=_bvh_positions,
        alike=_joints_alone,
    ),
    Comparison(
        peer="bvhio",
        reader="bvh",
        work="BVH, bare parse",
        theirs=_bvhio_parse,
        ours=_bvh_values,
        alike=lambda motion_TK: motion_TK[:, :3],
    ),
    Comparison(peer="bvh", reader="bvh", work="BVH, bare parse", theirs=_bvh_parse, ours=_bvh_values),
    Comparison(peer="asfamc-parser", reader="amc", work="AMC, bare parse", theirs=_asfamc_parse, ours=_amc_values),
    Comparison(peer="ezc3d", reader="c3d", work="C3D file to points", theirs=_ezc3d_points, ours=_c3d_points),
    Comparison(
        peer="json",
        reader="alphapose",
        work="JSON to objects (ours part by part, in flat memory)",
        theirs=_json_load,
        ours=_json_stream,
    ),
    Comparison(
        peer="pickle",
        reader="pyskl",
        work="pickle to arrays (ours runs nothing)",
        theirs=_pickle_load,
        ours=_pickles_load,
    ),
)
PEERS = tuple(dict.fromkeys(each.peer for each in COMPARISONS))
