"""MediaPipe's 33 landmarks, in the ways in which people save them."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.readers.detectors.mediapipe import READER, SOURCE
from datasets.readers.detectors.mediapipe_files import LANDMARKS
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17

# Numbers of the landmarks by the model card (BlazePose GHUM).
NUMBERS = {
    "nose": 0, "lshoulder": 11, "rshoulder": 12, "lelbow": 13, "relbow": 14, "lwrist": 15, "rwrist": 16, "lhip": 23,
    "rhip": 24, "lknee": 25, "rknee": 26, "lankle": 27, "rankle": 28,
}  # fmt: skip


def landmark(t: int, k: int) -> tuple[float, float, float]:
    """x, y, visibility; the image is 1000 x 500."""
    return 0.1 + k / 100 + t / 1000, 0.2 + k / 50, 0.5 + k / 100


def wide(frames, names, visibility=True) -> str:
    axes = ("x", "y", "z", "v") if visibility else ("x", "y", "z")
    header = ["frame", *(names(axis, k) for k in range(33) for axis in axes)]
    rows = []
    for t in frames:
        values = [v for k in range(33) for v in (*landmark(t, k)[:2], -0.3, landmark(t, k)[2])[: len(axes)]]
        rows.append([t, *values])
    return "\r\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\r\n"


def long(frames) -> str:
    rows = [f"{t},{k},{LANDMARKS[k].upper()},{landmark(t, k)[0]},{landmark(t, k)[1]},0,{landmark(t, k)[2]}"
            for t in frames for k in range(33)]  # fmt: skip
    return "\n".join(["frame_id,landmark_id,landmark_name,x,y,z,visibility", *rows])


def as_json(frames, key="landmarks", people=False) -> str:
    marks = {
        t: [
            {"x": landmark(t, k)[0], "y": landmark(t, k)[1], "z": 0, "visibility": landmark(t, k)[2]} for k in range(33)
        ]
        for t in frames
    }
    return json.dumps([{"frame": t, key: [marks[t]] if people else marks[t]} for t in frames])


def read(folder: Path, name: str, text: str, video='{"width": 1000, "height": 500, "fps": 25}') -> list[MotionSequence]:
    (folder / name).write_text(text, newline="")
    if video:
        (folder / "video.json").write_text(video)
    [recording] = READER.find([File(str(path), 0) for path in sorted(folder.iterdir())])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


FORMS = {
    "x0.csv": wide([0, 1, 4], lambda axis, k: f"{axis}{k}"),
    "x1.csv": wide([0, 1, 4], lambda axis, k: f"{axis}{k + 1}"),
    "0_x.csv": wide([0, 1, 4], lambda axis, k: f"{k}_{axis}"),
    "landmark_0_x.csv": wide([0, 1, 4], lambda axis, k: f"landmark_{k}_{axis}"),
    "NOSE_x.csv": wide([0, 1, 4], lambda axis, k: f"{LANDMARKS[k].upper()}_{axis}"),
    "visibility_nose.csv": wide([0, 1, 4], lambda axis, k: f"{'visibility' if axis == 'v' else axis}_{LANDMARKS[k]}"),
    "long.csv": long([0, 1, 4]),
    "frames.json": as_json([0, 1, 4]),
    "pose.json": as_json([0, 1, 4], "pose_landmarks", people=True),
    "object.json": '{"fps": 30, "frames": ' + as_json([0, 1, 4]) + "}",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path, name):
    [sequence] = read(tmp_path, name, FORMS[name])
    assert (sequence.fps, sequence.image_size, sequence.num_frames) == (25, (1000, 500), 5)
    for joint, k in NUMBERS.items():
        j = H36M17.index(joint)
        expected = [(1000 * landmark(t, k)[0], 500 * landmark(t, k)[1]) for t in (0, 1, 4)]
        np.testing.assert_allclose(pixels(sequence)[[0, 1, 4], j], expected, rtol=1e-5, err_msg=joint)
        np.testing.assert_allclose(sequence.confidence_TJ[[0, 1, 4], j], landmark(0, k)[2], rtol=1e-6)
    assert not sequence.confidence_TJ[2:4].any()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", wide([0, 1, 0, 1], lambda axis, k: f"{axis}{k}")),
        ("long.csv", long([0, 1, 0, 1])),
    ],
)
def test_frames_that_fall_are_of_several_videos(tmp_path, name, text):
    with pytest.raises(RecordingError, match="frame times: expected finite, increasing times, found 0 after 1"):
        read(tmp_path, name, text)


def test_frames_of_json_that_fall_are_of_several_videos(tmp_path):
    text = as_json([0, 4])[:-1] + ", " + as_json([3])[1:]
    with pytest.raises(RecordingError, match="found 3 after 4, in frame 2"):
        read(tmp_path, "a.json", text)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", wide([0, 0, 1, 1], lambda axis, k: f"{axis}{k}")), ("long.csv", long([0, 0, 1, 1]))],
)
def test_a_frame_that_is_there_again_holds_another_person(tmp_path, name, text):
    assert [each.num_frames for each in read(tmp_path, name, text)] == [2, 2]


def with_stamps(text: str, name: str, stamps, *, keep_frames: bool) -> str:
    """Put a column of time stamps before or in place of the frames', one stamp for each image in its order."""
    header, *rows = text.replace("\r", "").strip().split("\n")
    images = list(dict.fromkeys(row.split(",", 1)[0] for row in rows))
    lines = [f"{name},{header}" if keep_frames else f"{name},{header.split(',', 1)[1]}"]
    for row in rows:
        frame, rest = row.split(",", 1)
        stamp = stamps[images.index(frame)]
        lines.append(f"{stamp},{row}" if keep_frames else f"{stamp},{rest}")
    return "\n".join(lines)


