"""JHMDB in both forms, written as their descriptions say (its README; DD-Net's preprocessing)."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from datasets.files import list_files
from datasets.readers.action.jhmdb import READER, SOURCES
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

WIDTH, HEIGHT = 320, 240
# README of the joint positions: 1 neck, 2 belly, 3 face, 4 right shoulder, ... (here from 0).
ORDER = {
    "neck": 0, "belly": 1, "nose": 2, "rshoulder": 3, "lshoulder": 4, "rhip": 5, "lhip": 6, "relbow": 7, "lelbow": 8,
    "rknee": 9, "lknee": 10, "rwrist": 11, "lwrist": 12, "rankle": 13, "lankle": 14,
}  # fmt: skip
INDEX = {joint: position for position, joint in enumerate(H36M17.joints)}


def pixels_TN2(num_frames: int = 7) -> np.ndarray:
    return np.random.default_rng(num_frames).uniform((0, 0), (WIDTH, HEIGHT), (num_frames, 15, 2))


def pos_world(points_TN2: np.ndarray, scale: float) -> np.ndarray:
    x, y = np.moveaxis(points_TN2, -1, 0)
    return np.stack([(x / WIDTH - 0.5) * WIDTH / HEIGHT, y / HEIGHT - 0.5], axis=-1) / scale


def write_clip(root: Path, points_TN2: np.ndarray, action="brush_hair", film="April_09") -> Path:
    path = root / action / f"{film}_{action}_u_nm_np1_ba_goo_0" / "joint_positions.mat"
    path.parent.mkdir(parents=True)
    world = pos_world(points_TN2, 1.2).transpose(2, 1, 0)
    savemat(path, {"pos_img": points_TN2.transpose(2, 1, 0), "pos_world": world, "scale": 1.2, "viewpoint": "E"})
    return path


def write_pickle(path: Path, poses: list[np.ndarray], labels: list[str]) -> None:
    path.write_bytes(pickle.dumps({"pose": poses, "label": labels}))


def read(folder: Path) -> list[MotionSequence]:
    [recording] = READER.find(list_files(str(folder)))
    return list(READER.read(recording))


def points_of(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_a_clip_of_the_data_set_is_in_pixels(tmp_path: Path):
    points_TN2 = pixels_TN2()
    write_clip(tmp_path, points_TN2)
    [sequence] = read(tmp_path)
    for joint, column in ORDER.items():
        assert points_of(sequence)[:, INDEX[joint]] == pytest.approx(points_TN2[:, column], abs=1e-3)
    hips_T2 = points_TN2[:, [ORDER["lhip"], ORDER["rhip"]]].mean(1)
    assert points_of(sequence)[:, INDEX["root"]] == pytest.approx(hips_T2, abs=1e-3)
    assert (sequence.confidence_TJ == np.where(np.isin(H36M17.joints, "head"), 0, 1)).all()
    assert (points_of(sequence)[:, INDEX["head"]] == 0).all()
    assert (sequence.image_size, sequence.fps, sequence.action, sequence.label) == ((320, 240), 30.0, "brush_hair", 0)
    assert sequence.subject == "jhmdb/April_09"
    assert sequence.sequence_id == "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0"


def test_the_pickle_gives_pixels_about_the_middle_of_an_image(tmp_path: Path):
    clips, scale = [pixels_TN2(5), pixels_TN2(9)], 1.5
    write_pickle(tmp_path / "GT_test_1.pkl", [pos_world(clip, scale) for clip in clips], ["wave", "golf"])
    sequences = read(tmp_path)
    for sequence, clip in zip(sequences, clips, strict=True):
        expected_T2 = (clip[:, ORDER["lwrist"]] - (WIDTH / 2, HEIGHT / 2)) / scale
        assert points_of(sequence)[:, INDEX["lwrist"]] == pytest.approx(expected_T2, abs=1e-3)
        assert sequence.image_size is None
        assert sequence.subject in SOURCES[1].test_subjects
    assert [sequence.action for sequence in sequences] == ["wave", "golf"]
    assert [sequence.label for sequence in sequences] == [20, 4]
    assert [sequence.sequence_id for sequence in sequences] == ["GT_test_1/0000", "GT_test_1/0001"]


def test_training_clips_are_not_held_out(tmp_path: Path):
    write_pickle(tmp_path / "GT_train_1.pkl", [pixels_TN2()], ["wave"])
    assert read(tmp_path)[0].subject not in SOURCES[1].test_subjects


def test_other_files_are_not_claimed(tmp_path: Path):
    savemat(tmp_path / "other.mat", {"pos_img": np.zeros((2, 13, 4))})
    write_pickle(tmp_path / "shrec.pkl", [np.zeros((5, 22, 3))], ["grab"])
    (tmp_path / "3dpw.pkl").write_bytes(pickle.dumps({"poses": [np.zeros((5, 72))], "label": []}))
    (tmp_path / "rubbish.pkl").write_bytes(b"\x80\x04\x8c\x04pose rubbish")
    assert READER.find(list_files(str(tmp_path))) == []


def test_a_clip_that_is_no_clip_is_named(tmp_path: Path):
    write_pickle(tmp_path / "GT_train_1.pkl", [pixels_TN2(), np.zeros((5, 14, 2))], ["wave", "golf"])
    with pytest.raises(RecordingError, match=r"clip 1: expected \[T, 15, 2\]"):
        read(tmp_path)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (print, ("run",))

    write_pickle(tmp_path / "GT_train_1.pkl", [pixels_TN2()], ["wave"])
    [recording] = READER.find(list_files(str(tmp_path)))
    (tmp_path / "GT_train_1.pkl").write_bytes(pickle.dumps({"pose": [Trap()], "label": ["wave"]}))
    with pytest.raises(RecordingError, match="print"):
        list(READER.read(recording))
