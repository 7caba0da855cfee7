"""MotionBERT's pickle of Human3.6M, written here as its reader and the H36M-Toolbox describe it."""

import pickle
import re
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.mocap.h36m_sh import READER, SOURCES
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from tests.datasets.h36m_body import seen_in_room, upright, walk, walk_in_room
from tests.datasets.reading import read_damaged

LENSES = {  # of the data set's metadata.xml: focal lengths and optical centre, pixels
    "54138969": (1145.04940459, 1143.78109572, 512.54150496, 515.45148698),
    "55011271": (1149.67569987, 1147.59161666, 508.84863645, 508.06491751),
    "58860488": (1149.14071676, 1148.79896857, 519.81584, 501.40265),
    "60457274": (1145.51133842, 1144.77392808, 514.96819731, 501.88201854),
}


def video(
    source: str, metres: np.ndarray, *, camera="54138969", part="test", seed=0, extra_pixel=0.0
) -> dict[str, Any]:
    """The rows of one video: joints in the camera's space as the toolbox turns them into image space.

    The toolbox makes the box at the root one pixel wider than it is.
    """
    fx, fy, cx, cy = LENSES[camera]
    x, y, z = np.moveaxis(metres * 1000, -1, 0)
    root = z[:, :1]
    factor = 2000 / ((x[:, 0] + 1000) * fx / root[:, 0] - (x[:, 0] - 1000) * fx / root[:, 0] + extra_pixel)
    image = np.stack([x / z * fx + cx, y / z * fy + cy, (z - root) / factor[:, None]], axis=-1)
    detected = image[..., :2] + np.random.default_rng(seed).normal(0, 2, (*z.shape, 2))
    confidence = (np.arange(17) + 1) / 20 + 0 * z
    rows = {
        "joint_2d": detected.astype(np.float32),
        "confidence": confidence.astype(np.float32)[..., None],
        "joint3d_image": image.astype(np.float32),
        "camera_name": [camera] * len(z),
        "source": [source] * len(z),
    }
    if part == "test":
        rows |= {"joints_2.5d_image": image * factor[:, None, None], "2.5d_factor": factor, "action": ["x"] * len(z)}
    return rows


def joined(*videos: dict[str, Any]) -> dict[str, Any]:
    columns = {key: [each[key] for each in videos] for key in videos[0]}
    return {
        key: list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)
        for key, values in columns.items()
    }


S9 = "s_09_act_05_subact_02_ca_01"
S1 = "s_01_act_02_subact_01_ca_04"


def take(person: str, room: np.ndarray, *, cameras=tuple(LENSES), part="train", name="act_05_subact_02", **change):
    """The videos of one motion in the room, one for each camera."""
    prefix = f"s_{int(person[1:]):02}_{name}"
    return [
        video(f"{prefix}_ca_{number:02}", seen_in_room(room, person, camera), camera=camera, part=part, **change)
        for number, camera in enumerate(cameras, start=1)
    ]


def write(folder: Path, data: Any, protocol=4) -> File:
    path = folder / "h36m_sh_conf_cam_source_final.pkl"
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol=protocol))
    return File(str(path), path.stat().st_size)


def read(folder: Path, data: Any) -> list[MotionSequence]:
    [recording] = READER.find([write(folder, data)])
    return list(READER.read(recording))


