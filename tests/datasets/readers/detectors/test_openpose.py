"""OpenPose folders as it writes them: one file per frame, people in any order."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.readers.detectors.openpose import READER
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17

# doc/02_output.md of OpenPose, in its own names.
BODY_25 = [
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
]  # fmt: skip
COCO = [
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "RHip", "RKnee", "RAnkle",
    "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar",
]  # fmt: skip


def person(x: float, joints=25, confidence=0.9, identity=-1, lost=()) -> dict:
    """Keypoint k stands at (x + k, 100 + 2 k); a lost one is 0, 0, 0."""
    points = [(0, 0, 0) if k in lost else (x + k, 100 + 2 * k, confidence) for k in range(joints)]
    return {
        "person_id": [identity],
        "pose_keypoints_2d": [value for point in points for value in point],
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": [],
    }


def write(folder: Path, frames: dict[int, list[dict]], name="") -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for frame, members in frames.items():
        (folder / f"{name}{frame:012}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": members}))


def find(folder: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size) for path in sorted(folder.rglob("*.json"))])


def read(folder: Path) -> list[MotionSequence]:
    [recording] = find(folder)
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


@pytest.mark.parametrize("names", [BODY_25, COCO])
def test_joints_go_where_the_format_says(tmp_path, names):
    write(tmp_path, {0: [person(10, joints=len(names))]})
    [sequence] = read(tmp_path)
    hips = ["MidHip"] if "MidHip" in names else ["RHip", "LHip"]
    shoulders = ["Neck"] if "MidHip" in names else ["RShoulder", "LShoulder"]
    expected = {
        "root": hips, "belly": [*hips, *shoulders], "neck": shoulders, "nose": ["Nose"], "head": ["LEye", "REye"],
        "rhip": ["RHip"], "rknee": ["RKnee"], "rankle": ["RAnkle"], "lhip": ["LHip"], "lknee": ["LKnee"],
        "lankle": ["LAnkle"], "lshoulder": ["LShoulder"], "lelbow": ["LElbow"], "lwrist": ["LWrist"],
        "rshoulder": ["RShoulder"], "relbow": ["RElbow"], "rwrist": ["RWrist"],
    }  # fmt: skip
    for joint, parts in expected.items():
        k = np.mean([names.index(part) for part in parts])
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (10 + k, 100 + 2 * k), err_msg=joint)
    assert set(expected) == set(H36M17.joints)


@pytest.mark.parametrize(("joints", "root"), [(17, 11.5), (26, 19), (133, 11.5)])
def test_folders_that_pose2sim_made_with_rtmlib(tmp_path, joints, root):
    """VIDEO_000000.json; COCO's hips are 11 and 12, Halpe's middle of them 19."""
    for t in range(2):
        people = [person(10 + t, joints=joints)]
        (tmp_path / f"clip_{t:06}.json").write_text(json.dumps({"version": 1.3, "people": people}))
    [sequence] = read(tmp_path)
    np.testing.assert_allclose(pixels(sequence)[:, 0, 0], [10 + root, 11 + root])


def test_a_keypoint_of_zeros_was_not_found(tmp_path):
    write(tmp_path, {0: [person(10, lost=(BODY_25.index("REye"), BODY_25.index("LWrist")))]})
    [sequence] = read(tmp_path)
    lost = [H36M17.index(joint) for joint in ("head", "lwrist")]
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[0] == 0), lost)
    assert not pixels(sequence)[0, lost].any()


def test_people_are_linked_and_missing_files_are_gaps(tmp_path):
    frames = {t: [person(10 + t), person(500 - t)][:: 1 - 2 * (t % 2)] for t in (7, 8, 11)}
    frames[9] = []  # a file, but nobody in it
    write(tmp_path, frames)
    right, left = read(tmp_path)  # in the order in which frame 7 names them
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [17, 18, 0, 0, 21])
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [493, 492, 0, 0, 489])
    np.testing.assert_array_equal(np.flatnonzero(left.confidence_TJ[:, 0]), [0, 1, 4])


def test_identities_are_used_where_there_are_some(tmp_path):
    """Two people who change places."""
    write(tmp_path, {t: [person(300 * (t ^ k), identity=k) for k in range(2)] for t in range(2)})
    zero, one = read(tmp_path)
    np.testing.assert_allclose(pixels(zero)[:, 9, 0], [0, 300])
    np.testing.assert_allclose(pixels(one)[:, 9, 0], [300, 0])


def test_a_video_is_a_folder_and_a_name(tmp_path):
    for folder, name in (("a", "x_"), ("a", "y_"), ("b", "x_")):
        write(tmp_path / folder, {t: [person(0)] for t in range(3)}, name)
    (tmp_path / "a" / "video.json").write_text('{"fps": 25}')
    recordings = find(tmp_path)
    assert [Path(each.path).relative_to(tmp_path).as_posix() for each in recordings] == [
        f"{each}_000000000000_keypoints.json" for each in ("a/x", "a/y", "b/x")
    ]
    assert [len(each.companions) for each in recordings] == [3, 3, 2]
    assert recordings[2].size == sum(path.stat().st_size for path in (tmp_path / "b").iterdir())
    assert [next(READER.read(each)).fps for each in recordings] == [25, 25, 30]
    assert len({next(READER.read(each)).sequence_id for each in recordings}) == 3


def test_frames_of_alphapose_are_read_too(tmp_path):
    for t in range(3):
        frame = {"version": "AlphaPose v0.3", "bodies": [{"joints": person(t, joints=18)["pose_keypoints_2d"]}]}
        (tmp_path / f"{t}.json").write_text(json.dumps(frame))
    [sequence] = read(tmp_path)
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [0, 1, 2])


def test_shares_of_the_image_become_pixels_if_its_size_is_known(tmp_path):
    shares = {"pose_keypoints_2d": [0.25, 0.5, 0.9] * 25}
    write(tmp_path, {0: [shares]})
    with pytest.raises(RecordingError, match=r'expected pixels, .*Put a file video\.json beside it: \{"width"'):
        read(tmp_path)
    (tmp_path / "video.json").write_text('{"width": 640, "height": 480}')
    [sequence] = read(tmp_path)
    np.testing.assert_allclose(pixels(sequence)[0], np.broadcast_to([160, 240], (17, 2)))
    assert sequence.image_size == (640, 480)
    write(tmp_path, {0: [{"pose_keypoints_2d": [-0.25, 0.5, 0.9] * 25}]})
    with pytest.raises(RecordingError, match="from -1 to 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version":1.3,"people":[{"person_id":[-1]}]}', "pose_keypoints_2d"),
        ('{"version":1.3,"people":[3]}', "found 3"),
        ('{"version":1.3,"people":[]}', "at least one person"),
        ('{"version":1.3,"people":[{"pose_keypoints_2d":[1,2,3]}]}', "25 or 18 or 17 or 26 or 133 keypoints"),
        ('{"version":1.3,"people":[{"pose_keypoints_2d":[1,2,', "JSON"),
        ('{"people":[{"pose_keypoints_2d":[],"pose_keypoints_3d":[1,2,3,1]}]}', "found only pose_keypoints_3d"),
    ],
)
def test_a_folder_that_cannot_be_used_says_where_and_why(tmp_path, text, message):
    (tmp_path / "a_000000000000_keypoints.json").write_text(text)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path)


def test_other_files_are_not_claimed(tmp_path):
    for name, text in {
        "results.json": '{"version":1.3,"people":[]}',
        "12.json": '{"images": []}',
        "a_000000000000_keypoints.json": '[{"people": []}]',
    }.items():
        (tmp_path / name).write_text(text)
    assert find(tmp_path) == []


@given(st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed, cut):
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder, {t: [person(3 * t), person(200)] for t in range(3)})
    [recording] = find(folder)
    damaged = Path(recording.companions[0])
    content = bytearray(damaged.read_bytes())
    rng = np.random.default_rng(seed)
    where = int(rng.integers(len(content)))
    if cut:
        del content[where:]
    else:
        content[where] = int(rng.integers(256))
    damaged.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(recording):
            assert np.isfinite(pixels(sequence)).all()


def test_a_real_crowd(real_data):
    """469 frames of 9 or 10 people who walk about: a new number now and then is fine, a mix-up is not."""
    [recording] = find(real_data / "wild2d" / "openpose_crowd")
    assert len(recording.companions) == 468
    sequences = list(READER.read(recording))
    assert sum(int((each.confidence_TJ > 0).any(axis=1).sum()) for each in sequences) == 4689
    assert sum(each.num_frames >= 468 for each in sequences) >= 9
    assert len(sequences) <= 13
