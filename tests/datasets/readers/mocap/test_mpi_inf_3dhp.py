"""MPI-INF-3DHP, laid out as its README says: SciPy writes the training files, h5py those of the test set."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from datasets.containers.hdf5 import read_arrays, shapes_in
from datasets.files import list_files
from datasets.quality.checks import check
from datasets.readers.mocap.mpi_inf_3dhp import MPI_INF_3DHP, READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import read_damaged

# mpii_get_joint_set.m, counted from 1 there and from 0 here.
NAMES_28: list[str] = [
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top", "left_clavicle", "left_shoulder",
    "left_elbow", "left_wrist", "left_hand", "right_clavicle", "right_shoulder", "right_elbow", "right_wrist",
    "right_hand", "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe", "right_hip", "right_knee",
    "right_ankle", "right_foot", "right_toe",
]  # fmt: skip
RELEVANT = [8, 6, 15, 16, 17, 10, 11, 12, 24, 25, 26, 19, 20, 21, 5, 4, 7]
BODY = {  # metres, Y up, facing +Z, so that the person's left is at +X
    "root": (0, 1, 0), "belly": (0, 1.25, 0), "neck": (0, 1.5, 0), "nose": (0, 1.6, 0.05), "head": (0, 1.75, 0),
    "lhip": (0.12, 1, 0), "lknee": (0.13, 0.55, 0.02), "lankle": (0.14, 0.1, 0),
    "rhip": (-0.12, 1, 0), "rknee": (-0.13, 0.55, 0.02), "rankle": (-0.14, 0.1, 0),
    "lshoulder": (0.18, 1.45, 0), "lelbow": (0.2, 1.2, 0), "lwrist": (0.21, 0.95, 0.03),
    "rshoulder": (-0.18, 1.45, 0), "relbow": (-0.2, 1.2, 0), "rwrist": (-0.21, 0.95, 0.03),
}  # fmt: skip
SIDED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
THEIRS: dict[str, str] = {
    **{"root": "pelvis", "belly": "spine", "neck": "neck", "nose": "head", "head": "head_top"},
    **{side[0] + part: f"{side}_{part}" for side in ("left", "right") for part in SIDED},
}
# World to camera: x_c = R x_w + t, millimetres. Camera 0 is level and looks along -Z, camera 7 from the side and above.
CAMERAS = {
    0: np.array([[1, 0, 0, 0], [0, -1, 0, 1000], [0, 0, -1, 4000], [0, 0, 0, 1.0]]),
    7: np.array([[0.8, 0, 0.6, 100], [-0.36, -0.8, 0.48, 900], [0.48, -0.6, -0.64, 3500], [0, 0, 0, 1.0]]),
}


def world(frames: int) -> np.ndarray:
    """The canonical joints, walking 1 cm a frame along +X: what must come out."""
    body_J3 = np.array([BODY[joint] for joint in H36M17.joints])
    return body_J3 + np.arange(frames)[:, None, None] * [0.01, 0, 0]


def all_28(frames: int) -> np.ndarray:
    """Their 28 joints in the world, millimetres; those that are not among the 17 lie far off."""
    world_TJ3 = world(frames)
    joints_TK3 = np.full((frames, 28, 3), 9e4)
    for joint, theirs in THEIRS.items():
        joints_TK3[:, NAMES_28.index(theirs)] = 1000 * world_TJ3[:, H36M17.index(joint)]
    return joints_TK3


def seen_by(extrinsic_44: np.ndarray, joints_TK3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the camera's frame, and pixels of a camera with f = 1500 and its centre at 1024."""
    camera_TK3 = np.einsum("cd,tkd->tkc", extrinsic_44[:3, :3], joints_TK3) + extrinsic_44[:3, 3]
    return camera_TK3, 1500 * camera_TK3[..., :2] / camera_TK3[..., 2:] + 1024


def cell(values: list) -> np.ndarray:
    array = np.empty((len(values), 1), object)
    for place, value in enumerate(values):
        array[place, 0] = value
    return array


def annotations(frames: int = 5, cameras: tuple[int, ...] = (0, 7), **changes: Any) -> dict[str, Any]:
    seen = [seen_by(CAMERAS[camera], all_28(frames)) for camera in cameras]
    positions = [camera_TK3.reshape(frames, 84) for camera_TK3, _ in seen]
    return {
        "annot2": cell([pixels_TK2.reshape(frames, 56) for _, pixels_TK2 in seen]),
        "annot3": cell(positions),
        "univ_annot3": cell([0.9 * each for each in positions]),
        "cameras": np.array([cameras]),
        "frames": np.arange(frames)[:, None],
    } | changes