def metres(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


@pytest.mark.parametrize("camera", LENSES)
def test_the_factor_gives_metres_back(tmp_path, camera):
    """Exact but for float32's pixels: 1e-5 of 5 m."""
    body = walk(6, step=(0.05, 0.01, 0.2))
    [sequence] = read(tmp_path, {"test": video(S9, body, camera=camera)})
    np.testing.assert_allclose(metres(sequence), upright(body, "S9", camera), atol=1e-4)
    check(sequence)  # human proportions, rigid bones
    assert sequence.view == camera
    assert sequence.image_size == ((1000, 1002) if camera in ("54138969", "60457274") else (1000, 1000))


def test_of_people_without_poses_up_is_the_camera_s_and_it_is_said(tmp_path):
    body = walk(3)
    [sequence] = read(tmp_path, {"test": video(S9.replace("s_09", "s_02"), body)})
    np.testing.assert_allclose(metres(sequence), body * [1, -1, -1], atol=1e-4)
    assert any("up is the camera's" in repair for repair in sequence.repairs)


def test_the_root_s_own_depth_in_the_image_does_not_matter(tmp_path):
    """Other tools write the depth of the root, on its own scale, instead of 0."""
    body, rows = walk(3), video(S9, walk(3))
    rows["joint3d_image"] = rows["joint3d_image"] + np.array([0, 0, 1145.0], np.float32)
    np.testing.assert_allclose(metres(read(tmp_path, {"test": rows})[0]), upright(body, "S9", "54138969"), atol=5e-4)


def test_what_has_no_factor_has_no_metres_and_says_so(tmp_path):
    train, test = video(S1, walk(4), part="train"), video(S9, walk(4))
    one, two = read(tmp_path, {"train": train, "test": test})
    assert one.keypoints_3d_TJC is None
    assert any("cannot be known" in repair for repair in one.repairs)
    np.testing.assert_array_equal(one.keypoints_2d_TJC, train["joint_2d"])
    assert two.keypoints_3d_TJC is not None


@pytest.mark.parametrize("extra_pixel", [0, 1])
@pytest.mark.parametrize("cameras", [tuple(LENSES), tuple(LENSES)[1:], tuple(LENSES)[:2], tuple(LENSES)[::3]])
def test_what_several_cameras_saw_has_metres_without_a_factor(tmp_path, cameras, extra_pixel):
    """Where the person really was, from each camera, Y up; to 1/5 mm of 5 m, as far as 32-bit pixels say."""
    room = walk_in_room(12)
    sequences = read(tmp_path, {"train": joined(*take("S1", room, cameras=cameras, extra_pixel=extra_pixel))})
    assert len(sequences) == len(cameras)
    for sequence, camera in zip(sequences, cameras, strict=True):
        expected = upright(seen_in_room(room, "S1", camera), "S1", camera)
        np.testing.assert_allclose(metres(sequence), expected, atol=2e-4)
        spine = metres(sequence)[:, 8] - metres(sequence)[:, 0]  # from the hips' centre to the thorax, 0.5 m above it
        np.testing.assert_allclose(spine, np.tile([0, 0.5, 0], (12, 1)), atol=4e-4)
        check(sequence)
        [said] = sequence.repairs
        assert f"scale recovered from the take's {len(cameras)} cameras" in said


def test_cameras_and_factor_say_the_same(tmp_path):
    with_factor = take("S9", walk_in_room(5), part="test")
    without = [{key: rows[key] for key in rows if key != "2.5d_factor"} for rows in with_factor]
    by_factor = read(tmp_path, {"test": joined(*with_factor)})
    by_cameras = read(tmp_path, {"test": joined(*without)})
    assert all("0.2% of depth" in each.repairs[0] for each in by_factor)
    assert all("scale recovered" in each.repairs[0] for each in by_cameras)
    for one, two in zip(by_factor, by_cameras, strict=True):
        assert one.sequence_id == two.sequence_id
        np.testing.assert_allclose(metres(one), metres(two), atol=1e-4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), person=st.sampled_from(["S1", "S9"]), frames=st.integers(1, 4))
def test_any_joints_in_the_room_come_back(tmp_path, seed, person, frames):
    room = np.random.default_rng(seed).uniform([-1, -1, 0], [1, 1, 2], (frames, 17, 3))
    for sequence, camera in zip(read(tmp_path, {"train": joined(*take(person, room))}), LENSES, strict=True):
        expected = upright(seen_in_room(room, person, camera), person, camera)
        np.testing.assert_allclose(metres(sequence), expected, atol=1e-4)


def test_the_videos_of_a_take_need_not_follow_each_other(tmp_path):
    one, two = walk_in_room(4), walk_in_room(6)[::-1]
    takes = take("S1", one), take("S1", two, name="act_06_subact_01")
    sequences = read(tmp_path, {"train": joined(*[view for views in zip(*takes, strict=True) for view in views])})
    expected = [upright(seen_in_room(room, "S1", camera), "S1", camera) for camera in LENSES for room in (one, two)]
    for sequence, metres_TJ3 in zip(sequences, expected, strict=True):
        np.testing.assert_allclose(metres(sequence), metres_TJ3, atol=1e-4)


def test_a_triangulated_joint_that_was_not_detected_is_absent(tmp_path):
    views = take("S1", walk_in_room(3))
    views[2]["confidence"][1, 13] = 0
    sequences = read(tmp_path, {"train": joined(*views)})
    assert [np.argwhere(metres(each) == 0).tolist() for each in sequences] == [
        [], [], [[1, 13, 0], [1, 13, 1], [1, 13, 2]], [],
    ]  # fmt: skip


def _late(views):  # 20 mm a frame, in the walk
    views[2]["joint3d_image"] = views[2]["joint3d_image"][[0, 0, 1, 2]]


def _shorter(views):
    views[3] = {key: rows[:-1] for key, rows in views[3].items()}


def _twice(views):
    views[3]["camera_name"] = views[0]["camera_name"]


