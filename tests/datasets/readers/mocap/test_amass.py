"""AMASS files written here by hand over a body whose joints are known, and the ways in which they are misread."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.files import list_files
from datasets.quality.checks import check
from datasets.quality.resampling import resample
from datasets.readers.mocap import amass
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.body_model_writer import (
    BODY,
    HEAD_TOP,
    NAMES,
    WIDTHS,
    published_regressor,
    raw_model,
    second_generation,
    take,
    write_npz,
    write_pickle,
)

AT_REST = {
    "root": (0, -0.1, 0), "belly": (0, 0.2, 0), "neck": (0, 0.5, 0), "nose": (0, 0.6, 0), "head": HEAD_TOP,
    **{f"{side[0]}{part}": BODY[f"{side}_{part}"][1] for side in ("left", "right")
       for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")},
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for gender, scale in {"male": 1.0, "female": 0.9, "neutral": 0.95}.items():
        raw = raw_model()
        write_npz(folder / "smplh" / gender / "model.npz", raw | {"v_template": scale * raw["v_template"]})
    write_npz(folder / "SMPLX_MALE.npz", raw_model("smplx", 400))
    write_pickle(folder / "SMPL_MALE.pkl", raw_model("smpl", 10))
    return folder


@pytest.fixture(autouse=True)
def with_models(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_BODY_MODELS", str(models))


@pytest.fixture
def add_regressor(models: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A copy of the models with a regressor beside them: the folder is listed once a process."""

    def add(regressor_JV: np.ndarray) -> None:
        folder = tmp_path_factory.mktemp("more_models")
        shutil.copytree(models, folder, dirs_exist_ok=True)
        np.save(folder / "J_regressor_h36m_correct.npy", regressor_JV)
        monkeypatch.setenv("MOTION_BODY_MODELS", str(folder))

    return add


def read(folder: Path, arrays: dict, name="CMU/08/08_01_poses.npz") -> MotionSequence:
    write_npz(folder / name, arrays)
    [recording] = amass.READER.find(list_files(str(folder)))
    [sequence] = amass.READER.read(recording)
    return sequence


