"""UI-PRMD: people that the test poses itself, and on real data one session seen by both sensors."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.files import list_files
from datasets.joints.marker_sets import PLUG_IN_GAIT
from datasets.readers.action import ui_prmd_kinect, ui_prmd_vicon
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

KINECT, VICON = ui_prmd_kinect.READER, ui_prmd_vicon.READER
# Position of each H36M-17 joint among the 22 of the Kinect files, and who hangs on whom.
KINECT_JOINTS = (0, 18, 19, 20, 14, 15, 16, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13)
KINECT_PARENTS = (-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)


def write_rows(path: Path, rows: np.ndarray) -> None:
    text = "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in rows.reshape(len(rows), -1)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_kinect(folder: Path, name: str, points_cm_TN3: np.ndarray, angles_TN3: np.ndarray, suffix=".txt.gz") -> Path:
    """Write a person who stands at these points: offsets are what the parents' axes make of the steps."""
    turned: list[Rotation] = []
    offset_TN3 = points_cm_TN3.copy()
    for joint, parent in enumerate(KINECT_PARENTS):
        own = Rotation.from_euler("ZXY", angles_TN3[:, joint][:, [2, 0, 1]], degrees=True)
        turned.append(own if parent < 0 else turned[parent] * own)
        if parent >= 0:
            step_T3 = points_cm_TN3[:, joint] - points_cm_TN3[:, parent]
            offset_TN3[:, joint] = turned[parent].inv().apply(step_T3)
    path = folder / f"{name}_positions{suffix}"
    write_rows(path, offset_TN3)
    write_rows(folder / f"{name}_angles{suffix}", angles_TN3)
    return path


def write_vicon(folder: Path, name: str, markers_mm_TM3: np.ndarray) -> Path:
    path = folder / f"{name}_positions.txt"
    write_rows(path, markers_mm_TM3)
    return path


def only(reader, folder: Path) -> MotionSequence:
    [recording] = reader.find(list_files(str(folder)))
    [sequence] = reader.read(recording)
    return sequence


def test_kinect_joints_stand_where_they_were_put(tmp_path: Path):
    generator = np.random.default_rng(0)
    points_TN3 = generator.uniform(-100, 100, (5, 22, 3))
    write_kinect(tmp_path, "m03_s07_e02", points_TN3, generator.uniform(-180, 180, (5, 22, 3)))
    sequence = only(KINECT, tmp_path)
    assert sequence.keypoints_3d_TJC == pytest.approx(points_TN3[:, KINECT_JOINTS] / 100, abs=1e-6)
    assert (sequence.confidence_TJ == 1).all()
    assert (sequence.fps, sequence.source.name, sequence.sequence_id) == (30.0, "ui_prmd_kinect", "m03_s07_e02")
    assert (sequence.subject, sequence.action, sequence.label) == ("ui_prmd/s07", "inline lunge", 2)


def test_vicon_markers_become_joints_in_metres_with_y_up_and_lost_ones_are_absent(tmp_path: Path):
    markers_TM3 = np.random.default_rng(1).uniform(100, 2000, (4, 39, 3))
    knee, ankle, head = (PLUG_IN_GAIT.index(name) for name in ("LKNE", "RANK", "RBHD"))
    markers_TM3[1, knee] = markers_TM3[:, head] = 0
    write_vicon(tmp_path, "m10_s10_e01", markers_TM3)
    sequence = only(VICON, tmp_path)
    points_TJ3, confidence_TJ = sequence.keypoints_3d_TJC, sequence.confidence_TJ
    assert points_TJ3 is not None
    x, y, z = np.moveaxis(markers_TM3[:, ankle] / 1000, -1, 0)
    assert points_TJ3[:, H36M17.index("rankle")] == pytest.approx(np.stack([x, z, -y], axis=-1), abs=1e-6)
    assert confidence_TJ[:, H36M17.index("lknee")].tolist() == [1, 0, 1, 1]
    assert (points_TJ3[1, H36M17.index("lknee")] == 0).all()
    assert not confidence_TJ[:, [H36M17.index("nose"), H36M17.index("head")]].any()
    assert "markers lost in some frames: RBHD, LKNE" in sequence.repairs
    assert (sequence.fps, sequence.subject, sequence.label) == (100.0, "ui_prmd/s10", 9)


def test_each_sensor_claims_its_own_and_nothing_else(tmp_path: Path):
    zeros_TN3 = np.zeros((3, 22, 3))
    kinect = write_kinect(tmp_path / "Kinect", "m01_s01_e01", zeros_TN3, zeros_TN3)
    vicon = write_vicon(tmp_path / "Vicon", "m01_s01_e01", np.zeros((3, 39, 3)))
    write_rows(tmp_path / "walking_1.txt", np.zeros((3, 117)))  # CMU exponential maps are as wide
    write_rows(tmp_path / "m01_s01_e02_positions.txt", np.zeros((3, 99)))
    (tmp_path / "m01_s01_e03_positions.txt.gz").write_bytes(b"\x1f\x8bno gzip")
    files = list_files(str(tmp_path))
    assert [recording.path for recording in KINECT.find(files)] == [str(kinect)]
    assert [recording.path for recording in VICON.find(files)] == [str(vicon)]


