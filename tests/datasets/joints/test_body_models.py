"""Skinning against answers in closed form: a turn about a known joint, a blend shape, a shape coefficient."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from datasets.joints import body_models
from datasets.joints.body_model_files import find_body_model, find_regressor, load_body_model, load_regressor
from datasets.joints.body_models import BodyModel, pose_joints, pose_vertices, regress_joints, rest_joints
from datasets.joints.tables import SMPL22_JOINTS
from datasets.sequences import RecordingError
from tests.datasets.body_model_writer import BODY, HEAD_TOP, NAMES, NUM_JOINTS, raw_model, write_npz, write_pickle

AT_REST = np.array([place for _, place in BODY.values()])


@pytest.fixture
def model(tmp_path: Path) -> BodyModel:
    write_npz(tmp_path / "smplh" / "male" / "model.npz", raw_model())
    return load_body_model(str(tmp_path / "smplh" / "male" / "model.npz"))


def posed(*frames: dict[str, tuple[float, float, float]], joints=52) -> np.ndarray:
    poses = np.zeros((len(frames), joints, 3))
    for frame, turns in enumerate(frames):
        for joint, turn in turns.items():
            poses[frame, NAMES.index(joint)] = turn
    return poses


def test_the_body_stands_as_its_vertices_say(model):
    assert SMPL22_JOINTS == NAMES
    joints = pose_joints(model, posed({}), np.zeros(16), np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(joints[0, :22], np.add(AT_REST, (1, 2, 3)), atol=1e-12)


def test_shape_coefficients_move_joints_and_vertices_alike(model):
    expected = AT_REST * (1 + 0.1 * -2)
    expected[NAMES.index("left_wrist"), 1] += 0.1 * 3
    betas = np.array([-2.0, 3.0])
    np.testing.assert_allclose(rest_joints(model, betas)[:22], expected, atol=1e-12)
    vertices = pose_vertices(model, posed({}), betas, np.zeros((1, 3)))
    np.testing.assert_allclose(vertices[0, :22], expected, atol=1e-6)
    with pytest.raises(ValueError, match="at most 16"):
        rest_joints(model, np.zeros(17))


def test_a_joint_turns_all_that_hangs_on_it_about_itself(model):
    quarter = np.pi / 2
    frames = posed(
        {"left_shoulder": (0, 0, quarter)}, {"left_shoulder": (0, 0, quarter), "left_elbow": (0, quarter, 0)}
    )
    joints = pose_joints(model, frames, np.zeros(16), np.zeros((2, 3)))
    expected = np.stack([AT_REST, AT_REST])
    expected[:, NAMES.index("left_elbow")] = (0.2, 0.75, 0)  # x turns to y
    expected[0, NAMES.index("left_wrist")] = (0.2, 1.0, 0)
    expected[1, NAMES.index("left_wrist")] = (0.2, 0.75, -0.25)  # about y, x turns to -z, which the shoulder leaves
    np.testing.assert_allclose(joints[:, :22], expected, atol=1e-12)
    vertices = pose_vertices(model, frames, np.zeros(16), np.zeros((2, 3)))
    np.testing.assert_allclose(vertices[:, :22], expected, atol=1e-6)


def test_the_root_turns_about_the_pelvis_of_this_shape_and_not_about_the_origin(tmp_path):
    raw = raw_model("smpl", 10)
    raw["v_template"] = raw["v_template"] + (0, -0.2, 0)  # the pelvis of the real models is off the origin
    raw["shapedirs"][..., 0] = 0.1 * raw["v_template"]
    write_npz(tmp_path / "m.npz", raw)
    frames = posed({"pelvis": (np.pi, 0, 0)}, joints=24)
    joints = pose_joints(load_body_model(str(tmp_path / "m.npz")), frames, np.array([1.0]), np.array([[5.0, 0, 0]]))
    pelvis = np.array([0, -0.22, 0])
    np.testing.assert_allclose(joints[0, :22], AT_REST * 1.1 * (1, -1, -1) + pelvis + (5, 0, 0), atol=1e-12)


def test_a_vertex_between_two_joints_blends_and_pose_blend_shapes_come_before(model):
    """The forearm turns a quarter about z: its rotation has -1 at (0, 1), so the blend shape moves by -0.2 along z. The
    upper arm leaves the vertex where it is; the forearm turns (0, 0.1, -0.2) about the elbow to (-0.1, 0, -0.2)."""
    vertices = pose_vertices(model, posed({"left_elbow": (0, 0, np.pi / 2)}), np.zeros(16), np.zeros((1, 3)))
    left_alone, turned = np.array([0.5, 0.55, -0.2]), np.array([0.4, 0.45, -0.2])
    np.testing.assert_allclose(vertices[0, -1], (left_alone + turned) / 2, atol=1e-6)
    np.testing.assert_allclose(vertices[0, -2], HEAD_TOP, atol=1e-6)


def test_a_regressor_gives_weighted_sums_of_vertices_however_the_frames_are_cut(model, monkeypatch):
    random = np.random.default_rng(0)
    poses, trans = random.normal(size=(7, 52, 3)), random.normal(size=(7, 3))
    regressor = np.zeros((3, 54))
    regressor[0, 5], regressor[1, [20, 53]], regressor[2, [52, 53, 0]] = 1, 0.5, (0.25, 0.25, 0.5)
    expected = np.einsum("kv,tvc->tkc", regressor, pose_vertices(model, poses, np.ones(16), trans))
    np.testing.assert_allclose(regress_joints(model, regressor, poses, np.ones(16), trans), expected, atol=1e-5)
    monkeypatch.setattr(body_models, "CHUNK_VERTICES", 8)
    np.testing.assert_allclose(regress_joints(model, regressor, poses, np.ones(16), trans), expected, atol=1e-5)
    monkeypatch.setattr(body_models, "CHUNK_FRAMES", 3)
    joints = pose_joints(model, poses, np.ones(16), trans)
    np.testing.assert_allclose(joints[:, :22], pose_vertices(model, poses, np.ones(16), trans)[:, :22], atol=1e-5)


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("family", ["smpl", "smplh", "smplx"])
def test_the_pickles_of_the_makers_give_the_same_model(tmp_path, family, protocol):
    raw = raw_model(family, 10)
    write_npz(tmp_path / "a.npz", raw)
    write_pickle(tmp_path / "a.pkl", raw, protocol)
    one, other = (load_body_model(str(tmp_path / name)) for name in ("a.npz", "a.pkl"))
    assert one.parents == other.parents == (-1, *(int(p) for p in raw["kintree_table"][0, 1:]))
    for field in ("joints_N3", "joint_shapes_N3B", "template_V3", "shapes_V3B", "poses_V3P", "weights_VN"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize(("columns", "shapes"), [(400, 300), (20, 10), (10, 10)])
def test_expressions_of_smplx_are_no_shapes(tmp_path, columns, shapes):
    write_npz(tmp_path / "x.npz", raw_model("smplx", columns))
    assert load_body_model(str(tmp_path / "x.npz")).num_betas == shapes
    write_npz(tmp_path / "h.npz", raw_model("smplh", columns))
    assert load_body_model(str(tmp_path / "h.npz")).num_betas == columns


@pytest.mark.parametrize(
    ("family", "gender", "name"),
    [
        ("smpl", "male", "SMPL_MALE.pkl"),
        ("smpl", "male", "smpl/models/basicmodel_m_lbs_10_207_0_v1.1.0.pkl"),
        ("smpl", "female", "basicModel_f_lbs_10_207_0_v1.0.0.pkl"),
        ("smpl", "neutral", "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"),
        ("smplh", "female", "smplh/female/model.npz"),
        ("smplh", "male", "smplh/SMPLH_MALE.pkl"),
        ("smplx", "neutral", "models/smplx/SMPLX_NEUTRAL.npz"),
        ("smplx", "female", "smplx/female/model.npz"),
    ],
)
def test_a_model_is_found_by_the_name_that_its_makers_give_it(tmp_path, monkeypatch, family, gender, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    for other in ("dmpls/male/model.npz", "dmpls/female/model.npz", "notes.txt", "J_regressor_h36m_correct.npy"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).touch()
    monkeypatch.setenv("MOTION_BODY_MODELS", str(tmp_path))
    assert find_body_model(family, gender, "take.npz") == str(tmp_path / name)
    assert find_regressor() == str(tmp_path / "J_regressor_h36m_correct.npy")
    for wrong_family in NUM_JOINTS.keys() - {family}:
        with pytest.raises(RecordingError, match=r"take\.npz: body model"):
            find_body_model(wrong_family, gender, "take.npz")
    for wrong_gender in {"male", "female", "neutral"} - {gender}:
        with pytest.raises(RecordingError, match=f"the {wrong_gender} .* no such file below"):
            find_body_model(family, wrong_gender, "take.npz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"v_template": np.zeros((54, 2))}, "v_template"),
        ({"posedirs": np.zeros((54, 3, 207))}, r"posedirs: expected finite numbers of shape \(54, 3, 459\)"),
        ({"weights": np.full((54, 52), np.nan)}, "weights"),
        ({"J_regressor": np.zeros(5)}, "J_regressor"),
        ({"J_regressor": np.array("rubbish")}, "J_regressor: expected an array of numbers"),
        ({"kintree_table": np.zeros((2, 30))}, "24, 52 or 55 joints, found 30"),
        ({"kintree_table": np.full((2, 52), 51)}, "parents before their children"),
        ({"shapedirs": None}, "expected one called shapedirs"),
    ],
)
def test_a_model_that_cannot_be_used_says_where_and_why(tmp_path, spoil, message):
    raw = {name: value for name, value in (raw_model() | spoil).items() if value is not None}
    write_npz(tmp_path / "spoilt.npz", raw)
    with pytest.raises(RecordingError, match=message):
        load_body_model(str(tmp_path / "spoilt.npz"))


def test_a_pickle_runs_nothing_and_says_what_it_lacks(tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(raw_model() | {"f": Runs()}))
    with pytest.raises(RecordingError, match=r"pathlib.*which would be run"):
        load_body_model(str(tmp_path / "a.pkl"))
    assert not (tmp_path / "was_run").exists()
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"v_template": 3}))
    with pytest.raises(RecordingError, match="a dictionary with v_template"):
        load_body_model(str(tmp_path / "b.pkl"))


def test_a_sparse_matrix_whose_indices_lie_outside_is_refused(tmp_path):
    raw = raw_model("smpl", 10)
    regressor = csc_matrix(raw["J_regressor"])
    regressor.indices[3] = 2**30
    write_pickle(tmp_path / "b.pkl", raw, sparse=regressor)
    with pytest.raises(RecordingError, match="J_regressor"):
        load_body_model(str(tmp_path / "b.pkl"))


@pytest.mark.parametrize("rows", [np.zeros((16, 54)), np.full((17, 54), np.inf), np.zeros(17), np.array(["x"])])
def test_a_regressor_must_have_seventeen_rows_of_numbers(tmp_path, rows):
    np.save(tmp_path / "r.npy", rows)
    load_regressor.cache_clear()
    with pytest.raises(RecordingError, match="regressor"):
        load_regressor(str(tmp_path / "r.npy"))


def test_an_unset_or_wrong_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("MOTION_BODY_MODELS", raising=False)
    with pytest.raises(RecordingError, match=r"the variable is not set.*mano\.is\.tue\.mpg\.de"):
        find_body_model("smplh", "male", "take.npz")
    assert find_regressor() is None
    monkeypatch.setenv("MOTION_BODY_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(RecordingError, match=r"MOTION_BODY_MODELS: expected a folder"):
        find_body_model("smplh", "male", "take.npz")
