"""AMASS: many marker data sets in one form, each recording as the pose and shape parameters of a body model.

Mahmood et al., "AMASS: Archive of Motion Capture as Surface Shapes", ICCV 2019; https://amass.is.tue.mpg.de. There is
one ``.npz`` per recording, in two generations: ``NAME_poses.npz`` (SMPL+H; ``poses`` [T, 156], ``trans``, ``betas``,
``gender``, ``mocap_framerate``) and ``NAME_stageii.npz`` (SMPL-X; ``poses`` [T, 165] or its parts ``root_orient`` and
``pose_body``, ``mocap_frame_rate``, ``surface_model_type``); 72 columns are SMPL. ``dmpls`` (soft tissue) are not used:
GRAB and SOMA have none. ``gender`` may be bytes. Z is up.

Joints are computed from the body model, which the user has to download (``body_model_files``). With the published
regressor the 17 joints are weighted means of SMPL's or SMPL+H's vertices, as in the published preparation; without it,
and for SMPL-X, which has other vertices, they are the model's own joints, and the top of the head is the vertex that is
highest at rest.

The published preparation took every round(rate / 60)-th frame and assumed 60 Hz, which is wrong for 100 or 250 Hz; it
dropped 30 Hz and recordings without ``dmpls``, and cut the tails. This reader keeps the rate and all frames.

Trap: the second generation states 120 Hz for thousands of recordings that have the same number of frames in the first
generation, at 60 or 150 Hz: in TotalCapture, TCDHands and CMU/62 (nghorbani/amass issue 49, IDEA-Research/Motion-X
issue 43), and 120 Hz looks wrong in SSM too (issue 68). Without the file of the first generation, the rate cannot be
corrected: ``repairs`` says that it is doubtful. Use the first generation of those data sets.

Shapes: T frames, N joints of the body model, V vertices, B shape coefficients, J = 17 joints.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from datasets.containers.npz import Npz, open_npz
from datasets.files import head, url_to_fs
from datasets.joints.body_model_files import (
    FAMILIES,
    REGRESSOR_FILE,
    Family,
    find_body_model,
    find_regressor,
    load_body_model,
    load_regressor,
)
from datasets.joints.body_models import BodyModel, pose_joints, regress_joints
from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.tables import SMPL22_AND_TOP_TO_H36M17, SMPL22_JOINTS
from datasets.sequences import File, MotionSequence, Recording, Source, damaged
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

SOURCE = Source(
    name="amass",
    kind="mocap",
    licence=(
        "AMASS: non-commercial scientific research only (https://amass.is.tue.mpg.de/license.html); each data set in "
        "it (the second part of the subject) keeps its own terms and citation, and so do the SMPL body models"
    ),
    url="https://amass.is.tue.mpg.de",
    test_subjects=frozenset(
        {
            # as is usual since VPoser (Pavlakos et al. 2019): Transitions and SSM are the test set
            "amass/transitions/mazen_c3d", "amass/ssm/20160330_03333", "amass/ssm/20160930_50032",
            "amass/ssm/20161014_50033",
            # the same people are held out of cmu and hdm05
            "amass/cmu/08", "amass/cmu/16", "amass/cmu/32", "amass/hdm05/dg",
        }
    ),
)  # fmt: skip
SOURCES = (SOURCE,)

TAIL = 16_384
"""Bytes at a file's end that contain the names of all arrays: about 1 kB in the published files."""
LARGEST = 1e4
"""Largest plausible length in metres, angle in radians or shape coefficient; squares of larger values may overflow."""
_ONE_NAME = {
    "biomotionlab_ntroje": "bmlrub", "dfaust_67": "dfaust", "mpi_hdm05": "hdm05", "mpi_limits": "poseprior",
    "mpi_mosh": "mosh", "ssm_synced": "ssm", "tcd_handmocap": "tcdhands", "transitions_mocap": "transitions",
}  # fmt: skip
"""Data sets whose names differ between the generations: a person must be the same subject in both."""
DOUBTFUL = ("amass/totalcapture/", "amass/tcdhands/", "amass/cmu/62/", "amass/ssm/")
DOUBTFUL_HZ = 120.0