def _another_person(views):
    for rows in views:
        rows["source"] = [name.replace("s_01", "s_05") for name in rows["source"]]


def _person_without_poses(views):
    for rows in views:
        rows["source"] = [name.replace("s_01", "s_02") for name in rows["source"]]


def _depth_of_another_scale(views):
    views[0]["joint3d_image"][..., 2] *= 1.1


def _no_depth(views):
    views[3]["joint3d_image"][2, 5, 2] = np.nan


def _no_pixel(views):
    views[0]["joint3d_image"][0, 0, 0] = np.nan


def _huge(views):
    views[0]["joint3d_image"][0, 0, 0] = 3e38


def _no_image_space(views):
    for rows in views:
        del rows["joint3d_image"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_late, r"the take's 4 cameras disagree by \d\d mm"),
        (_shorter, r"the take has 4 videos of \[3, 4\] frames"),
        (_twice, r"the take has 4 videos of \[4\] frames"),
        (_another_person, r"disagree by \d+ mm"),
        (_person_without_poses, "where the cameras stood is not known"),
        (_depth_of_another_scale, r"disagree by \d\d mm"),
        (_no_depth, "disagree by nan mm"),
        (_no_pixel, "disagree by nan mm"),
        (_huge, "disagree by"),
        (_no_image_space, "no image space of two cameras"),
    ],
)
def test_cameras_that_do_not_belong_together_give_no_metres_and_say_why(tmp_path, change, said):
    views = take("S1", walk_in_room(4, step=(0.02, 0, 0)))
    change(views)
    sequences = read(tmp_path, {"train": joined(*views)})
    assert len(sequences) == 4
    for sequence, rows in zip(sequences, views, strict=True):
        assert sequence.keypoints_3d_TJC is None
        assert "detections alone" in sequence.repairs[0]
        assert re.search(said, sequence.repairs[0])
        np.testing.assert_array_equal(sequence.keypoints_2d_TJC, rows["joint_2d"])


def test_people_takes_and_splits(tmp_path):
    train = joined(video(S1, walk(3), part="train"), video(S1.replace("act_02", "act_16"), walk(3), part="train"))
    sequences = read(tmp_path, {"train": train, "test": video(S9, walk(3))})
    assert [each.sequence_id for each in sequences] == [S1, S1.replace("act_02", "act_16"), S9]
    assert [each.subject for each in sequences] == ["h36m/S1", "h36m/S1", "h36m/S9"]
    assert [each.action for each in sequences] == ["Directions", "WalkingTogether", "Greeting"]
    assert [each.label for each in sequences] == [0, 14, 3]
    assert [SOURCES[0].split_of(each.subject) for each in sequences] == ["train", "train", "test"]
    people = [f"h36m/S{number}" for number in range(1, 12)]
    assert [each for each in people if SOURCES[0].split_of(each) == "test"] == ["h36m/S9", "h36m/S11"]


def test_no_tail_is_lost_and_no_window_reaches_into_the_next_video(tmp_path):
    """The published preparation keeps windows of 243 frames: 243 of 250, and none of a last video of 100."""
    first, second = walk(250), walk(100, start=(0, 0, 4))
    rows = joined(video(S9, first), video(S9.replace("ca_01", "ca_02"), second, camera="55011271"))
    one, two = read(tmp_path, {"test": rows})
    assert (one.num_frames, two.num_frames) == (250, 100)
    np.testing.assert_allclose(metres(one), upright(first, "S9", "54138969"), atol=1e-4)
    np.testing.assert_allclose(metres(two), upright(second, "S9", "55011271"), atol=1e-4)
    assert (one.fps, two.fps) == (50, 50)


@pytest.mark.parametrize("trailing", [True, False])
def test_confidences_stay_with_their_joints(tmp_path, trailing):
    rows = video(S9, walk(3))
    rows["confidence"] = rows["confidence"] if trailing else rows["confidence"][..., 0]
    [sequence] = read(tmp_path, {"test": rows})
    np.testing.assert_allclose(sequence.confidence_TJ, np.tile((np.arange(17) + 1) / 20, (3, 1)), rtol=1e-6)
    np.testing.assert_array_equal(sequence.keypoints_2d_TJC, rows["joint_2d"])


def test_what_was_not_seen_is_absent(tmp_path):
    rows = video(S9, walk(3))
    rows["confidence"][1, 13] = 0
    rows["joint_2d"][2, 16, 0] = np.nan
    rows["confidence"][0, 0] = 1.25  # a heat map's peak may be above 1
    [sequence] = read(tmp_path, {"test": rows})
    assert np.argwhere(sequence.confidence_TJ == 0).tolist() == [[1, 13], [2, 16]]
    assert (metres(sequence)[[1, 2], [13, 16]] == 0).all()
    assert sequence.confidence_TJ.max() == 1