def calibration(extrinsics: dict[int, np.ndarray] = CAMERAS) -> str:
    lines = ["Skeletool Camera Calibration File V1.0"]
    for name, extrinsic_44 in extrinsics.items():
        lines += [f"name          {name}", "  sensor      10 10", "  size        2048 2048", "  animated    0"]
        lines += ["  intrinsic   1500 0 1024 0 0 1500 1024 0 0 0 1 0 0 0 0 1 "]
        lines += ["  extrinsic   " + " ".join(f"{value:g}" for value in extrinsic_44.ravel()) + " ", "  radial      0"]
    return "\n".join(lines) + "\n"


def write_train(
    root: Path, values: dict[str, Any], *, name="S2/Seq1", cameras: str | None = None, compressed=True
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    savemat(folder / "annot.mat", values, do_compression=compressed)
    if cameras is not None:
        (folder / "camera.calibration").write_text(cameras)
    return folder / "annot.mat"


def as_matlab(content: bytes) -> bytes:
    """With the line that MATLAB writes into the 512 bytes before the HDF5 part."""
    return b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + content[128:]


def hdf5_file(fill: Any, *, libver: Any = "earliest") -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=512, libver=libver) as file:
        fill(file)
    return as_matlab(content.getvalue())


def holdout(frames: int = 6, *, chunked=True, **changes: Any) -> bytes:
    """Camera 0's view; frame 2 is not valid."""
    camera_TK3, pixels_TK2 = seen_by(CAMERAS[0], all_28(frames))
    relevant = np.array(RELEVANT) - 1
    valid = np.ones((frames, 1))
    valid[2] = 0
    values = {
        "annot2": pixels_TK2[:, None, relevant],
        "annot3": camera_TK3[:, None, relevant],
        "univ_annot3": 0.9 * camera_TK3[:, None, relevant],
        "valid_frame": valid,
        "activity_annotation": np.ones((frames, 1)),
    } | changes
    packing = {"chunks": True, "compression": "gzip"} if chunked else {}

    def fill(file: h5py.File) -> None:
        for name, value in values.items():
            file.create_dataset(name, data=value, **packing).attrs["MATLAB_class"] = np.bytes_("double")

    return hdf5_file(fill)


def write_test(root: Path, content: bytes, name="TS1") -> None:
    (root / name).mkdir(parents=True)
    (root / name / "annot_data.mat").write_bytes(content)


def read(root: Path) -> list[MotionSequence]:
    [recording] = READER.find(list_files(str(root)))
    return list(READER.read(recording))