class AmassReader:
    """Reads AMASS recordings, and others in the same format."""

    name = "amass"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim archives with poses, trans, betas and a frame rate; files with only a shape are ignored."""
        return [
            Recording(path=file.path, reader=self.name, source=SOURCE, size=file.size)
            for file in files
            if file.path.lower().endswith(".npz") and _is_amass(file)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file."""
        take = read_take(recording.path)
        model = load_body_model(find_body_model(take.family, take.gender, recording.path))
        positions_TJ3, how = _joints(model, take)
        sequence_id, subject = identify(recording.path)
        yield MotionSequence(
            source=recording.source,
            sequence_id=sequence_id,
            subject=subject,
            fps=take.fps,
            keypoints_3d_TJC=(positions_TJ3 @ rotation_to_y_up(np.array([0.0, 0.0, 1.0])).T).astype(np.float32),
            confidence_TJ=np.ones(positions_TJ3.shape[:2], np.float32),
            repairs=(*take.repairs, *how),
        )


READER = AmassReader()


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """The content of one file."""

    family: str
    """Body model: ``smpl``, ``smplh`` or ``smplx``."""
    gender: str
    """Gender of the body model: ``male``, ``female`` or ``neutral``."""
    fps: float
    poses_TN3: Float[np.ndarray, "T N 3"]
    trans_T3: Float[np.ndarray, "T 3"]
    betas_B: Float[np.ndarray, "B"]
    repairs: tuple[str, ...]


def _doubts(path: str, rate_name: str, fps: float) -> tuple[str, ...]:
    """Known doubts about the rate that a file of the second generation states."""
    _, subject = identify(path)
    if rate_name != "mocap_frame_rate" or fps != DOUBTFUL_HZ or not f"{subject}/".startswith(DOUBTFUL):
        return ()
    why = "reported wrong in this data set's second generation, right in its first (nghorbani/amass issues 49 and 68)"
    return (f"stated frame rate of {fps:g} Hz is doubtful: {why}",)


def identify(path: str) -> tuple[str, str]:
    """Return sequence id and subject from a path DATA SET / SUBJECT / FILE."""
    parts = [part for part in PurePosixPath(path).with_suffix("").parts[-3:] if part != "/"]
    data_set, *people = [part.lower() for part in parts[:-1]] or ["unknown"]
    return "/".join(parts), "/".join(["amass", _ONE_NAME.get(data_set, data_set), *people])


def read_take(path: str) -> Take:
    """Read the parameters of one file.

    Raises:
        RecordingError: They violate the format.
    """
    with open_npz(path) as archive:
        trans_T3, poses_TK = _table(archive, "trans"), _poses(archive)
        family = _family(archive, poses_TK.shape[1])
        gender, repairs = _gender(archive)
        rate = next(
            (name for name in ("mocap_frame_rate", "mocap_framerate") if name in archive.names), "mocap_framerate"
        )
        fps = float(_numbers(archive, rate).flat[0])
        betas_B = _betas(archive)
    if trans_T3.shape != (len(poses_TK), 3) or len(poses_TK) == 0:
        expected = f"[T, 3] and poses of the same length, {len(poses_TK)}"
        raise damaged(path, "trans", expected, f"{list(trans_T3.shape)}")
    num_joints = FAMILIES[family].num_joints
    padding = ((0, 0), (0, 3 * num_joints - poses_TK.shape[1]))
    return Take(
        family=family,
        gender=gender,
        fps=fps,
        poses_TN3=np.pad(poses_TK, padding).reshape(-1, num_joints, 3),
        trans_T3=trans_T3,
        betas_B=betas_B,
        repairs=(*repairs, *_doubts(path, rate, fps)),
    )


def _is_amass(file: File) -> bool:
    if not head(file).startswith(b"PK\x03\x04"):
        return False
    filesystem, inner = url_to_fs(file.path)
    names = filesystem.cat_file(inner, start=max(0, file.size - TAIL), end=None)
    has_poses = b"poses.npy" in names or (b"root_orient.npy" in names and b"pose_body.npy" in names)
    has_rate = b"mocap_framerate.npy" in names or b"mocap_frame_rate.npy" in names
    return has_poses and has_rate and b"trans.npy" in names and b"betas.npy" in names


def _joints(model: BodyModel, take: Take) -> tuple[Float[np.ndarray, "T 17 3"], tuple[str, ...]]:
    """The canonical joints in the file's own axes, and a description of how they were computed."""
    family = FAMILIES[take.family]
    betas_B, cut = take.betas_B[: model.num_betas], take.betas_B[model.num_betas :]
    repairs = (f"{len(cut)} shape coefficients left out: the model has {model.num_betas}",) if cut.any() else ()
    motion = (take.poses_TN3, betas_B, take.trans_T3)
    regressor_path = None if family.name == "SMPL-X" else find_regressor()
    if regressor_path:
        regressor_JV = load_regressor(regressor_path)
        _check_sides(regressor_JV, model, regressor_path)
        return regress_joints(model, regressor_JV, *motion), (*repairs, f"joints regressed by {REGRESSOR_FILE}")
    top_1V = np.zeros((1, len(model.template_V3)))
    top_1V[0, model.template_V3[:, 1].argmax()] = 1
    joints_TN3 = pose_joints(model, *motion)[:, : len(SMPL22_JOINTS)]
    positions_TK3 = np.concatenate([joints_TN3, regress_joints(model, top_1V, *motion)], axis=1)
    return SMPL22_AND_TOP_TO_H36M17.positions(positions_TK3), (*repairs, _own_joints(family))