def test_angles_are_found_where_the_data_set_keeps_them_and_wrong_movements_told_apart(tmp_path: Path):
    zeros_TN3 = np.zeros((3, 22, 3))
    folder = tmp_path / "Incorrect Segmented Movements" / "Kinect"
    for part in ("positions", "angles"):
        write_rows(folder / part.capitalize() / f"m01_s01_e01_{part}_inc.txt", zeros_TN3)
    assert only(KINECT, tmp_path).sequence_id == "m01_s01_e01_inc"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("1,2\n", "row 1: expected 66 numbers, found 2"),
        (",".join(["1"] * 66) + "\n" + ",".join(["x"] * 66), "could not convert"),
        (",".join(["nan"] * 66), "finite"),
        ("", "one a frame"),
        ((",".join(["1"] * 66) + "\n") * 3, "expected 2, as in the angles, found 3"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, content: str, found: str):
    path = write_kinect(tmp_path, "m01_s01_e01", np.zeros((2, 22, 3)), np.zeros((2, 22, 3)), ".txt")
    [recording] = KINECT.find(list_files(str(tmp_path)))
    path.write_text(content)
    with pytest.raises(RecordingError, match=found):
        list(KINECT.read(recording))


def test_positions_without_angles_are_no_use(tmp_path: Path):
    write_kinect(tmp_path, "m01_s01_e01", np.zeros((2, 22, 3)), np.zeros((2, 22, 3)))
    (tmp_path / "m01_s01_e01_angles.txt.gz").unlink()
    with pytest.raises(RecordingError, match="_angles"):
        only(KINECT, tmp_path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.mktemp("damaged")
    path = write_kinect(folder, "m01_s01_e01", np.ones((3, 22, 3)), np.ones((3, 22, 3)))
    [recording] = KINECT.find(list_files(str(folder)))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        [sequence] = KINECT.read(recording)
    except RecordingError:
        return
    assert sequence.num_frames == 3


def angle_deg(sequence: MotionSequence, *joints: str) -> np.ndarray:
    """Angle at the middle joint over time; straight is 180."""
    points_TJ3 = sequence.keypoints_3d_TJC
    assert points_TJ3 is not None
    a, b, c = (points_TJ3[:, H36M17.index(joint)].astype(np.float64) for joint in joints)
    cosine = ((a - b) * (c - b)).sum(-1) / np.linalg.norm(a - b, axis=-1) / np.linalg.norm(c - b, axis=-1)
    return np.rad2deg(np.arccos(cosine))


def bone_m(sequence: MotionSequence, start: str, end: str) -> float:
    points_TJ3 = sequence.keypoints_3d_TJC
    assert points_TJ3 is not None
    step_T3 = points_TJ3[:, H36M17.index(start)] - points_TJ3[:, H36M17.index(end)]
    return float(np.median(np.linalg.norm(step_T3, axis=-1)))


def both_sensors(real_data: Path, name: str) -> tuple[MotionSequence, MotionSequence]:
    kinect, vicon = (
        next(
            iter(reader.read(recording))
            for recording in reader.find(list_files(str(real_data / reader.name)))
            if Path(recording.path).name.startswith(name)
        )
        for reader in (KINECT, VICON)
    )
    return next(kinect), next(vicon)


def test_both_sensors_find_all_real_recordings(real_data: Path):
    files = list_files(str(real_data))
    kinect, vicon = KINECT.find(files), VICON.find(files)
    assert (len(kinect), len(vicon)) == (600, 50)
    assert all(len(recording.companions) == 1 for recording in kinect)


@pytest.mark.parametrize("episode", [1, 2, 3, 4, 5])
def test_a_squat_is_as_deep_for_one_sensor_as_for_the_other(real_data: Path, episode: int):
    kinect, vicon = both_sensors(real_data, f"m01_s01_e{episode:02d}")
    for side in "lr":
        knee = (f"{side}hip", f"{side}knee", f"{side}ankle")
        assert angle_deg(kinect, *knee).min() == pytest.approx(angle_deg(vicon, *knee).min(), abs=10)
        assert angle_deg(kinect, *knee).max() == pytest.approx(angle_deg(vicon, *knee).max(), abs=10)
        for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
            lengths = [bone_m(sequence, side + start, side + end) for sequence in (kinect, vicon)]
            assert lengths[0] == pytest.approx(lengths[1], abs=0.07)  # markers lie on the skin, off the joint


@pytest.mark.parametrize("movement", ["m03", "m04"])  # with the collars on the chest's own turn, m03 has 0.57
def test_shoulders_stay_in_line_with_hips_for_both_sensors(real_data: Path, movement: str):
    for sequence in both_sensors(real_data, f"{movement}_s01_e01"):
        points_TJ3 = sequence.keypoints_3d_TJC
        assert points_TJ3 is not None
        hips, shoulders = (
            points_TJ3[:, H36M17.index(f"l{joint}")] - points_TJ3[:, H36M17.index(f"r{joint}")]
            for joint in ("hip", "shoulder")
        )
        cosine_T = (hips * shoulders).sum(-1) / np.linalg.norm(hips, axis=-1) / np.linalg.norm(shoulders, axis=-1)
        assert np.median(cosine_T) > 0.95


def test_feet_stay_on_the_floor_in_a_squat(real_data: Path):
    """The order of the turns: with any other order than Rz·Rx·Ry the feet wander by 10 cm and more."""
    kinect, _ = both_sensors(real_data, "m01_s01_e02")
    points_TJ3 = kinect.keypoints_3d_TJC
    assert points_TJ3 is not None
    for ankle in ("lankle", "rankle"):
        assert points_TJ3[:, H36M17.index(ankle)].std(axis=0).max() < 0.05
