"""PoseTrack files, written as the data set's pages describe them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.detectors import coco
from datasets.readers.detectors.coco_layout import COCO_NAMES
from datasets.readers.detectors.posetrack import POSETRACK_NAMES, READER, SOURCES
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

VIDEO = "val/000342_mpii_test"
PERSON = {"supercategory": "person", "id": 1, "name": "person", "keypoints": list(POSETRACK_NAMES)}


def image(frame: Any, *, video=VIDEO, labelled=True, **others) -> dict:
    number = f"{video[-16:-10]}{frame:04d}" if isinstance(frame, int) else frame
    entry = {"has_no_densepose": True, "is_labeled": labelled, "file_name": f"images/{video}/{frame:06d}.jpg"}
    entry |= {"nframes": 100, "frame_id": number, "vid_id": video[4:10], "id": number}
    return entry | {"ignore_regions_x": [[0, 900, 900]], "ignore_regions_y": [[0, 0, 900]]} | others


def person(frame: int, track: Any = 0, *, x=0, visible=1, video=VIDEO, **others) -> dict:
    """Joint k stands at (x + k, 50 + 2 k)."""
    keypoints = [value for k in range(17) for value in (x + k, 50 + 2 * k, visible)]
    entry = {"bbox": [1, 2, 3, 4], "bbox_head": [1, 2, 3, 4], "category_id": 1, "id": 1, "keypoints": keypoints}
    return entry | {"image_id": f"{video[-16:-10]}{frame:04d}", "track_id": track, "scores": []} | others


def write(folder: Path, images, annotations, name="000342_mpii_test.json") -> File:
    path = folder / name
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [PERSON]}, indent=1))
    return File(str(path), path.stat().st_size)


def read(folder: Path, images, annotations) -> list[MotionSequence]:
    [recording] = READER.find([write(folder, images, annotations)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_joints_go_where_the_published_table_says(tmp_path):
    [sequence] = read(tmp_path, [image(0, width=1920, height=1080)], [person(0)])
    theirs = {"root": 11.5, "neck": 1, "head": 2, "nose": 0, "lhip": 11, "rhip": 12, "lankle": 15, "rwrist": 10}
    for joint, k in (theirs | {"belly": (11.5 + 1) / 2}).items():
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (k, 50 + 2 * k))
    np.testing.assert_array_equal(sequence.confidence_TJ, 1)
    assert sequence.image_size == (1920, 1080)
    assert any("30 Hz assumed" in repair for repair in sequence.repairs)
    check(sequence)


def test_a_hidden_hip_hides_what_is_fused_from_it_and_ears_hide_nothing(tmp_path):
    entry = person(0)
    for k in (3, 4, 12):  # ears are placeholders; right hip
        entry["keypoints"][3 * k : 3 * k + 3] = [0, 0, 0]
    [sequence] = read(tmp_path, [image(0)], [entry])
    absent = {H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0] == 0)}
    assert absent == {"root", "belly", "rhip"}
    assert not pixels(sequence)[sequence.confidence_TJ == 0].any()


def test_every_fourth_frame_stays_at_every_fourth_place(tmp_path):
    frames = (0, 4, 8, 9, 10, 14)
    images = [image(frame, labelled=frame in frames) for frame in reversed(range(16))]
    [sequence] = read(tmp_path, images, [person(frame, x=frame) for frame in frames])
    assert sequence.num_frames == 15
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ.any(axis=1)), frames)
    np.testing.assert_allclose(pixels(sequence)[list(frames), H36M17.index("nose"), 0], frames)


def test_people_are_told_apart_by_track_and_video(tmp_path):
    """Two who change places; and a track number that occurs in two videos of a merged file."""
    other = "val/000999_mpii_test"
    images = [image(0), image(1), image(0, video=other)]
    poses = [person(0, 3, x=0), person(0, 4, x=90), person(1, 4, x=0), person(1, 3, x=90), person(0, 3, video=other)]
    three, four, stranger = read(tmp_path, images, poses)
    np.testing.assert_allclose(pixels(three)[:, H36M17.index("nose"), 0], [0, 90])
    np.testing.assert_allclose(pixels(four)[:, H36M17.index("nose"), 0], [90, 0])
    assert stranger.num_frames == 1
    assert len({each.sequence_id for each in (three, four, stranger)}) == 3


def test_frames_without_labels_and_boxes_without_joints_are_passed_over(tmp_path):
    box = person(2)
    del box["keypoints"]
    poses = [person(0), person(1), box, person(3, visible=0), person(9)]
    [sequence] = read(tmp_path, [image(0), image(1, labelled=False), image(2), image(3)], poses)
    assert sequence.num_frames == 1


def test_a_track_twice_in_a_frame_counts_once_and_is_told(tmp_path):
    [sequence] = read(tmp_path, [image(0)], [person(0, x=5), person(0, x=700)])
    assert pixels(sequence)[0, H36M17.index("nose"), 0] == 5
    assert any("1 poses left out" in repair for repair in sequence.repairs)


def test_the_validation_part_is_held_out(tmp_path):
    [held_out] = read(tmp_path, [image(0)], [person(0)])
    train = "train/000342_mpii_train"
    [trained] = read(tmp_path, [image(0, video=train)], [person(0, video=train)])
    assert held_out.subject in SOURCES[0].test_subjects
    assert trained.subject not in SOURCES[0].test_subjects


def test_the_two_years_are_told_apart(tmp_path):
    (tmp_path / "PoseTrack21").mkdir()
    files = [
        write(tmp_path, [image(0)], [person(0)]),
        write(tmp_path, [{"has_labeled_person": True} | image(0)], [person(0)], "other.json"),
        write(tmp_path / "PoseTrack21", [image(0)], [person(0)]),
    ]
    assert [each.source.name for each in READER.find(files)] == ["posetrack18", "posetrack21", "posetrack21"]
    assert coco.READER.find(files) == []


def test_coco_files_are_not_claimed(tmp_path):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [], "categories": [PERSON | {"keypoints": list(COCO_NAMES)}]}))
    assert READER.find([File(str(path), 0)]) == []


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        ([3], [], "image 0: expected an object with an id"),
        ([image(0, file_name=None)], [], "image 0: expected a file_name"),
        ([image(0, file_name="images/val/cover.jpg")], [], "the frame number"),
        ([image(0)], [person(0), person(0, "a")], "annotation 1: expected a whole-number track_id"),
        ([image(0)], [person(0, keypoints=[1, 2, 1])], "annotation 0: expected keypoints: 51 numbers"),
        ([image(0)], [person(0, image_id=None)], "annotation 0: expected an object with an image_id"),
        ([image(0), image(20000)], [person(0), person(20000)], "at most 10,000 apart"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, images, annotations, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, images, annotations)


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_damaged_files_give_sequences_or_a_reason(tmp_path, data):
    file = write(tmp_path, [image(0), image(4)], [person(0), person(4)])
    damaged = bytearray(Path(file.path).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.json"
    path.write_bytes(damaged[: data.draw(st.integers(0, 2 * len(damaged)))])
    try:
        for recording in READER.find([File(str(path), data.draw(st.integers(0, 10**9)))]):
            assert all(sequence.num_frames <= 10_000 for sequence in READER.read(recording))
    except ValueError:
        pass