def points(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


@pytest.mark.parametrize("compressed", [True, False])
def test_each_camera_gives_the_world_and_its_own_pixels(tmp_path, compressed):
    write_train(tmp_path, annotations(), cameras=calibration(), compressed=compressed)
    sequences = read(tmp_path)
    assert [each.sequence_id for each in sequences] == ["S2/Seq1/camera0", "S2/Seq1/camera7"]
    assert [each.view for each in sequences] == ["0", "7"]
    for sequence, extrinsic_44 in zip(sequences, CAMERAS.values(), strict=True):
        np.testing.assert_allclose(points(sequence), world(5), atol=1e-6)
        np.testing.assert_allclose(pixels(sequence), seen_by(extrinsic_44, 1000 * world(5))[1], rtol=1e-6)
        assert (sequence.confidence_TJ == 1).all()
        assert (sequence.subject, sequence.image_size, sequence.repairs) == ("mpi_inf_3dhp/S2", (2048, 2048), ())
        assert check(sequence) is sequence


def test_without_calibration_up_is_the_camera_s(tmp_path):
    """Camera 0 is level and looks along -Z: its x is the world's, its y and z are turned about and moved."""
    write_train(tmp_path, annotations(cameras=(0,)))
    [sequence] = read(tmp_path)
    np.testing.assert_allclose(points(sequence), world(5) - [0, 1, 4], atol=1e-6)
    assert "no camera.calibration" in sequence.repairs[0]
    check(sequence)


def test_some_sequences_run_at_50_hz(tmp_path):
    names = [f"S{person}/Seq{number}" for person in range(1, 9) for number in (1, 2)]
    for name in names:
        write_train(tmp_path, annotations(2, cameras=(0,)), name=name)
    rates = {}
    for recording in READER.find(list_files(str(tmp_path))):
        [sequence] = READER.read(recording)
        rates[sequence.sequence_id.removesuffix("/camera0")] = sequence.fps
    frames = (6416, 12430, 6502, 6081, 12488, 12283, 6171, 6675, 12820, 12312, 6188, 6145, 6239, 6320, 6468, 6054)
    # All are about four minutes long: mpii_get_sequence_info.m.
    assert rates == {name: 50 if count > 10_000 else 25 for name, count in zip(names, frames, strict=True)}


@pytest.mark.parametrize("is_mended", [False, True])
def test_sides_exchanged_in_s4_seq2_are_put_right(tmp_path, is_mended):
    values = annotations(6675, cameras=(0,))
    if not is_mended:
        for part, size in (("annot2", 2), ("annot3", 3)):
            rows = values[part][0, 0].reshape(6675, 28, size)
            side = [NAMES_28.index(name) for name in NAMES_28 if name.startswith("left")]
            other = [NAMES_28.index(name.replace("left", "right")) for name in NAMES_28 if name.startswith("left")]
            rows[3759:5853, side + other] = rows[3759:5853, other + side]
    write_train(tmp_path, values, name="S4/Seq2", cameras=calibration())
    [sequence] = read(tmp_path)
    np.testing.assert_allclose(points(sequence), world(6675), atol=1e-5)
    np.testing.assert_allclose(pixels(sequence), seen_by(CAMERAS[0], 1000 * world(6675))[1], rtol=1e-5)
    assert sequence.repairs == (() if is_mended else ("left and right exchanged back in frames 3759 to 5852",))


@pytest.mark.parametrize("chunked", [True, False])
def test_the_test_set_keeps_its_frames_and_says_which_are_valid(tmp_path, chunked):
    write_test(tmp_path, holdout(chunked=chunked))
    [sequence] = read(tmp_path)
    seen = [True, True, False, True, True, True]
    np.testing.assert_array_equal(sequence.confidence_TJ, np.repeat(seen, 17).reshape(6, 17))
    np.testing.assert_allclose(points(sequence)[seen], (world(6) - [0, 1, 4])[seen], atol=1e-6)
    np.testing.assert_allclose(pixels(sequence)[seen], seen_by(CAMERAS[0], 1000 * world(6))[1][seen], rtol=1e-6)
    assert not points(sequence)[2].any()
    assert not pixels(sequence)[2].any()
    assert (sequence.fps, sequence.image_size, sequence.view) == (25, (2048, 2048), None)
    assert "frame rate not stated: 25 Hz assumed" in sequence.repairs
    check(sequence)


def test_the_last_two_of_the_test_set_were_filmed_outdoors(tmp_path):
    for number in range(1, 7):
        write_test(tmp_path, holdout(), f"TS{number}")
    sequences = [next(iter(READER.read(each))) for each in READER.find(list_files(str(tmp_path)))]
    assert [each.image_size for each in sequences] == [(2048, 2048)] * 4 + [(1920, 1080)] * 2
    assert {MPI_INF_3DHP.split_of(each.subject) for each in sequences} == {"test"}
    assert MPI_INF_3DHP.split_of("mpi_inf_3dhp/S8") == "train"


def test_what_is_not_finite_was_not_seen(tmp_path):
    values = annotations(cameras=(0,))
    values["annot3"][0, 0].reshape(5, 28, 3)[1, NAMES_28.index("left_knee"), 2] = np.nan
    values["annot2"][0, 0].reshape(5, 28, 2)[3, NAMES_28.index("neck"), 0] = np.inf
    write_train(tmp_path, values)
    [sequence] = read(tmp_path)
    unseen = {(t, H36M17.joints[j]) for t, j in np.argwhere(sequence.confidence_TJ == 0)}
    assert unseen == {(1, "lknee"), (3, "neck")}
    assert np.isfinite(points(sequence)).all()
    assert not pixels(sequence)[3, H36M17.index("neck")].any()


def test_other_files_are_not_claimed(tmp_path):
    savemat(tmp_path / "a.mat", {"annot2": np.zeros((5, 56)), "annot3": np.zeros((5, 84))})
    savemat(tmp_path / "b.mat", {"x": 1.0})
    (tmp_path / "c.mat").write_bytes(as_matlab(b""))
    (tmp_path / "d.mat").write_bytes(holdout(annot3=np.zeros((6, 1, 28, 3))))
    (tmp_path / "e.mat").write_bytes(b"")
    (tmp_path / "camera.calibration").write_text(calibration())
    assert READER.find(list_files(str(tmp_path))) == []


ONE = annotations(cameras=(0,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (annotations(annot2=ONE["annot2"]), "annot2 and annot3: expected the same cameras, found 1 and 2"),
        (annotations(cameras=(0,), annot3=cell([np.zeros((5, 83))])), r"annot3 of camera 0: .*found float64 \(5, 83\)"),
        (annotations(cameras=(0,), annot3=cell(["x"])), r"annot3 of camera 0: .*found <U1 \(1,\)"),
        (annotations(cameras=(0,), annot3=cell([np.zeros((4, 84))])), "camera 0: .*found 5 and 4"),
        (ONE | {"cameras": np.array([[0, 1]])}, "cameras: expected 1 numbers"),
        (ONE | {"cameras": np.array([[0.5]])}, "cameras: expected whole numbers"),
        (ONE | {"cameras": np.array([["x"]])}, "cameras: expected 1 numbers"),
        (ONE | {"frames": np.array([[0, 1, 2, 4, 5]])}, "frames: expected consecutive frame numbers"),
    ],
)
def test_a_training_file_that_cannot_be_used_says_where(tmp_path, values, message):
    write_train(tmp_path, values)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path)


