"""VideoPose3D's archives of Human3.6M, written as data/prepare_data_h36m.py and its like write them."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS
from datasets.quality.checks import check
from datasets.readers.mocap.h36m_videopose import READER, SOURCES
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.h36m_body import BODY, walk

NAMES_32 = {  # una-dinosauria/3d-pose-baseline, data_utils.py
    0: "Hip", 1: "RHip", 2: "RKnee", 3: "RFoot", 6: "LHip", 7: "LKnee", 8: "LFoot", 12: "Spine", 13: "Thorax",
    14: "Neck/Nose", 15: "Head", 17: "LShoulder", 18: "LElbow", 19: "LWrist", 25: "RShoulder", 26: "RElbow",
    27: "RWrist",
}  # fmt: skip
OURS = {
    "Hip": "root", "RFoot": "rankle", "LFoot": "lankle", "Spine": "belly", "Thorax": "neck", "Neck/Nose": "nose",
}  # fmt: skip
H36M_LAYOUT = {
    "layout_name": "h36m",
    "num_joints": 17,
    "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
}
COCO_LAYOUT = H36M_LAYOUT | {"layout_name": "coco", "keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8]]}
MPII_LAYOUT = {"layout_name": "mpii", "num_joints": 16, "keypoints_symmetry": [[3, 4, 5, 13, 14, 15], [0, 1, 2]]}
COUNT = np.arange(3 * 17 * 2, dtype=np.float32).reshape(3, 17, 2) + 1
CAMERAS = ["54138969", "55011271", "58860488", "60457274"]


def room(frames: int) -> np.ndarray:
    """[T, 32, 3]: the body in the room's axes, Z up; joints that nobody uses are far away."""
    joints = np.full((frames, 32, 3), 77, np.float32)
    body = walk(frames, start=(0, -0.9, 0))
    for index, name in NAMES_32.items():
        ours = OURS.get(name, name.lower())
        x, y_down, forward = np.moveaxis(body[:, list(BODY).index(ours)], -1, 0)
        joints[:, index] = np.stack([x, forward, -y_down], axis=-1)
    return joints


def write_3d(path: Path, positions: Any) -> Path:
    np.savez_compressed(path, positions_3d=np.array(positions, dtype=object))
    return path


def write_2d(path: Path, positions: Any, metadata: Any = None) -> Path:
    metadata = np.array(metadata or H36M_LAYOUT, dtype=object)
    np.savez_compressed(path, positions_2d=np.array(positions, dtype=object), metadata=metadata)
    return path


def find(path: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size)])


def read(path: Path) -> list[MotionSequence]:
    [recording] = find(path)
    return list(READER.read(recording))


def test_the_room_s_z_becomes_y_and_the_seventeen_are_picked_by_name(tmp_path):
    [sequence] = read(write_3d(tmp_path / "data_3d_h36m.npz", {"S1": {"Walking 1": room(4)}}))
    assert sequence.keypoints_3d_TJC is not None
    for joint, (x, y_down, forward) in BODY.items():
        expected = [x, 0.9 - y_down, -forward]  # y up: z is what goes backward
        np.testing.assert_allclose(sequence.keypoints_3d_TJC[0, H36M17.index(joint)], expected, atol=1e-6)
    assert (sequence.confidence_TJ == 1).all()
    assert sequence.view is None
    assert check(sequence).repairs == ()


def test_takes_are_named_after_person_and_action(tmp_path):
    takes = {"S9": {"Photo": room(3), "WalkDog 1": room(3)}, "S11": {"SittingDown 2": room(5), "_ALL": room(2)}}
    sequences = read(write_3d(tmp_path / "data_3d_h36m.npz", takes))
    found = [(each.sequence_id, each.subject, each.action, each.label, each.num_frames) for each in sequences]
    assert found == [
        ("S9/Photo", "h36m/S9", "TakingPhoto", 10, 3),
        ("S9/WalkDog 1", "h36m/S9", "WalkingDog", 13, 3),
        ("S11/SittingDown 2", "h36m/S11", "SittingDown", 8, 5),
        ("S11/_ALL", "h36m/S11", None, None, 2),
    ]
    assert {each.fps for each in sequences} == {50}


def test_each_camera_s_pixels_are_a_sequence_of_their_own(tmp_path):
    views = [COUNT + 1000 * number for number in range(4)]
    sequences = read(write_2d(tmp_path / "data_2d_h36m_cpn_ft_h36m_dbb.npz", {"S5": {"Eating": views}}))
    assert [each.sequence_id for each in sequences] == [f"cpn_ft_h36m_dbb/S5/Eating/{camera}" for camera in CAMERAS]
    assert [each.view for each in sequences] == CAMERAS
    assert [each.image_size for each in sequences] == [(1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002)]
    for sequence, view in zip(sequences, views, strict=True):
        np.testing.assert_array_equal(sequence.keypoints_2d_TJC, view)
        assert sequence.keypoints_3d_TJC is None
        assert (sequence.confidence_TJ == 1).all()
        assert any("no confidences" in repair for repair in sequence.repairs)


def test_true_joints_are_certain_and_have_no_layout_s_name(tmp_path):
    metadata = {key: value for key, value in H36M_LAYOUT.items() if key != "layout_name"}
    path = write_2d(tmp_path / "data_2d_h36m_gt.npz", {"S5": {"Eating": [COUNT]}}, metadata)
    [sequence] = read(path)
    assert sequence.repairs == ()