def test_missing_confidences_are_said(tmp_path):
    rows = video(S9, walk(3))
    del rows["confidence"]
    [sequence] = read(tmp_path, {"test": rows})
    assert (sequence.confidence_TJ == 1).all()
    assert "no confidences: 1 assumed" in sequence.repairs


def test_a_video_that_comes_twice_has_two_names(tmp_path):
    rows = joined(video(S9, walk(3)), video(S1, walk(3)), video(S9, walk(4)))
    assert [each.sequence_id for each in read(tmp_path, {"test": rows})] == [S9, S1, f"{S9}#2"]


@pytest.mark.parametrize("factor", [0.0, -4.0, np.nan, np.inf, 1e30, 100.0])
def test_a_factor_that_makes_no_body_in_a_room_leaves_2d(tmp_path, factor):
    rows = video(S9, walk(3))
    rows["2.5d_factor"][1] = factor
    [sequence] = read(tmp_path, {"test": rows})
    assert sequence.keypoints_3d_TJC is None
    assert any("3D left out" in repair for repair in sequence.repairs)
    assert sequence.keypoints_2d_TJC is not None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("first", ["joint_2d", "confidence", "joint3d_image", "camera_name", "source"])
def test_the_file_is_known_by_its_first_keys(tmp_path, protocol, first):
    rows = video(S9, walk(2))
    rows = {first: rows.pop(first)} | rows
    [recording] = READER.find([write(tmp_path, {"test": rows, "train": {}}, protocol)])
    assert (recording.reader, recording.source.name) == ("h36m_sh", "h36m")


def test_names_may_be_an_array(tmp_path):
    rows = video(S9, walk(2)) | {"source": np.array([S9] * 2), "camera_name": np.array(["54138969"] * 2)}
    assert [each.sequence_id for each in read(tmp_path, {"test": rows})] == [S9]


def test_other_pickles_are_not_claimed(tmp_path):
    others = [{"split": {"train": ["a"]}, "annotations": []}, {"train": 3}, [1], b"", b"train joint_2d", {"pose": [1]}]
    for data in others:
        assert READER.find([write(tmp_path, data)]) == []


class Harm:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_2d": np.zeros((4, 16, 2))}, "test: joint_2d: expected numbers [N, 17, 2], found float64 [4, 16, 2]"),
        ({"joint3d_image": None}, "test: joint3d_image: expected numbers [N, 17, 3], found none"),
        ({"joint_2d": np.zeros((5, 17, 2))}, "one row a frame in all entries, found [4, 5] rows"),
        ({"camera_name": ["54138969"] * 3 + ["1"]}, "one of 54138969, 55011271, 58860488, 60457274, found 1, 54138969"),
        ({"camera_name": [54138969] * 4}, "camera_name: expected a name for each frame"),
        ({"source": ["S1_Walking"] * 4}, "source: expected s_SS_act_AA_subact_BB_ca_CC, found S1_Walking"),
        ({"source": None}, "source: expected a name for each frame"),
        ({"confidence": np.zeros((4, 3))}, "test: confidence: expected numbers [N, 17]"),
        ({"2.5d_factor": ["x"] * 4}, "2.5d_factor: expected numbers [N]"),
        ({"2.5d_factor": [[1], [1, 2]]}, "2.5d_factor: expected rows of one length"),
        ({"extra": Harm()}, "print"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, change, message, capsys):
    with pytest.raises(RecordingError, match=re.escape(message)):
        read(tmp_path, {"test": video(S9, walk(4)) | change})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [[1], {"other": {}}, {"test": [1]}])
def test_a_pickle_of_something_else_says_so(tmp_path, data):
    file = write(tmp_path, data)
    with pytest.raises(RecordingError, match="expected dictionaries train and test"):
        list(READER.read(Recording(path=file.path, reader="h36m_sh", source=SOURCES[0])))


SEEN_BY_TWO = take("S1", walk_in_room(3), cameras=tuple(LENSES)[:2])
WHOLE = pickle.dumps({"train": joined(*SEEN_BY_TWO), "test": video(S9, walk(3))})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    file = write(tmp_path, bytes(content[:at] if cut else content))
    for sequence in read_damaged(READER, Recording(path=file.path, reader="h36m_sh", source=SOURCES[0])):
        assert 0 <= sequence.confidence_TJ.min() <= sequence.confidence_TJ.max() <= 1
        assert sequence.keypoints_3d_TJC is None or np.isfinite(sequence.keypoints_3d_TJC).all()