SIZE = '{"width": 1000, "height": 500}'
MANY = wide(range(12), lambda axis, k: f"{axis}{k}")


@pytest.mark.parametrize("keep_frames", [True, False])
@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("timestamp", 40, "ms"),
        ("Time", 0.04, "s"),
        ("timestamp_ms", 40, "ms"),
        ("time (s)", 0.04, "s"),
        ("t", 4e7, "ns"),
    ],
)
def test_time_stamps_give_the_rate_beside_or_instead_of_frame_numbers(tmp_path, name, step, said, keep_frames):
    stamps = [1000 * step + step * t for t in range(12)]
    [sequence] = read(tmp_path, "a.csv", with_stamps(MANY, name, stamps, keep_frames=keep_frames), SIZE)
    assert (sequence.fps, sequence.num_frames) == (25, 12)
    assert f"frame times taken from {name.lower()}, in {said}" in sequence.repairs
    assert not any("assumed" in repair for repair in sequence.repairs)


@pytest.mark.parametrize("text", [MANY, long(range(12))], ids=["wide", "long"])
def test_frames_that_were_left_out_are_gaps_if_there_are_only_times(tmp_path, text):
    """Frames 0 to 5 and 9 to 14 of 30 Hz, with stamps in whole milliseconds."""
    frames = [*range(6), *range(9, 15)]
    stamps = [round(1000 * frame / 30) for frame in frames]
    [sequence] = read(tmp_path, "a.csv", with_stamps(text, "timestamp", stamps, keep_frames=False), SIZE)
    assert sequence.fps == 30
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ.any(axis=1)), frames)
    x_T = [1000 * landmark(t, 0)[0] for t in range(12)]
    np.testing.assert_allclose(pixels(sequence)[frames, H36M17.index("nose"), 0], x_T, rtol=1e-5)


def test_the_rate_that_the_user_states_wins_over_time_stamps(tmp_path):
    text = with_stamps(MANY, "timestamp", [40 * t for t in range(12)], keep_frames=True)
    [sequence] = read(tmp_path, "a.csv", text, '{"width": 1000, "height": 500, "fps": 50}')
    assert sequence.fps == 50


@pytest.mark.parametrize(("key", "step"), [("timestamp", 40), ("timestamp_ms", 40), ("time", 0.04)])
@pytest.mark.parametrize("keep_frames", [True, False])
def test_time_stamps_in_json_give_the_rate(tmp_path, key, step, keep_frames):
    frames = json.loads(as_json(range(12)))
    stamped = [{key: step * t} | frame for t, frame in enumerate(frames)]
    if not keep_frames:
        stamped = [{name: value for name, value in frame.items() if name != "frame"} for frame in stamped]
    [sequence] = read(tmp_path, "a.json", json.dumps(stamped), SIZE)
    assert (sequence.fps, sequence.num_frames) == (25, 12)


@pytest.mark.parametrize("stamps", [[7] * 12, ["12:00:00"] * 12, list(range(12)), [*range(40, 480, 40), 0]], ids=str)
def test_time_stamps_that_say_nothing_are_left_aside_and_it_is_said(tmp_path, stamps):
    [sequence] = read(tmp_path, "a.csv", with_stamps(MANY, "timestamp", stamps, keep_frames=True), SIZE)
    assert sequence.num_frames == 12
    assert "frame rate not stated: 30 Hz assumed" in sequence.repairs
    assert any(repair.startswith("timestamp not used") for repair in sequence.repairs)


def test_size_and_rate_may_stand_in_columns_and_keys(tmp_path):
    header, *rows = MANY.replace("\r", "").strip().split("\n")
    text = "\n".join([f"{header},fps,width,height", *(f"{row},50,1000,500" for row in rows)])
    [of_csv] = read(tmp_path, "a.csv", text, video="")
    (tmp_path / "a.csv").unlink()
    facts = '{"metadata": {"fps": 50, "width": 1000, "height": 500}, "frames": '
    [of_json] = read(tmp_path, "a.json", facts + as_json(range(12)) + "}", video="")
    for sequence in (of_csv, of_json):
        assert (sequence.fps, sequence.image_size) == (50, (1000, 500))
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index("nose")], (100, 100), rtol=1e-5)