def test_detections_in_coco_s_order_are_converted(tmp_path):
    path = write_2d(tmp_path / "data_2d_h36m_detectron_pt_coco.npz", {"S2": {"Eating": [None, COUNT]}}, COCO_LAYOUT)
    [sequence] = read(path)
    assert sequence.sequence_id.endswith("55011271")  # the second camera: the first has nothing
    assert sequence.keypoints_2d_TJC is not None
    for joint, parts in {"rwrist": ["rwrist"], "nose": ["nose"], "root": ["lhip", "rhip"]}.items():
        expected = COUNT[:, [COCO17_JOINTS.index(part) for part in parts]].mean(axis=1)
        np.testing.assert_allclose(sequence.keypoints_2d_TJC[:, H36M17.index(joint)], expected)


def test_detections_in_mpii_s_order_are_converted_and_have_no_nose(tmp_path):
    path = write_2d(tmp_path / "data_2d_h36m_sh_pt_mpii.npz", {"S1": {"Eating": [COUNT[:, :16]]}}, MPII_LAYOUT)
    [sequence] = read(path)
    assert sequence.keypoints_2d_TJC is not None
    np.testing.assert_allclose(sequence.keypoints_2d_TJC[:, H36M17.index("rankle")], COUNT[:, 0])
    np.testing.assert_allclose(sequence.keypoints_2d_TJC[:, H36M17.index("lwrist")], COUNT[:, 15])
    assert (sequence.confidence_TJ[:, H36M17.index("nose")] == 0).all()


def test_lost_joints_are_absent(tmp_path):
    view = COUNT.copy()
    view[1, 3], view[2, 4, 0] = 0, np.nan
    [sequence] = read(write_2d(tmp_path / "data_2d_h36m_x.npz", {"S5": {"Eating": [view]}}))
    assert np.argwhere(sequence.confidence_TJ == 0).tolist() == [[1, 3], [2, 4]]


def test_others_archives_are_not_claimed(tmp_path):
    own_video = write_2d(tmp_path / "data_2d_custom.npz", {}, {"video_metadata": {}} | H36M_LAYOUT)
    humaneva = write_3d(tmp_path / "data_3d_humaneva15.npz", {})
    other = tmp_path / "a.npz"
    np.savez(other, poses=np.zeros(3))
    damaged = tmp_path / "b.npz"
    damaged.write_bytes(b"PK\x03\x04 and nothing")
    assert [find(path) for path in (own_video, humaneva, other, damaged)] == [[], [], [], []]


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_code_in_an_archive_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordingError, match="system"):
        read(write_3d(tmp_path / "data_3d_h36m.npz", {"S1": {"Walking": Harm()}}))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ({"S1": {"Eating": np.zeros((3, 17, 3))}}, r"S1, Eating: expected numbers \[T, 32, 3\], found float64 \[3, 17"),
        ({"S1": {"Eating": np.zeros((0, 32, 3))}}, r"found float64 \[0, 32, 3\]"),
        ({"S1": {"Eating": "x"}}, "found str"),
        ({"Train/S1": {"Walking 1": room(3)}}, "expected subjects S1 to S11 with their takes, found 'Train/S1'"),
        ({"S1": room(3)}, "expected subjects S1 to S11 with their takes"),
        ([1, 2], "expected a dictionary, found an array"),
    ],
)
def test_3d_that_cannot_be_used_says_where_and_why(tmp_path, positions, message):
    with pytest.raises(RecordingError, match=message):
        read(write_3d(tmp_path / "data_3d_h36m.npz", positions))


@pytest.mark.parametrize(
    ("positions", "metadata", "message"),
    [
        ({"S1": {"Eating": [COUNT[:, :16]]}}, H36M_LAYOUT, r"camera 54138969: expected numbers \[T, 17, 2\]"),
        ({"S1": {"Eating": [COUNT] * 5}}, H36M_LAYOUT, "a list for 4 cameras"),
        ({"S1": {"Eating": None}}, H36M_LAYOUT, "a list for 4 cameras, found NoneType"),
        ({}, {"keypoints_symmetry": [[1, 2], [3, 4]]}, r"left joints .* found \[1, 2\]"),
        ({}, {"num_joints": 17}, "left joints .* found None"),
        ({}, {"keypoints_symmetry": [["a"], []]}, "left joints"),
    ],
)
def test_2d_that_cannot_be_used_says_where_and_why(tmp_path, positions, metadata, message):
    with pytest.raises(RecordingError, match=message):
        read(write_2d(tmp_path / "data_2d_h36m_x.npz", positions, metadata))


@given(st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed, in_3d):
    path = tmp_path_factory.mktemp("fuzz") / "data_h36m.npz"
    if in_3d:
        write_3d(path, {"S1": {"Eating": room(3)}})
    else:
        write_2d(path, {"S1": {"Eating": [COUNT] * 4}})
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="h36m_videopose", source=SOURCES[0])):
            points = sequence.keypoints_3d_TJC if in_3d else sequence.keypoints_2d_TJC
            assert points is not None
            assert np.isfinite(points).all()
