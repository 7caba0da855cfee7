"""3DPW's sequence files, written here to the data set's readme.txt, by a writer of Python 2's pickles."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.mocap.threedpw import READER, THREEDPW
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.python2_pickles import dumps2
from tests.datasets.reading import read_damaged

# SMPL's joints in its order, metres: y up, the left side at +x; places picked for the test, limbs in human measure
SMPL = {
    "pelvis": (0, 0.95, 0.01), "lhip": (0.09, 0.9, 0), "rhip": (-0.11, 0.9, 0), "spine1": (0, 1.05, 0),
    "lknee": (0.1, 0.48, 0), "rknee": (-0.1, 0.48, 0), "spine2": (0, 1.18, 0), "lankle": (0.1, 0.08, -0.02),
    "rankle": (-0.1, 0.08, -0.02), "spine3": (0, 1.24, 0), "lfoot": (0.1, 0.02, 0.1), "rfoot": (-0.1, 0.02, 0.1),
    "neck": (0, 1.45, 0), "lcollar": (0.07, 1.36, 0), "rcollar": (-0.07, 1.36, 0), "head": (0, 1.52, 0.05),
    "lshoulder": (0.18, 1.38, 0), "rshoulder": (-0.18, 1.38, 0), "lelbow": (0.44, 1.37, 0),
    "relbow": (-0.44, 1.36, 0), "lwrist": (0.69, 1.37, 0), "rwrist": (-0.69, 1.35, 0), "lhand": (0.78, 1.37, 0),
    "rhand": (-0.78, 1.35, 0),
}  # fmt: skip
Y_DOWN = np.diag([1.0, -1.0, -1.0])
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""What turns y up into the other worlds."""


def body(frames: int) -> np.ndarray:
    """[T, 24, 3], y up: it walks along z by 4 cm a frame."""
    return np.array(list(SMPL.values()), float) + np.arange(frames)[:, None, None] * [0, 0, 0.04]


def sequence_file(frames: int, *, people=1, world=None, ids=None, upright=True, pitch_deg=12.0) -> dict[str, Any]:
    """The camera looks along the world's -z (y up) and down a little."""
    world = np.eye(3) if world is None else world
    p = np.deg2rad(pitch_deg)
    axes = [[1, 0, 0], [0, -np.cos(p), np.sin(p)], [0, -np.sin(p), -np.cos(p)]]  # right, down, forward
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = np.array(axes) @ world.T
    width, height = (1080, 1920) if upright else (1920, 1080)
    t, k = np.arange(frames)[:, None], np.arange(18)[None]
    poses2d = np.stack([100 + 2 * t + 10 * k, 500 + 5 * k + 0 * t, (k + 1) / 32 + 0 * t], axis=1)
    return {
        "cam_poses": cameras,
        "jointPositions": [(body(frames) @ world.T).reshape(frames, 72) + person for person in range(people)],
        "poses2d": [poses2d + 0.0 for _ in range(people)],
        "img_frame_ids": np.arange(frames) * 2 if ids is None else np.array(ids),
        "cam_intrinsics": np.array([[1961.8, 0, width / 2], [0, 1969.2, height / 2 - 3], [0, 0, 1]]),
        "campose_valid": [np.ones(frames) for _ in range(people)],
        "genders": ["m"] * people,
        "sequence": "downtown_walk_00",
        "betas": [np.zeros(10)] * people,
    }


def write(folder: Path, data: Any, where="sequenceFiles/train/downtown_walk_00.pkl") -> File:
    path = folder / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else dumps2(data))
    return File(str(path), path.stat().st_size)


def read(folder: Path, data: Any, **where) -> list[MotionSequence]:
    [recording] = READER.find([write(folder, data, **where)])
    return list(READER.read(recording))