def _own_joints(family: Family) -> str:
    why = "other vertices than its" if family.name == "SMPL-X" else "not there"
    return f"{REGRESSOR_FILE} {why}: joints of the {family.name} skeleton, head top from the mesh"


def _check_sides(regressor_JV: Float[np.ndarray, "17 V"], model: BodyModel, path: str) -> None:
    """Check that the right leg is first: some published files of the regressor begin with the left one."""
    if regressor_JV.shape[1] != len(model.template_V3):
        found = f"{regressor_JV.shape[1]} (the model is {model.path})"
        raise damaged(path, "regressor", f"{len(model.template_V3)} columns", found)
    across_J = regressor_JV @ model.template_V3[:, 0]
    for left, right in H36M17.pairs:
        if across_J[H36M17.index(left)] <= across_J[H36M17.index(right)]:
            raise damaged(path, "regressor", "rows in the order of H36M-17, right leg first", f"{left} on the right")


def _poses(archive: Npz) -> Float[np.ndarray, "T K"]:
    """Rotation vectors of the joints in the model's order; without ``poses``, hands and face are omitted."""
    if "poses" in archive.names:
        return _table(archive, "poses")
    parts = [_table(archive, name) for name in ("root_orient", "pose_body")]
    if parts[0].shape != (len(parts[1]), 3) or parts[1].shape[1] != 63:
        found = f"{list(parts[0].shape)} and {list(parts[1].shape)}"
        raise damaged(archive.path, "root_orient and pose_body", "[T, 3] and [T, 63]", found)
    return np.concatenate(parts, axis=1)


def _family(archive: Npz, columns: int) -> str:
    widths = {3 * family.num_joints: name for name, family in FAMILIES.items()}
    stated = _word(archive, "surface_model_type")
    family = stated or widths.get(columns, "")
    fits = family in FAMILIES and (columns == 3 * FAMILIES[family].num_joints or "poses" not in archive.names)
    if not fits:
        expected = ", ".join(f"{width} columns for {name}" for width, name in widths.items())
        raise damaged(
            archive.path, "poses", expected, f"{columns} columns, surface_model_type {stated or 'not stated'}"
        )
    return family


def _gender(archive: Npz) -> tuple[str, tuple[str, ...]]:
    word = _word(archive, "gender")
    for gender in ("male", "female", "neutral"):
        if word and gender.startswith(word):
            return gender, ()
    return "neutral", (f"gender {word!r} stated: the neutral model stands in",)


def _word(archive: Npz, name: str) -> str:
    """A single string; some tools wrote bytes as text, with ``b'...'`` around them."""
    if name not in archive.names:
        return ""
    values = archive.array(name).ravel()
    word = values[0] if values.size else ""
    text = word.decode("latin-1") if isinstance(word, bytes) else str(word)
    return text.lower().removeprefix("b'").strip("' ")


def _betas(archive: Npz) -> Float[np.ndarray, "B"]:
    """The shape of the whole recording; one row per frame is accepted if all rows are equal."""
    betas = np.atleast_2d(_numbers(archive, "betas"))
    if betas.ndim != 2 or (betas != betas[:1]).any():
        raise damaged(archive.path, "betas", "one list, the same in all frames", f"several, {list(betas.shape)}")
    return betas[0]


def _table(archive: Npz, name: str) -> Float[np.ndarray, "T K"]:
    values = _numbers(archive, name)
    if values.ndim != 2:
        raise damaged(archive.path, name, "a row for each frame", f"shape {list(values.shape)}")
    return values


def _numbers(archive: Npz, name: str) -> np.ndarray:
    array = archive.array(name)
    if array.dtype.kind not in "fiuO" or array.size == 0:
        raise damaged(archive.path, name, "numbers", f"{array.size} values of type {array.dtype}")
    try:
        values = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise damaged(archive.path, name, "numbers", str(error)) from error
    if not (np.abs(values) < LARGEST).all():
        bad = values[~(np.abs(values) < LARGEST)][0]
        raise damaged(archive.path, name, f"finite numbers below {LARGEST:g}", f"{bad:g}")
    return values
