"""Body models with few vertices whose every answer is known, and AMASS takes of them, written as the real files are."""

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix

from motion_encoder.skeletons import H36M17

WIDTHS = {"smpl": 72, "smplh": 156, "smplx": 165}
UPRIGHT = (np.pi / 2, 0, 0)
"""The quarter turn about x that makes a model stand with Z up, as AMASS has it."""
NUM_JOINTS = {"smpl": 24, "smplh": 52, "smplx": 55}
# Parent and place at rest, metres; the left side is at +x, the body looks to +z.
BODY = {
    "pelvis": (None, (0, 0, 0)), "left_hip": ("pelvis", (0.1, -0.1, 0)), "right_hip": ("pelvis", (-0.1, -0.1, 0)),
    "spine1": ("pelvis", (0, 0.1, 0)), "left_knee": ("left_hip", (0.1, -0.5, 0)),
    "right_knee": ("right_hip", (-0.1, -0.5, 0)), "spine2": ("spine1", (0, 0.2, 0)),
    "left_ankle": ("left_knee", (0.1, -0.9, 0)), "right_ankle": ("right_knee", (-0.1, -0.9, 0)),
    "spine3": ("spine2", (0, 0.3, 0)), "left_foot": ("left_ankle", (0.1, -0.95, 0.1)),
    "right_foot": ("right_ankle", (-0.1, -0.95, 0.1)), "neck": ("spine3", (0, 0.5, 0)),
    "left_collar": ("spine3", (0.1, 0.45, 0)), "right_collar": ("spine3", (-0.1, 0.45, 0)),
    "head": ("neck", (0, 0.6, 0)), "left_shoulder": ("left_collar", (0.2, 0.45, 0)),
    "right_shoulder": ("right_collar", (-0.2, 0.45, 0)), "left_elbow": ("left_shoulder", (0.5, 0.45, 0)),
    "right_elbow": ("right_shoulder", (-0.5, 0.45, 0)), "left_wrist": ("left_elbow", (0.75, 0.45, 0)),
    "right_wrist": ("right_elbow", (-0.75, 0.45, 0)),
}  # fmt: skip
NAMES = tuple(BODY)
HEAD_TOP = (0.0, 0.8, 0.0)
SOFT = (0.5, 0.55, 0.0)
"""A vertex above the left elbow that hangs half on the upper arm and half on the forearm."""


def raw_model(family: str = "smplh", num_betas: int = 16) -> dict[str, np.ndarray]:
    """Vertex j sits on joint j and moves with it; then the head's top, on the head; then the soft vertex.

    Betas: 0 makes everything a tenth larger, 1 lifts the left wrist by 10 cm; others do nothing. Pose blend shape: the
    soft vertex moves along z by 0.2 m times entry (0, 1) of the left elbow's rotation.
    """
    count = NUM_JOINTS[family]
    parents = [NAMES.index(parent) if parent else 2**32 - 1 for parent, _ in BODY.values()]
    parents += [20] * (count - len(NAMES))  # hands (and the face) on the left wrist: where is of no account
    places = [place for _, place in BODY.values()] + [(0.8, 0.45, 0.0)] * (count - len(NAMES))
    template = np.array([*places, HEAD_TOP, SOFT], dtype=np.float64)
    weights = np.zeros((count + 2, count))
    weights[np.arange(count), np.arange(count)] = 1
    weights[count, NAMES.index("head")] = 1
    weights[count + 1, [NAMES.index("left_shoulder"), NAMES.index("left_elbow")]] = 0.5
    shapes = np.zeros((count + 2, 3, num_betas))
    shapes[..., 0] = 0.1 * template
    shapes[NAMES.index("left_wrist"), 1, 1] = 0.1
    poses = np.zeros((count + 2, 3, 9 * (count - 1)))
    poses[count + 1, 2, 9 * (NAMES.index("left_elbow") - 1) + 1] = 0.2
    return {
        "v_template": template,
        "shapedirs": shapes,
        "posedirs": poses,
        "J_regressor": np.eye(count, count + 2),
        "kintree_table": np.array([parents, range(count)], dtype=np.uint32),
        "weights": weights,
        "f": np.zeros((1, 3), np.uint32),
    }


def write_npz(path: Path, raw: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **raw)


def write_pickle(path: Path, raw: dict[str, Any], protocol: int = 2, sparse: Any = None) -> None:
    """As SMPL's makers do: a sparse regressor, shapes selected out of a Chumpy array, and entries of no account."""
    modules = {name: ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    array_kind: Any = type("Ch", (), {"__module__": "chumpy.ch"})
    select_kind: Any = type("Select", (), {"__module__": "chumpy.reordering"})
    modules["chumpy.ch"].Ch = array_kind  # type: ignore[attr-defined]
    modules["chumpy.reordering"].Select = select_kind  # type: ignore[attr-defined]
    whole, selected, weights = array_kind(), select_kind(), array_kind()
    shapes = raw["shapedirs"]
    whole.x = np.concatenate([shapes, np.full_like(shapes, 99)], axis=-1)  # twice as many as are selected
    columns = np.arange(shapes.shape[-1]) + 2 * shapes.shape[-1] * np.arange(shapes.size // shapes.shape[-1])[:, None]
    selected.a, selected.idxs, selected.preferred_shape = whole, columns.ravel(), shapes.shape
    weights.x = raw["weights"]
    content = raw | {
        "J_regressor": csc_matrix(raw["J_regressor"]) if sparse is None else sparse,
        "shapedirs": selected,
        "weights": weights,
        "bs_type": "lrotmin",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.modules.update(modules)
    try:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        for name in modules:
            del sys.modules[name]


def published_regressor(vertices: int) -> np.ndarray:
    """Each joint from one vertex, but for the root: half the pelvis, half the soft vertex."""
    regressor = np.zeros((17, vertices))
    own = {"belly": "spine1", "neck": "spine3", "nose": "neck", "head": "head"}
    for joint in H36M17.joints[1:]:
        long = {"l": "left_", "r": "right_"}.get(joint[0], "") + joint[1:]
        regressor[H36M17.index(joint), NAMES.index(own.get(joint, long))] = 1
    regressor[0, [0, vertices - 1]] = 0.5
    return regressor


def take(frames=2, family="smplh", **other) -> dict:
    """A body that stands upright, Z up, in the arrays of the first generation."""
    poses = np.zeros((frames, WIDTHS[family]))
    poses[:, :3] = UPRIGHT
    arrays = {
        "trans": np.zeros((frames, 3)), "gender": np.array("male"), "mocap_framerate": np.array(120.0),
        "betas": np.zeros(16), "dmpls": np.zeros((frames, 8)), "poses": poses,
    }  # fmt: skip
    return {name: value for name, value in (arrays | other).items() if value is not None}


def second_generation(arrays: dict, family="smplx") -> dict:
    renamed = {("mocap_frame_rate" if name == "mocap_framerate" else name): value for name, value in arrays.items()}
    poses = arrays["poses"]
    parts = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, -90:]}
    return renamed | parts | {"surface_model_type": np.array(family), "num_betas": np.array(16)}
