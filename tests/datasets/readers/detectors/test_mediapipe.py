"""MediaPipe's 33 landmarks, in the ways in which people save them."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.readers.detectors.mediapipe import LANDMARKS, READER, SOURCE
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
    with pytest.raises(RecordingError, match="frame times: expected finite and growing ones, found 0 after 1"):
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
