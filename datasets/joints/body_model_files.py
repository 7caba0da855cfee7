"""Find, read and check the published files of the body models SMPL, SMPL+H and SMPL-X.

The models may not be redistributed, so users download them and set ``MOTION_BODY_MODELS`` to their folder (or any
fsspec URL), on every node of a cluster; the folder is listed once per process. Files are recognised by their names,
``.npz`` before ``.pkl``. The pickles contain matrices of SciPy and arrays of Chumpy, which is no longer maintained;
they are read without these libraries and without running code.

Shapes: V vertices, N joints of the model, B shape coefficients.
"""

import io
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from datasets.containers import pickles
from datasets.containers.npz import open_npz
from datasets.files import list_files, read_bytes
from datasets.joints.body_models import BodyModel
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

FOLDER_VARIABLE = "MOTION_BODY_MODELS"
REGRESSOR_FILE = "J_regressor_h36m_correct.npy"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of the three models: the names of its files, and where to get them."""

    name: str
    num_joints: int
    pattern: str
    """Patterns for the path in lower case; ``GENDER`` and ``G`` stand for the gender and its first letter."""
    example: str
    url: str


FAMILIES = {
    "smpl": Family(
        name="SMPL",
        num_joints=24,
        pattern=r"/(smpl_GENDER|smpl/GENDER/model|basicmodel_(G|GENDER)_lbs_10_207_0_v[\d.]+)\.(npz|pkl)$",
        example="SMPL_MALE.pkl or basicmodel_m_lbs_10_207_0_v1.1.0.pkl",
        url="https://smpl.is.tue.mpg.de (SMPL for Python, version 1.1.0)",
    ),
    "smplh": Family(
        name="SMPL+H",
        num_joints=52,
        pattern=r"/(smplh_GENDER|smplh/GENDER/model)\.(npz|pkl)$",
        example="smplh/male/model.npz",
        url="https://mano.is.tue.mpg.de (Extended SMPL+H model, used in AMASS)",
    ),
    "smplx": Family(
        name="SMPL-X",
        num_joints=55,
        pattern=r"/(smplx_GENDER|smplx/GENDER/model)\.(npz|pkl)$",
        example="SMPLX_MALE.npz",
        url="https://smpl-x.is.tue.mpg.de (SMPL-X with locked head, as AMASS uses it)",
    ),
}
_LETTER = {"male": "m", "female": "f", "neutral": "neutral"}


def find_body_model(family: str, gender: str, path: str) -> str:
    """Return the file of a model; ``path`` is the recording that needs it.

    Raises:
        RecordingError: There is none; the message says what to download, and from where.
    """
    wanted = FAMILIES[family]
    gendered = wanted.pattern.replace("GENDER", gender).replace("(G|", f"({_LETTER[gender]}|")
    folder = os.environ.get(FOLDER_VARIABLE, "")
    fitting = [model for model in _model_files(folder) if re.search(gendered, "/" + model.lower())]
    if fitting:
        return min(fitting, key=lambda model: (model.lower().endswith(".pkl"), model))
    raise RecordingError(
        path,
        where="body model",
        expected=f"the {gender} {wanted.name} model (such as {wanted.example}) in the folder of {FOLDER_VARIABLE}",
        found=f"no such file below {folder}" if folder else "the variable is not set",
        fix=f"Register at {wanted.url}, unpack the model, and set {FOLDER_VARIABLE} to its folder on every node.",
    )


def find_regressor() -> str | None:
    """Return the file of the regressor that the published preparation uses, if the user has it."""
    return next((path for path in _model_files(os.environ.get(FOLDER_VARIABLE, "")) if _is_regressor(path)), None)


@lru_cache(maxsize=4)
def load_body_model(path: str) -> BodyModel:
    """Read a model; the last four stay in memory, at most 100 MB each.

    Raises:
        RecordingError: The file is not one of the three models, or it is damaged.
    """
    raw = _raw_npz(path) if path.lower().endswith(".npz") else _raw_pickle(path)
    num_vertices, num_joints = len(raw["v_template"]), raw["kintree_table"].shape[-1]
    if num_joints not in {family.num_joints for family in FAMILIES.values()}:
        raise _model_error(path, "kintree_table", "24, 52 or 55 joints", f"{num_joints}")
    num_shapes = _num_shapes(raw["shapedirs"], num_joints)
    shapes = {
        "v_template": (num_vertices, 3),
        "shapedirs": (num_vertices, 3, raw["shapedirs"].shape[-1]),
        "posedirs": (num_vertices, 3, 9 * (num_joints - 1)),
        "J_regressor": (num_joints, num_vertices),
        "kintree_table": (2, num_joints),
        "weights": (num_vertices, num_joints),
    }
    for name, shape in shapes.items():
        if raw[name].shape != shape or not (np.abs(raw[name]) < 2**33).all():
            raise _model_error(
                path, name, f"finite numbers of shape {shape}", f"{raw[name].shape}, or numbers that are not finite"
            )
    shapes_V3B = raw["shapedirs"][..., :num_shapes]
    return BodyModel(
        path=path,
        parents=_parents(raw["kintree_table"][0], path),
        joints_N3=raw["J_regressor"] @ raw["v_template"],
        joint_shapes_N3B=np.tensordot(raw["J_regressor"], shapes_V3B, axes=1),
        template_V3=raw["v_template"].astype(np.float32),
        shapes_V3B=shapes_V3B.astype(np.float32),
        poses_V3P=raw["posedirs"].astype(np.float32),
        weights_VN=raw["weights"].astype(np.float32),
    )


@lru_cache(maxsize=1)
def load_regressor(path: str) -> Float[np.ndarray, "17 V"]:
    """Read a regressor of the seventeen joints of Human3.6M from vertices, rows in the canonical order.

    Raises:
        RecordingError: The file is not a regressor.
    """
    try:
        regressor = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        regressor_KV = np.asarray(regressor, np.float64)
    except (ValueError, EOFError, TypeError) as error:
        raise _model_error(path, "regressor", "an array of numbers", str(error)) from error
    if regressor_KV.ndim != 2 or len(regressor_KV) != 17 or not (np.abs(regressor_KV) < 2**33).all():
        raise _model_error(path, "regressor", "17 rows of finite numbers", f"shape {regressor_KV.shape}")
    return regressor_KV


@lru_cache(maxsize=4)
def _model_files(folder: str) -> tuple[str, ...]:
    if not folder:
        return ()
    try:
        files = list_files(folder)
    except ValueError as error:
        fix = f"Set {FOLDER_VARIABLE} to the folder of the body models."
        raise RecordingError(folder, where=FOLDER_VARIABLE, expected="a folder", found=str(error), fix=fix) from error
    return tuple(
        file.path for file in files if file.path.lower().endswith((".npz", ".pkl")) or _is_regressor(file.path)
    )


def _is_regressor(path: str) -> bool:
    return path.rpartition("/")[2] == REGRESSOR_FILE


_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")


def _raw_npz(path: str) -> dict[str, np.ndarray]:
    with open_npz(path) as archive:
        return {name: _numbers(archive.array(name), name, path) for name in _NEEDED}


def _raw_pickle(path: str) -> dict[str, np.ndarray]:
    content = pickles.load(path)
    if not isinstance(content, dict) or not set(_NEEDED) <= set(content):
        found = ", ".join(map(str, list(content)[:20])) if isinstance(content, dict) else type(content).__name__
        raise _model_error(path, "pickle", f"a dictionary with {', '.join(_NEEDED)}", found)
    return {name: _numbers(content[name], name, path) for name in _NEEDED}


def _numbers(value: Any, name: str, path: str) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(_plain(value), dtype=np.float64))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _model_error(path, name, "an array of numbers", str(error)[:200]) from error


def _plain(value: Any) -> Any:
    """Build the array from the attributes of a sparse matrix of SciPy or an array of Chumpy."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        return _plain(value.item())
    if not isinstance(value, dict):
        return value
    if "x" in value:
        return _plain(value["x"])
    if "idxs" in value:  # a selection from another array
        return np.asarray(_plain(value["a"])).ravel()[value["idxs"]].reshape(value["preferred_shape"])
    shape = value["_shape"]
    kind = csc_matrix if len(value["indptr"]) == shape[1] + 1 else csr_matrix
    matrix = kind((value["data"], value["indices"], value["indptr"]), shape=shape)
    matrix.check_format(full_check=True)  # otherwise a wrong index writes outside the array
    return matrix.toarray()


def _num_shapes(shapedirs: np.ndarray, num_joints: int) -> int:
    """Number of shape coefficients; SMPL-X has expressions after them: 300 and 100, at first 10 and 10."""
    columns = shapedirs.shape[-1]
    if num_joints != FAMILIES["smplx"].num_joints:
        return columns
    return 300 if columns >= 400 else min(10, columns)


def _parents(row_N: np.ndarray, path: str) -> tuple[int, ...]:
    """Parents of the joints; the root's is written as -1, which in unsigned files is 4294967295."""
    parents = (-1, *(int(parent) for parent in row_N[1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise _model_error(path, "kintree_table", "parents before their children", f"{parents}")
    return parents


def _model_error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the model again.")
