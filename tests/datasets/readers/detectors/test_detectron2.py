"""The two archives of VideoPose3D, written as its scripts do."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.detectors.detectron2 import READER, SOURCE
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17

K = np.arange(17)


def pose(x: float) -> np.ndarray:
    """[4, 17]: keypoint k at (x + k, 100 + 2 k), logit -9, probability 0.5 + k / 100."""
    return np.stack([x + K, 100 + 2 * K, np.full(17, -9.0), 0.5 + K / 100]).astype(np.float32)


def write_raw(path: Path, frames: list[list[float]]) -> Path:
    """One video: each frame names where its people stand. Detectron 1's form: [background, people]."""
    boxes, keypoints = np.empty((len(frames), 2), object), np.empty((len(frames), 2), object)
    for t, places in enumerate(frames):
        boxes[t, 0], keypoints[t, 0] = [], []
        boxes[t, 1] = np.array([[x, 100, x + 40, 180, 0.9] for x in places], np.float32) if places else []
        keypoints[t, 1] = np.stack([pose(x) for x in places]) if places else []
    metadata = np.array({"w": 640, "h": 480}, dtype=object)
    np.savez_compressed(path, boxes=boxes, segments=np.array([None]), keypoints=keypoints, metadata=metadata)
    return path


def write_prepared(path: Path, videos: dict[str, np.ndarray], metadata=None) -> Path:
    positions = {name: {"custom": [points]} for name, points in videos.items()}
    sizes = {name: {"w": 640, "h": 480} for name in videos}
    metadata = metadata or {"layout_name": "coco", "num_joints": 17, "video_metadata": sizes}
    np.savez_compressed(path, positions_2d=np.array(positions, dtype=object), metadata=np.array(metadata, dtype=object))
    return path


def find(path: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size)])


def read(path: Path) -> list[MotionSequence]:
    [recording] = find(path)
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_detections_of_a_video_are_linked_and_keep_their_probabilities(tmp_path):
    left, right = read(write_raw(tmp_path / "a.mp4.npz", [[10, 400], [402, 11], [], [13, 406]]))
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [10, 11, 0, 13])
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [400, 402, 0, 406])
    wrist = COCO17_JOINTS.index("rwrist")
    np.testing.assert_allclose(left.confidence_TJ[[0, 1, 3], 16], 0.5 + wrist / 100)
    np.testing.assert_allclose(pixels(left)[0, 16], (10 + wrist, 100 + 2 * wrist))
    assert left.image_size == (640, 480)


def test_the_prepared_form_has_one_person_per_video(tmp_path):
    points = pose(10)[:2].T + np.arange(5)[:, None, None].astype(np.float32)
    sequences = read(write_prepared(tmp_path / "data_2d_custom_x.npz", {"a.mp4": points, "b.mp4": points + 100}))
    assert [each.sequence_id.rpartition("npz")[2] for each in sequences] == ["/a.mp4#0", "/b.mp4#0"]
    assert sequences[0].subject != sequences[1].subject
    for joint in ("nose", "lknee"):
        np.testing.assert_allclose(
            pixels(sequences[1])[:, H36M17.index(joint)], points[:, COCO17_JOINTS.index(joint)] + 100
        )
    assert (sequences[0].confidence_TJ == 1).all()
    assert any("no confidences" in repair for repair in sequences[0].repairs)


def test_human36m_in_the_same_arrays_is_not_claimed(tmp_path):
    points = {"S1": np.zeros((3, 17, 2))}
    assert find(write_prepared(tmp_path / "data_2d_h36m_gt.npz", points, {"num_joints": 17})) == []
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    assert find(tmp_path / "other.npz") == []
    (tmp_path / "text.npz").write_text("PK nothing")
    assert find(tmp_path / "text.npz") == []


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_code_in_an_archive_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_prepared(tmp_path / "a.npz", {"a": np.zeros((3, 17, 2))})
    sizes = np.array({"video_metadata": {}}, dtype=object)
    np.savez(path, positions_2d=np.array(Harm(), dtype=object), metadata=sizes)
    with pytest.raises(RecordingError, match="system"):
        read(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((3, 16, 2)), r"numbers \[T, 17, 2\], found float64 \(3, 16, 2\)"),
        (np.full((3, 17, 2), "x"), "numbers"),
        (np.zeros((0, 17, 2)), "at least one person"),
    ],
)
def test_an_archive_that_cannot_be_used_says_where_and_why(tmp_path, points, message):
    with pytest.raises(RecordingError, match=message):
        read(write_prepared(tmp_path / "a.npz", {"a": points}))


@given(st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed, raw):
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    if raw:
        write_raw(path, [[10], [11], [12]])
    else:
        write_prepared(path, {"a": np.ones((3, 17, 2), np.float32)})
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="detectron2", source=SOURCE)):
            assert np.isfinite(pixels(sequence)).all()