def places(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


def assert_joints(sequence: MotionSequence, expected, frame=0):
    for joint, xyz in expected.items():
        found = places(sequence)[frame, H36M17.index(joint)]
        np.testing.assert_allclose(found, xyz, atol=1e-6, err_msg=joint)


@pytest.mark.parametrize("family", list(WIDTHS))
def test_a_body_at_rest_stands_in_metres_with_y_up(tmp_path, family):
    """What AMASS calls z is up and becomes y; its y becomes -z."""
    sequence = read(tmp_path, take(family=family, trans=np.array([[0.0, 0, 0], [0.01, 0.02, 0.03]])))
    assert_joints(sequence, AT_REST)
    assert_joints(sequence, {joint: np.add(xyz, (0.01, 0.03, -0.02)) for joint, xyz in AT_REST.items()}, frame=1)
    assert (sequence.confidence_TJ == 1).all()
    assert (sequence.source.name, sequence.subject, sequence.sequence_id) == (
        "amass",
        "amass/cmu/08",
        "CMU/08/08_01_poses",
    )
    assert check(sequence) is sequence


@pytest.mark.parametrize("with_poses", [True, False])
@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_both_generations_say_the_same(tmp_path, family, with_poses):
    poses = np.zeros((3, WIDTHS[family]))
    poses[:, :66] = np.random.default_rng(0).normal(size=(3, 66))
    first = take(3, family, poses=poses)
    second = second_generation(first, family)
    if not with_poses:
        del second["poses"]
    one = read(tmp_path / "1", first)
    other = read(tmp_path / "2", second, "CMU/08/08_01_stageii.npz")
    np.testing.assert_allclose(places(one), places(other), atol=1e-6)
    assert one.fps == other.fps == 120
    assert one.subject == other.subject


def test_a_joint_turns_and_the_head_top_goes_with_the_head(tmp_path):
    poses = take()["poses"]
    poses[:, 3 * NAMES.index("left_shoulder") + 2] = np.pi / 2  # about z, in the body's axes: x turns to y
    poses[:, 3 * NAMES.index("head")] = np.pi / 2  # about x: y turns to z
    sequence = read(tmp_path, take(poses=poses))
    moved = {"lelbow": (0.2, 0.75, 0), "lwrist": (0.2, 1.0, 0), "head": (0, 0.6, 0.2)}
    assert_joints(sequence, AT_REST | moved)
    assert any("J_regressor_h36m_correct.npy not there: joints of the SMPL+H" in each for each in sequence.repairs)


@pytest.mark.parametrize(
    ("fps", "frames"), [(30.0, 31), (60, 61), (100.0, 101), (120.0, 121), (150.0, 151), (250.0, 251)]
)
def test_the_frame_rate_is_kept_and_so_is_every_frame(tmp_path, fps, frames):
    """One second at 2 m/s: the published preparation dropped 30 Hz, and called 100 Hz halved 60 Hz."""
    trans = np.zeros((frames, 3))
    trans[:, 0] = 2 * np.arange(frames) / fps
    sequence = read(tmp_path, take(frames, trans=trans, mocap_framerate=np.array(fps)))
    assert (sequence.fps, sequence.num_frames) == (fps, frames)
    at_60 = resample(sequence, 60.0)
    assert at_60.num_frames == 61
    np.testing.assert_allclose(places(at_60)[:, 0, 0], np.arange(61) / 30, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "is_doubtful"),
    [
        ("TotalCapture/s1/walking1_stageii.npz", True),
        ("TCDHands/ExperimentDatabase/FingerTP_stageii.npz", True),
        ("TCD_handMocap/ExperimentDatabase/FingerTP_stageii.npz", True),
        ("CMU/62/62_11_stageii.npz", True),
        ("SSM/20161014_50033/a_stageii.npz", True),
        ("CMU/08/08_01_stageii.npz", False),
        ("CMU/620/08_01_stageii.npz", False),
        ("KIT/3/TotalCapture_stageii.npz", False),
    ],
)
def test_rates_of_the_second_generation_that_are_known_to_be_doubtful_are_said_to_be(tmp_path, name, is_doubtful):
    """120 Hz where the first generation says 60 or 150; that one, and any other rate, is not in doubt."""

    def doubts(folder: str, arrays: dict) -> bool:
        sequence = read(tmp_path / folder, arrays, name)
        assert sequence.fps == float(arrays.get("mocap_frame_rate", arrays.get("mocap_framerate", 0)))
        said = [repair for repair in sequence.repairs if "doubtful" in repair]
        assert all("stated frame rate of 120 Hz is doubtful" in each for each in said)
        return bool(said)

    second = second_generation(take(), "smplh")
    assert doubts("second", second) == is_doubtful
    assert not doubts("first", take(mocap_framerate=np.array(120.0)))
    assert not doubts("another", second | {"mocap_frame_rate": np.array(60.0)})


def test_no_tail_is_cut(tmp_path):
    """243 + 100 frames: windows of 243 would lose the last hundred."""
    trans = np.repeat(np.arange(343.0)[:, None] / 120, 3, axis=1)
    sequence = read(tmp_path, take(343, trans=trans))
    np.testing.assert_allclose(places(sequence)[:, 0, 0], np.arange(343) / 120, atol=1e-5)


def test_soft_tissue_is_not_needed(tmp_path):
    """GRAB and SOMA have none and were dropped."""
    assert_joints(read(tmp_path, take(dmpls=None)), AT_REST)