def metres(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_joints_go_to_those_of_their_name_and_none_is_invented(tmp_path):
    in_3d, _ = read(tmp_path, sequence_file(5))
    expected = {joint: SMPL[joint] for joint in SMPL if joint in H36M17.joints and joint != "head"}
    expected |= {"root": (-0.01, 0.9, 0), "belly": SMPL["spine2"], "nose": SMPL["head"]}  # root: middle of the hips
    assert set(H36M17.joints) - set(expected) == {"head"}
    for joint, place in expected.items():
        for t in range(5):
            at = np.add(place, (0, 0, 0.04 * t))
            np.testing.assert_allclose(metres(in_3d)[t, H36M17.index(joint)], at, atol=1e-6)
    absent_T = in_3d.confidence_TJ[:, H36M17.index("head")]
    assert (absent_T == 0).all()
    assert in_3d.confidence_TJ.sum() == 5 * 16
    assert any("no head top" in repair for repair in in_3d.repairs)
    check(in_3d)


@pytest.mark.parametrize("world", [np.eye(3), Y_DOWN, Z_UP, Z_UP @ Y_DOWN], ids=["y", "-y", "z", "-z"])
@pytest.mark.parametrize("pitch_deg", [-30, 0, 12, 40])
def test_up_is_the_axis_that_the_cameras_hold_upright(tmp_path, world, pitch_deg):
    in_3d, _ = read(tmp_path, sequence_file(4, world=world, pitch_deg=pitch_deg))
    places = metres(in_3d)[0]
    above = places[H36M17.index("neck")] - places[H36M17.index("root")]
    np.testing.assert_allclose(above, [0.01, 0.55, 0], atol=1e-6)
    left = places[H36M17.index("lhip")] - places[H36M17.index("rhip")]
    forward = metres(in_3d)[1, 0] - metres(in_3d)[0, 0]
    assert np.cross([0, 1, 0], forward) @ left > 0  # not mirrored: up x forward is left
    check(in_3d)


def test_2d_keeps_its_pixels_and_its_confidences_with_their_joints(tmp_path):
    _, in_2d = read(tmp_path, sequence_file(3))
    openpose = {
        "nose": [0], "rshoulder": [2], "relbow": [3], "rwrist": [4], "lshoulder": [5], "lwrist": [7], "rhip": [8],
        "rankle": [10], "lhip": [11], "lankle": [13], "root": [8, 11], "head": [14, 15], "neck": [2, 5],
    }  # fmt: skip
    for joint, parts in openpose.items():
        x = [100 + 10 * np.mean(parts) + 2 * t for t in range(3)]
        np.testing.assert_allclose(pixels(in_2d)[:, H36M17.index(joint), 0], x)
        np.testing.assert_allclose(in_2d.confidence_TJ[:, H36M17.index(joint)], (min(parts) + 1) / 32)
    assert in_2d.keypoints_3d_TJC is None
    assert in_2d.repairs == ()


def test_two_people_give_two_sequences_each(tmp_path):
    sequences = read(tmp_path, sequence_file(3, people=2))
    ids = [f"train/downtown_walk_00#{suffix}" for suffix in ("0", "0/2d", "1", "1/2d")]
    assert [each.sequence_id for each in sequences] == ids
    assert [each.subject for each in sequences] == [f"3dpw/train/downtown_walk_00#{person}" for person in (0, 0, 1, 1)]
    assert {each.fps for each in sequences} == {30}


@pytest.mark.parametrize(("upright", "size"), [(True, (1080, 1920)), (False, (1920, 1080))])
def test_the_optical_centre_says_how_the_image_stands(tmp_path, upright, size):
    in_3d, in_2d = read(tmp_path, sequence_file(3, upright=upright))
    assert in_2d.image_size == size
    assert in_3d.image_size is None


@pytest.mark.parametrize(("folder", "split"), [("train", "train"), ("validation", "test"), ("test", "test")])
def test_the_folder_decides_who_is_held_out(tmp_path, folder, split):
    sequences = read(tmp_path, sequence_file(3), where=f"sequenceFiles/{folder}/office_00.pkl")
    assert [THREEDPW.split_of(each.subject) for each in sequences] == [split, split]


def test_frames_nobody_was_detected_in_are_gaps_in_2d_alone(tmp_path):
    data = sequence_file(6)
    data["poses2d"][0][[0, 2, 3]] = 0
    in_3d, in_2d = read(tmp_path, data)
    assert (in_3d.num_frames, in_2d.num_frames) == (6, 5)
    np.testing.assert_array_equal((in_2d.confidence_TJ > 0).any(axis=1), [1, 0, 0, 1, 1])
    np.testing.assert_allclose(pixels(in_2d)[:, 9, 0], [102, 0, 0, 108, 110])


def test_somebody_never_detected_has_no_2d(tmp_path):
    data = sequence_file(6)
    data["poses2d"][0][:] = 0
    [in_3d] = read(tmp_path, data)
    assert in_3d.keypoints_3d_TJC is not None


def test_lost_images_leave_gaps_and_rounded_clocks_none(tmp_path):
    """Images 0, 1, 2, 3, 6, 7: steps of 3 and 1 are rounding, 6 is three images."""
    in_3d, in_2d = read(tmp_path, sequence_file(6, ids=[10, 12, 15, 16, 22, 24]))
    assert (in_3d.num_frames, in_2d.num_frames) == (8, 8)
    np.testing.assert_array_equal((in_3d.confidence_TJ > 0).any(axis=1), [1, 1, 1, 1, 0, 0, 1, 1])
    np.testing.assert_allclose(metres(in_3d)[[0, 1, 2, 3, 6, 7], 0, 2], np.arange(6) * 0.04, atol=1e-6)


def test_after_more_than_two_seconds_comes_another_sequence(tmp_path):
    sequences = read(tmp_path, sequence_file(4, ids=[0, 2, 124, 126]))
    assert [each.sequence_id.partition("#")[2] for each in sequences] == ["0", "0.1", "0/2d", "0.1/2d"]
    assert [each.num_frames for each in sequences] == [2, 2, 2, 2]
    np.testing.assert_allclose(metres(sequences[1])[:, 0, 2], [0.08, 0.12], atol=1e-6)


@pytest.mark.parametrize("first", sorted(sequence_file(1)))
def test_the_file_is_known_by_its_first_key(tmp_path, first):
    data = sequence_file(2)
    data = {first: data.pop(first)} | data
    for content in (dumps2(data), *(pickle.dumps(data, protocol) for protocol in (0, 2, 4, 5))):
        [recording] = READER.find([write(tmp_path, content)])
        assert (recording.reader, recording.source) == ("3dpw", THREEDPW)
        assert len(list(READER.read(recording))) == 2
        elsewhere = READER.find([write(tmp_path, content, "else/where.pkl")])
        assert bool(elsewhere) == (first not in ("sequence", "betas", "genders"))


def test_other_pickles_are_not_claimed(tmp_path):
    others = [{"pose": [1]}, {"train": {"joint_2d": 1}}, {"keypoint": 1}, [1], b"", b"cam_poses", {"split": {}}]
    assert READER.find([write(tmp_path, data, f"{n}.pkl") for n, data in enumerate(others)]) == []


class Harm:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"jointPositions": [np.zeros((4, 69))]},
            "jointPositions of 0: expected numbers [4, 72], found float64 [4, 69]",
        ),
        ({"jointPositions": [np.zeros((8, 72))]}, "jointPositions of 0: expected numbers [4, 72]"),
        ({"jointPositions": []}, "jointPositions: expected a list with an entry for each person"),
        ({"jointPositions": [np.zeros((4, 72))] * 2}, "as many in poses2d as in jointPositions, found 1, 2"),
        ({"poses2d": [np.zeros((4, 18, 3))]}, "poses2d of 0: expected numbers [4, 3, 18]"),
        ({"cam_poses": np.zeros((4, 3, 4))}, "cam_poses: expected numbers ['T', 4, 4]"),
        ({"cam_poses": np.zeros((4, 4, 4))}, "cameras that are held upright"),
        ({"cam_poses": np.full((4, 4, 4), 9.0)}, "rotations of unit length"),
        ({"img_frame_ids": np.arange(5)}, "img_frame_ids: expected numbers [4]"),
        ({"img_frame_ids": np.array([0, 2, 2, 4])}, "img_frame_ids: expected rising frame numbers"),
        ({"img_frame_ids": np.array([0, 1e300, 2e300, np.inf])}, "img_frame_ids: expected rising frame numbers"),
        ({"cam_intrinsics": "x"}, "cam_intrinsics: expected numbers [3, 3], found str"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, change, message):
    with pytest.raises(RecordingError, match=re.escape(message)):
        read(tmp_path, sequence_file(4) | change)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    with pytest.raises(RecordingError, match="print"):
        read(tmp_path, pickle.dumps(sequence_file(4) | {"texture_maps": [Harm()]}, 2))
    assert capsys.readouterr().out == ""


WHOLE = dumps2(sequence_file(3, people=2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    file = write(tmp_path, bytes(content[:at] if cut else content))
    for sequence in read_damaged(READER, Recording(path=file.path, reader="3dpw", source=THREEDPW)):
        points = sequence.keypoints_2d_TJC if sequence.keypoints_3d_TJC is None else sequence.keypoints_3d_TJC
        assert points is not None
        assert np.isfinite(points).all()