MIRRORED = CAMERAS[0] * [[-1], [1], [1], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (calibration({7: CAMERAS[7]}), "extrinsic: expected one of camera 0, found none"),
        (calibration({0: MIRRORED}), "extrinsic of camera 0: expected 16 numbers: a rotation"),
        (calibration({0: 2 * CAMERAS[0]}), "extrinsic of camera 0: expected 16 numbers: a rotation"),
        (calibration().replace("4000", "nan"), "extrinsic of camera 0: expected 16 numbers: a rotation"),
        (calibration().replace("4000", "far"), "extrinsic of camera 0: expected 16 numbers"),
        (calibration().replace("4000", ""), "extrinsic of camera 0: expected 16 numbers"),
    ],
)
def test_a_calibration_that_cannot_be_used_says_where(tmp_path, text, message):
    write_train(tmp_path, ONE, cameras=text)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("name", ["somewhere", "S9/Seq1", "S1/Seq3", "TS7"])
def test_the_published_folders_say_who_it_is(tmp_path, name):
    write_train(tmp_path, ONE, name=name)
    with pytest.raises(RecordingError, match="folder: expected S1/Seq1 to S8/Seq2 or TS1 to TS6"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (holdout(valid_frame=np.ones((5, 1))), "valid_frame: expected 6 of them"),
        (holdout(annot2=np.zeros((5, 1, 17, 2))), "variables: expected annot2 and annot3"),
    ],
)
def test_a_test_file_that_cannot_be_used_says_where(tmp_path, content, message):
    write_test(tmp_path, content)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path)


def test_hdf5_files_cannot_name_what_else_to_read(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.arange(3.0)
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "x", (3,))

    def fill(file: h5py.File) -> None:
        file["plain"] = np.ones(2)
        file["soft"] = h5py.SoftLink("/plain")
        file["link"] = h5py.ExternalLink(str(secret), "/x")
        file.create_dataset("kept_elsewhere", (3,), "f8", external=[(str(secret), 0, 24)])
        file.create_virtual_dataset("virtual", layout)
        file["group/x"] = np.ones(2)
        file["text"] = "x"
        file.create_dataset("huge", (2**40,), "f8", chunks=(1024,))
        file["nothing"] = h5py.Empty("f8")

    path = tmp_path / "odd.mat"
    path.write_bytes(hdf5_file(fill, libver="latest"))
    names = ["plain", "soft", "link", "kept_elsewhere", "virtual", "group", "text", "huge", "nothing", "absent"]
    assert list(read_arrays(str(path), names)) == ["plain"]
    assert dict(shapes_in(File(str(path), 1))) == {"plain": (2,)}


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """A few bytes changed, most of them near the beginning, where the headers are; sometimes the rest cut off."""
    changed = bytearray(content)
    near = st.integers(0, min(6000, len(content) - 1))
    for at in data.draw(st.lists(near | st.integers(0, len(content) - 1), max_size=4)):
        changed[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0xFF]) | st.integers(0, 255))
    return bytes(changed[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])


def saved(compressed: bool) -> bytes:
    content = io.BytesIO()
    savemat(content, annotations(), do_compression=compressed)
    return content.getvalue()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_sequences_or_a_reason(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("damaged")
    if data.draw(st.booleans()):
        write_test(root, damaged(data.draw(st.sampled_from([holdout(), holdout(chunked=False)])), data))
    else:
        path = write_train(root, annotations(), cameras=damaged(calibration().encode(), data).decode("latin-1"))
        path.write_bytes(damaged(saved(data.draw(st.booleans())), data))
    for recording in READER.find(list_files(str(root))):
        for sequence in read_damaged(READER, recording):
            assert sequence.confidence_TJ.shape[1] == 17
            assert np.isfinite(points(sequence)).all()
            assert np.isfinite(pixels(sequence)).all()