def centred(text: str) -> str:
    """The same landmarks in CSV, moved so that the middle of the hips is at 0, 0 in every frame."""
    header, *rows = text.replace("\r", "").strip().split("\n")
    moved = []
    for row in rows:
        frame, *values = row.split(",")
        values_K4 = np.array(values, dtype=float).reshape(33, 4)
        values_K4[:, :2] -= values_K4[[23, 24], :2].mean(axis=0)
        moved.append(",".join([frame, *map(str, values_K4.ravel())]))
    return "\n".join([header, *moved])


@pytest.mark.parametrize("video", ["", SIZE])
def test_landmarks_around_the_hips_are_refused_as_not_of_the_image(tmp_path, video):
    with pytest.raises(
        RecordingError, match=r"found the middle of the hips at 0, 0: world landmarks, or .*Pass the 2D"
    ):
        read(tmp_path, "a.csv", centred(MANY), video)


@pytest.mark.parametrize("video", ["", SIZE])
def test_landmarks_around_another_point_of_the_body_are_refused_too(tmp_path, video):
    frames = json.loads(as_json(range(12)))
    for mark in (mark for frame in frames for mark in frame["landmarks"]):
        mark["x"], mark["y"] = mark["x"] - 0.25, mark["y"] - 0.5
    with pytest.raises(RecordingError, match=r"positions in the image.*found numbers around 0, 4\d% of them negative"):
        read(tmp_path, "a.json", json.dumps(frames), video)


@pytest.mark.parametrize("key", ["pose_world_landmarks", "world_landmarks"])
def test_world_landmarks_are_named(tmp_path, key):
    with pytest.raises(RecordingError, match="found world landmarks: metres from the middle of the hips"):
        read(tmp_path, "a.json", as_json(range(3), key))
    both = [a | b for a, b in zip(json.loads(as_json([0, 1])), json.loads(as_json([0, 1], key)), strict=True)]
    assert [sequence.num_frames for sequence in read(tmp_path, "a.json", json.dumps(both))] == [2]


def test_somebody_half_outside_the_image_is_read(tmp_path):
    frames = json.loads(as_json(range(12)))
    for mark in (mark for frame in frames for mark in frame["landmarks"]):
        mark["x"] -= 0.3
    [sequence] = read(tmp_path, "a.json", json.dumps(frames))
    assert pixels(sequence)[..., 0].min() < 0


def test_without_visibilities_all_is_seen(tmp_path):
    [sequence] = read(tmp_path, "a.csv", wide([0], lambda axis, k: f"{axis}{k}", visibility=False))
    np.testing.assert_array_equal(sequence.confidence_TJ, 1)


def test_guesses_outside_the_image_stay(tmp_path):
    text = FORMS["x0.csv"].replace("0.1,0.2,", "-0.3,0.2,", 1)
    [sequence] = read(tmp_path, "a.csv", text)
    np.testing.assert_allclose(pixels(sequence)[0, 9], (-300, 100))


def test_without_the_image_size_nothing_can_be_said(tmp_path):
    with pytest.raises(RecordingError, match=r"video\.json"):
        read(tmp_path, "a.csv", FORMS["x0.csv"], video="")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", FORMS["x0.csv"].replace("0.1,0.2,", "0.1,east,", 1), "row 2: expected numbers, found 'east'"),
        ("a.csv", FORMS["x0.csv"].replace("\n4,", "\n4.5,"), "row 4: expected a whole number"),
        ("a.csv", FORMS["x0.csv"].split("\n")[0], "at least one person"),
        ("a.csv", FORMS["long.csv"] + "\n5,33,X,1,1,1,1", "a landmark from 0 to 32"),
        ("a.json", FORMS["frames.json"][:-3], "JSON"),
        ("a.json", FORMS["frames.json"].replace('"x"', '"u"'), "33 landmarks"),
        ("a.json", '[{"landmarks": [{"x": 0, "y": 0, "visibility": 1}]}]', "33 keypoints a person, found 1"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, name, text, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, name, text)


def test_other_files_are_not_claimed(tmp_path):
    for name, text in {
        "a.csv": "x1,y1,x2,y2\n1,2,3,4",
        "b.csv": "frame,id,x,y\n1,2,3,4",
        "c.csv": "",
        "d.json": '{"people": []}',
        "e.json": '[{"image_id": "0.jpg", "keypoints": []}]',
    }.items():
        (tmp_path / name).write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


@given(st.integers(0, 2**31), st.sampled_from(["x0.csv", "long.csv", "frames.json"]))
@settings(deadline=None, max_examples=60)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed, name):
    content = bytearray(FORMS[name].encode())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(content)
    (folder / "video.json").write_text('{"width": 1000, "height": 500}')
    recording = Recording(
        path=str(folder / name), reader="mediapipe", source=SOURCE, companions=(str(folder / "video.json"),)
    )
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(recording):
            assert np.isfinite(pixels(sequence)).all()