@pytest.mark.parametrize(
    ("stated", "scale", "assumed"),
    [
        (np.array("female"), 0.9, False),
        (np.array(b"female"), 0.9, False),
        (np.array("b'female'"), 0.9, False),
        (np.array(["female"], dtype=object), 0.9, False),
        (np.array("F"), 0.9, False),
        (np.array("male"), 1.0, False),
        (np.array("neutral"), 0.95, False),
        (np.array("unknown"), 0.95, True),
        (None, 0.95, True),
    ],
)
def test_the_body_is_that_of_the_gender(tmp_path, stated, scale, assumed):
    sequence = read(tmp_path, take(gender=stated))
    assert_joints(sequence, {joint: np.multiply(xyz, scale) for joint, xyz in AT_REST.items()})
    assert any("the neutral model stands in" in each for each in sequence.repairs) == assumed


def test_the_shape_is_that_of_the_person(tmp_path):
    larger = {joint: np.multiply(xyz, 1.2) for joint, xyz in AT_REST.items()}
    for number, betas in enumerate([np.array([2.0, *[0] * 15]), np.array([[2.0, 0]]), np.array([[2.0], [2.0]])]):
        assert_joints(read(tmp_path / str(number), take(betas=betas)), larger)
    with pytest.raises(RecordingError, match="betas: expected one list, the same in all frames"):
        read(tmp_path / "3", take(betas=np.array([[2.0], [1.0]])))


def test_shape_coefficients_that_the_model_lacks_are_left_out_and_said(tmp_path):
    sequence = read(tmp_path, take(family="smpl", betas=np.array([2.0, *[0] * 10, 0.5])))
    assert_joints(sequence, {joint: np.multiply(xyz, 1.2) for joint, xyz in AT_REST.items()})
    assert "2 shape coefficients left out: the model has 10" in sequence.repairs
    sequence = read(tmp_path / "zeros", take(family="smpl"))
    assert not any("left out" in each for each in sequence.repairs)


def test_with_the_published_regressor_the_joints_come_from_the_mesh(tmp_path, add_regressor):
    """The soft vertex at (0.5, 0.55, 0) goes along z by -0.2 when the forearm turns a quarter about z, and half of it
    turns about the elbow: (0.45, 0.5, -0.2). The root is half of that, the pelvis being at 0."""
    add_regressor(published_regressor(54))
    poses = take()["poses"]
    poses[:, 3 * NAMES.index("left_elbow") + 2] = np.pi / 2
    sequence = read(tmp_path, take(poses=poses))
    assert_joints(sequence, {"root": (0.225, 0.25, -0.1), "belly": (0, 0.1, 0), "lwrist": (0.5, 0.7, 0)})
    assert "joints regressed by J_regressor_h36m_correct.npy" in sequence.repairs
    smplx = read(tmp_path / "x", take(family="smplx"))
    assert_joints(smplx, AT_REST)
    assert any("other vertices than its" in each for each in smplx.repairs)


def test_a_regressor_with_exchanged_legs_or_for_another_mesh_is_refused(tmp_path, add_regressor):
    legs = published_regressor(54)[[0, 4, 5, 6, 1, 2, 3, *range(7, 17)]]
    add_regressor(legs)
    with pytest.raises(RecordingError, match=r"right leg first, found lhip on the right"):
        read(tmp_path, take())
    add_regressor(published_regressor(60))
    with pytest.raises(RecordingError, match=r"expected 54 columns, found 60"):
        read(tmp_path, take())


def test_without_the_body_model_it_is_said_what_to_fetch(tmp_path, monkeypatch):
    with pytest.raises(RecordingError, match=r"08_01_poses.npz: body model: expected the female SMPL-X .*smpl-x\.is"):
        read(tmp_path, take(family="smplx", gender=np.array("female")))
    monkeypatch.delenv("MOTION_BODY_MODELS")
    with pytest.raises(RecordingError, match=r"MOTION_BODY_MODELS, found the variable is not set"):
        read(tmp_path, take())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"poses": np.zeros((2, 100))}, "165 columns for smplx, found 100 columns, surface_model_type not stated"),
        ({"surface_model_type": np.array("smplx")}, "found 156 columns, surface_model_type smplx"),
        ({"surface_model_type": np.array("animal")}, "surface_model_type animal"),
        ({"poses": np.full((2, 156), np.nan)}, "poses: expected finite numbers"),
        ({"poses": np.array(["x"])}, "poses: expected numbers"),
        ({"poses": np.zeros((2, 52, 3))}, "poses: expected a row for each frame"),
        ({"poses": np.array([[object()]], dtype=object)}, "poses"),
        ({"trans": np.zeros((1, 3))}, "poses of the same length, 2, found"),
        ({"trans": np.full((2, 3), 1e300)}, "trans: expected finite numbers below 10000"),
        ({"trans": np.zeros((0, 3)), "poses": np.zeros((0, 156))}, "0 values"),
        ({"betas": np.array("ten")}, "betas: expected numbers"),
        ({"mocap_framerate": np.array("fast")}, "mocap_framerate: expected numbers"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, spoil, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, take() | spoil)


