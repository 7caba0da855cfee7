"""MMPose's predictions in the two layouts of its inferencer and its demos."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS, HALPE26_JOINTS
from datasets.readers.detectors.mmpose import READER, SOURCE
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17

COCO_NAMES = {0: "nose", 5: "left_shoulder", 16: "right_ankle"} | {k: f"k{k}" for k in (*range(1, 5), *range(6, 16))}


def instance(x: float, joints=17, track=None) -> dict:
    """Keypoint k stands at (x + k, 100 + 2 k) and has the score 0.5 + k / 1000; the box in one more list."""
    found = {
        "keypoints": [[x + k, 100 + 2 * k] for k in range(joints)],
        "keypoint_scores": [0.5 + k / 1000 for k in range(joints)],
        "bbox": [[x, 100, x + 40, 180]],
        "bbox_score": 0.9,
    }
    return found if track is None else found | {"track_id": track}


def frames_of(frames: dict[int, list[dict]]) -> list[dict]:
    return [{"frame_id": frame, "instances": instances} for frame, instances in frames.items()]


def demo(frames: dict[int, list[dict]], names=None) -> dict:
    meta = {"dataset_name": "coco", "keypoint_id2name": {str(k): v for k, v in (names or COCO_NAMES).items()}}
    return {"meta_info": meta, "instance_info": frames_of(frames)}


def read(folder: Path, document, indent: str | None = "\t") -> list[MotionSequence]:
    path = folder / "video.mp4.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=indent))
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


@pytest.mark.parametrize("layout", [frames_of, demo])
@pytest.mark.parametrize("indent", [None, "\t"])
def test_joints_and_scores_go_together(tmp_path, layout, indent):
    [sequence] = read(tmp_path, layout({1: [instance(10)], 2: [instance(12)]}), indent)
    for joint in ("nose", "rwrist", "lknee"):
        k, j = COCO17_JOINTS.index(joint), H36M17.index(joint)
        np.testing.assert_allclose(pixels(sequence)[:, j], [(10 + k, 100 + 2 * k), (12 + k, 100 + 2 * k)])
        np.testing.assert_allclose(sequence.confidence_TJ[:, j], 0.5 + k / 1000)


@pytest.mark.parametrize(("joints", "root"), [(17, None), (26, HALPE26_JOINTS.index("hip")), (133, None)])
def test_the_number_of_keypoints_says_which_they_are(tmp_path, joints, root):
    [sequence] = read(tmp_path, frames_of({0: [instance(10, joints)]}))
    k = (COCO17_JOINTS.index("lhip") + COCO17_JOINTS.index("rhip")) / 2 if root is None else root
    np.testing.assert_allclose(pixels(sequence)[0, 0], (10 + k, 100 + 2 * k))


def test_frames_without_people_are_gaps_and_people_are_linked(tmp_path):
    frames = {t: [instance(10 + t), instance(500)][:: 1 - 2 * (t % 2)] for t in (0, 1, 4)} | {2: [], 3: []}
    left, right = read(tmp_path, frames_of(dict(sorted(frames.items()))))
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [10, 11, 0, 0, 14])
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [500, 500, 0, 0, 500])


def test_track_ids_are_used_where_there_are_some(tmp_path):
    frames = {t: [instance(300 * (t ^ k), track=k) for k in range(2)] for t in range(2)}
    zero, one = read(tmp_path, frames_of(frames))
    np.testing.assert_allclose(pixels(zero)[:, 9, 0], [0, 300])
    np.testing.assert_allclose(pixels(one)[:, 9, 0], [300, 0])


def test_a_track_id_of_minus_1_is_none(tmp_path):
    """Three people of whom one was tracked: -1 twice in a frame is no conflict."""
    frames = {t: [instance(10, track=-1), instance(300, track=-1), instance(600, track=4)] for t in range(3)}
    sequences = read(tmp_path, frames_of(frames))
    assert [each.sequence_id[-2:] for each in sequences] == ["#5", "#6", "#4"]
    for each in sequences:
        assert "6 of 9 detections without a track number: linked over time by box and pose" in each.repairs


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (json.dumps(frames_of({0: [instance(0)]}))[:-3], "JSON"),
        (demo({1: [instance(0)]}, COCO_NAMES | {0: "root"}), "the joints of COCO: .*, found root"),
        (frames_of({0: [{"keypoints": []}]}), "frame 0: expected keypoints and keypoint_scores"),
        (frames_of({0: [instance(0) | {"keypoint_scores": 3}]}), "K points"),
        (frames_of({0: [instance(0, 21)]}), "17 or 26 or 133 keypoints"),
        (frames_of({0: []}), "at least one person"),
        (frames_of({4: [instance(0)], 3: []}), "frame times: expected finite, increasing times, found 3 after 4"),
        (2 * frames_of({4: [instance(0)]}), "found 4 after 4, in frame 1"),
        ([*frames_of({0: [instance(0)]}), 3], "frame_id and a list called instances"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, document, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, document)


def test_other_json_is_not_claimed(tmp_path):
    others = {
        "photograph": [instance(0)], "1": {"people": []}, "2": {"meta_info": 3}, "3": [{"frame_id": 1}], "4": [],
        "points_1": [{"keypoints": [[1, 2]], "scores": [1]}],
    }  # fmt: skip
    for name, document in others.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


def one_file_per_frame(folder: Path, layout, frames: dict[int, list[dict]], name="frame_{:04}.json") -> None:
    for frame, instances in frames.items():
        (folder / name.format(frame)).write_text(json.dumps(layout(instances)))


def as_object(instances: list[dict]) -> dict:
    """With more joint names and colours than the first 4 kB of a file hold, as MMPose writes them."""
    names = {str(k): v for k, v in COCO_NAMES.items()}
    colours = {"keypoint_colors": {"__ndarray__": [[k, 128, 0] for k in range(1000)]}}
    return {"meta_info": {"keypoint_id2name": names, **colours}, "instance_info": instances}


def find(folder: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size) for path in sorted(folder.rglob("*.json"))])


@pytest.mark.parametrize("layout", [list, as_object])
@pytest.mark.parametrize("name", ["{}.json", "results_clip_{:04}.json", "take 3.mp4_{:02}.json"])
def test_one_file_per_frame_is_a_video_of_the_numbered_files(tmp_path, layout, name):
    """Frame 8 shows nobody, and 11 has no file; the other person comes in frame 10."""
    frames = {t: [instance(10 + t)] for t in (9, 12)} | {8: [], 10: [instance(500), instance(20)]}
    one_file_per_frame(tmp_path, layout, frames, name)
    (tmp_path / "video.json").write_text('{"fps": 25}')
    [recording] = find(tmp_path)
    walker, other = READER.read(recording)
    np.testing.assert_allclose(pixels(walker)[:, 9, 0], [19, 20, 0, 22])
    np.testing.assert_allclose(pixels(other)[:, 9, 0], [500])
    assert walker.fps == 25


def test_files_of_whole_videos_stay_videos_although_they_are_numbered(tmp_path):
    for number, layout in ((1, frames_of), (2, demo)):
        (tmp_path / f"clip_{number}.json").write_text(json.dumps(layout({t: [instance(10 + t)] for t in range(4)})))
    recordings = find(tmp_path)
    assert [Path(recording.path).name for recording in recordings] == ["clip_1.json", "clip_2.json"]
    assert [sequence.num_frames for recording in recordings for sequence in READER.read(recording)] == [4, 4]


def test_two_files_of_one_frame_are_refused(tmp_path):
    one_file_per_frame(tmp_path, list, {1: [instance(10)]}, "{}.json")
    one_file_per_frame(tmp_path, list, {1: [instance(10)]}, "{:03}.json")
    [recording] = find(tmp_path)
    with pytest.raises(RecordingError, match="frame times: expected finite, increasing times, found 1 after 1"):
        list(READER.read(recording))


@pytest.mark.parametrize("layout", [frames_of, demo])
def test_lifted_poses_are_refused_as_what_they_are(tmp_path, layout):
    lifted = instance(0) | {"keypoints": [[0.1, 0.2, 0.3]] * 17}
    with pytest.raises(RecordingError, match=r"found three coordinates a keypoint, so a 3D prediction\. Pass the 2D"):
        read(tmp_path, layout({0: [lifted]}))


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed):
    content = bytearray(json.dumps(demo({t: [instance(t)] for t in range(3)})).encode())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    path = tmp_path_factory.mktemp("fuzz") / "clip.json"
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="mmpose", source=SOURCE)):
            assert np.isfinite(pixels(sequence)).all()
