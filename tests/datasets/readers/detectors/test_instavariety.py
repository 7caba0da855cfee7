"""InstaVariety tracks, written as the data set's page describes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.detectors.instavariety import READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

JOINTS = (
    "R Heel", "R Knee", "R Hip", "L Hip", "L Knee", "L Heel", "R Wrist", "R Elbow", "R Shoulder", "L Shoulder",
    "L Elbow", "L Wrist", "Neck", "Nose", "L Eye", "R Eye", "L Ear", "R Ear", "L Big Toe", "R Big Toe", "L Small Toe",
    "R Small Toe", "L Ankle", "R Ankle", "Hip",
)  # fmt: skip


def frame(number: Any, *, x=0.0, logits: float = 0.75, **others) -> dict:
    """Joint k of JOINTS stands at (x + k, 40 + 2 k)."""
    head = {"frame": number, "imloc": f"{number}.png", "track_id": 3, "bbox": {"xmin": 1.0, "ymin": 2.0}}
    joints = {
        name: {"x": x + k, "y": 40.0 + 2 * k, "logits": logits, "probability": None} for k, name in enumerate(JOINTS)
    }
    return head | joints | others


def write(folder: Path, frames: list, track="salsa/123_n/track_0") -> list[File]:
    (folder / track).mkdir(parents=True)
    for place, content in enumerate(frames):
        (folder / track / f"{place:04d}.json").write_text(json.dumps(content))
    return [File(str(path), path.stat().st_size) for path in sorted((folder / track).iterdir())]


def read(folder: Path, frames: list) -> MotionSequence:
    [recording] = READER.find(write(folder, frames))
    [sequence] = READER.read(recording)
    return sequence


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_joints_go_where_their_names_say(tmp_path):
    sequence = read(tmp_path, [frame(0)])
    theirs = {
        "root": "Hip",
        "rankle": "R Ankle",
        "lknee": "L Knee",
        "neck": "Neck",
        "nose": "Nose",
        "lwrist": "L Wrist",
    }
    for joint, name in theirs.items():
        k = JOINTS.index(name)
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (k, 40 + 2 * k))
    check(sequence)


def test_belly_and_head_are_absent(tmp_path):
    sequence = read(tmp_path, [frame(0)])
    absent = {H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0] == 0)}
    assert absent == {"belly", "head"}
    assert not pixels(sequence)[sequence.confidence_TJ == 0].any()


def test_frames_stand_where_their_number_says_whatever_the_files_are_called(tmp_path):
    sequence = read(tmp_path, [frame(number, x=number) for number in (12, 7, 8)])
    assert sequence.num_frames == 6
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ.any(axis=1)), [0, 1, 5])
    hip = JOINTS.index("Hip")
    np.testing.assert_allclose(pixels(sequence)[[0, 1, 5], 0, 0], [7 + hip, 8 + hip, 12 + hip])


@pytest.mark.parametrize(("logits", "confidence"), [(1.05, 1), (0.75, 0.75), (0, 0), (-0.1, 0)])
def test_confidences_end_in_0_to_1(tmp_path, logits, confidence):
    sequence = read(tmp_path, [frame(0, logits=logits)])
    assert sequence.confidence_TJ[0, 0] == confidence
    assert confidence > 0 or not pixels(sequence).any()


def test_a_joint_without_an_entry_was_not_found(tmp_path):
    content = frame(0)
    del content["R Wrist"]
    sequence = read(tmp_path, [content, frame(1) | {"Nose": None}])
    assert sequence.confidence_TJ[0, H36M17.index("rwrist")] == 0
    assert sequence.confidence_TJ[1, H36M17.index("nose")] == 0


def test_each_folder_is_a_track_and_each_video_a_subject(tmp_path):
    files = [*write(tmp_path, [frame(0), frame(1)]), *write(tmp_path, [frame(0)], "salsa/123_n/track_1")]
    files += write(tmp_path, [frame(4)], "yoga/77_n/track_0")
    recordings = READER.find(files)
    assert sorted(path for each in recordings for path in (each.path, *each.companions)) == [
        file.path for file in files
    ]
    one, two, three = [sequence for each in recordings for sequence in READER.read(each)]
    assert (one.num_frames, two.num_frames, three.num_frames) == (2, 1, 1)
    assert len({one.sequence_id, two.sequence_id, three.sequence_id}) == 3
    assert one.subject == two.subject != three.subject
    assert (one.action, three.action) == ("salsa", "yoga")


def test_other_json_is_not_claimed(tmp_path):
    files = write(tmp_path, [{"version": 1.3, "people": []}], "openpose")
    files += write(tmp_path, [[frame(0)]], "list")
    files += [File(str(tmp_path / "gone" / "0.json"), 3)]
    assert READER.find(files) == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([frame(0), frame("1")], "0001.json: frame: expected a whole number"),
        ([frame(0), frame(0)], "0 for the second time"),
        ([frame(0), frame([1])], "a whole number"),
        ([frame(0), 3], "0001.json: JSON: expected an object, found 3"),
        ([frame(0, Neck=3)], "Neck: expected x and y in pixels and logits"),
        ([frame(0, Neck={"x": 1})], "Neck: expected x and y in pixels and logits"),
        ([frame(0, x=1e9)], "Hip: expected x and y in pixels"),
        ([frame(0, x=float("nan"))], "Hip: expected x and y in pixels"),
        ([frame(0), frame(10**6)], "at most 100,000 apart"),
    ],
)
def test_a_bad_frame_is_named(tmp_path, frames, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, frames)


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_damaged_files_give_a_sequence_or_a_reason(tmp_path, data):
    damaged = bytearray(json.dumps(frame(0)).encode())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.json"
    path.write_bytes(damaged[: data.draw(st.integers(0, 2 * len(damaged)))])
    try:
        for recording in READER.find([File(str(path), 0)]):
            assert [sequence.num_frames for sequence in READER.read(recording)] == [1]
    except ValueError:
        pass