@pytest.mark.parametrize("fps", [0.0, -120.0, 1e3])
def test_a_frame_rate_that_cannot_be_fails_the_checks(tmp_path, fps):
    with pytest.raises(RecordingError, match="frame rate"):
        check(read(tmp_path, take(mocap_framerate=np.array(fps))))


def test_other_archives_are_not_claimed(tmp_path):
    write_npz(tmp_path / "shape.npz", {"betas": np.zeros(16), "gender": np.array("male")})
    write_npz(tmp_path / "keypoints.npz", {"keypoints_2d": np.zeros((2, 17, 2)), "poses": np.zeros((2, 156))})
    write_npz(tmp_path / "model.npz", raw_model())
    write_npz(tmp_path / "still.npz", take(mocap_framerate=None))
    (tmp_path / "text.npz").write_text("poses.npy trans.npy betas.npy mocap_framerate.npy")
    (tmp_path / "empty.npz").touch()
    assert amass.READER.find(list_files(str(tmp_path))) == []
    assert amass.READER.find([File(str(tmp_path / "gone.npz"), 9)]) == []


@pytest.mark.parametrize(
    ("path", "sequence_id", "subject"),
    [
        ("/d/AMASS/MPI_HDM05/dg/HDM_dg_01_poses.npz", "MPI_HDM05/dg/HDM_dg_01_poses", "amass/hdm05/dg"),
        ("s3://b/HDM05/dg/HDM_dg_01_stageii.npz", "HDM05/dg/HDM_dg_01_stageii", "amass/hdm05/dg"),
        ("KIT/KIT/3/walk.v2_poses.npz", "KIT/3/walk.v2_poses", "amass/kit/3"),
        ("SSM_synced/20160330_03333/a_poses.npz", "SSM_synced/20160330_03333/a_poses", "amass/ssm/20160330_03333"),
        ("a.npz", "a", "amass/unknown"),
    ],
)
def test_a_person_is_one_subject_in_both_generations(path, sequence_id, subject):
    assert amass.identify(path) == (sequence_id, subject)


def test_people_held_out_elsewhere_are_held_out_here():
    for subject in ("amass/cmu/08", "amass/hdm05/dg", "amass/ssm/20160330_03333", "amass/transitions/mazen_c3d"):
        assert amass.SOURCE.split_of(subject) == "test"
    assert amass.SOURCE.split_of("amass/kit/3") == "train"


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_sequence_or_a_reason(tmp_path, data):
    path = tmp_path / "CMU" / "08" / "fuzzed_poses.npz"
    write_npz(path, take())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # The headers of the archive and of its arrays; the zeros between them are covered by a checksum.
        content[data.draw(st.sampled_from([k for k, byte in enumerate(content) if byte]))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(
        content[: data.draw(st.integers(len(content) // 2, len(content)))] if data.draw(st.booleans()) else content
    )
    recording = amass.Recording(path=str(path), reader="amass", source=amass.SOURCE, size=len(content))
    amass.READER.find([File(str(path), len(content))])
    try:
        [sequence] = amass.READER.read(recording)
    except RecordingError:
        return
    assert sequence.num_frames == 2
