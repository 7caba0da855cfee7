"""AlphaPose results as the detector writes them, oddities included."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.sequences import File, MotionSequence, RecordingError
from datasets.sources.alphapose import READER, frame_number
from motion_encoder.skeletons import COCO17_JOINTS, H36M17, HALPE26_JOINTS


def person(x, frame, *, joints=26, confidence=0.9, idx=None, box=True) -> dict:
    """Keypoint k stands at (x + k, 100 + 2 k)."""
    keypoints = [value for k in range(joints) for value in (x + k, 100 + 2 * k, confidence)]
    entry = {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": keypoints, "score": 2.4}
    entry |= {"box": [x, 100, 50, 100]} if box else {}
    return entry if idx is None else entry | {"idx": idx}


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def read(folder: Path, entries) -> list[MotionSequence]:
    path = folder / "results.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    return list(READER.read(recording))


def test_joints_go_where_the_detector_says(tmp_path):
    [sequence] = read(tmp_path, [person(10, 0)])
    for joint, theirs in {"rwrist": "rwrist", "root": "hip", "neck": "neck", "head": "head", "nose": "nose"}.items():
        k = HALPE26_JOINTS.index(theirs)
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (10 + k, 100 + 2 * k))
    np.testing.assert_allclose(sequence.confidence_TJ, 0.9, rtol=1e-6)
    assert sequence.keypoints_3d_TJC is None
    assert any("30 Hz assumed" in repair for repair in sequence.repairs)


def test_coco_roots_are_the_middle_of_the_hips(tmp_path):
    [sequence] = read(tmp_path, [person(10, 0, joints=17)])
    middle = (COCO17_JOINTS.index("lhip") + COCO17_JOINTS.index("rhip")) / 2
    np.testing.assert_allclose(pixels(sequence)[0, 0], (10 + middle, 100 + 2 * middle))


def test_frames_are_numbers_not_names_and_gaps_stay(tmp_path):
    [sequence] = read(tmp_path, [person(10 + frame, frame) for frame in (10, 9, 2, 12)])
    assert sequence.num_frames == 11  # frames 2 to 12
    np.testing.assert_array_equal(np.flatnonzero(np.all(sequence.confidence_TJ > 0, axis=1)), [0, 7, 8, 10])
    np.testing.assert_allclose(pixels(sequence)[[0, 7, 8, 10], 9, 0], [12, 19, 20, 22])  # the nose is k = 0
    assert not pixels(sequence)[1:7].any()


@pytest.mark.parametrize(("raw", "kept"), [(1.1, 1), (-0.1, 0), (float("nan"), 0), (0.5, 0.5)])
def test_confidences_end_in_0_to_1(tmp_path, raw, kept):
    [sequence] = read(tmp_path, [person(10, frame, confidence=raw) for frame in range(2)])
    assert sequence.confidence_TJ == pytest.approx(np.full((2, 17), kept))
    assert kept > 0 or not pixels(sequence).any()


def test_track_numbers_are_used_when_they_are_some(tmp_path):
    """Two people who change places: linking by place would be wrong."""
    entries = [person(0, 0, idx=7), person(300, 0, idx=8), person(300, 1, idx=7), person(0, 1, idx=8.0)]
    seven, eight = read(tmp_path, entries)
    np.testing.assert_allclose(pixels(seven)[:, 9, 0], [0, 300])
    np.testing.assert_allclose(pixels(eight)[:, 9, 0], [300, 0])
    assert seven.sequence_id.endswith("results.json#7")
    assert seven.subject == eight.subject  # one video on one side of the split


@pytest.mark.parametrize("idx", [[0.0], [[0.0], [0.0]], 0, None])
@pytest.mark.parametrize("box", [True, False])
def test_without_track_numbers_people_are_linked_by_place(tmp_path, idx, box):
    entries = [
        person(x + 2 * frame, frame, idx=idx, box=box) for frame in range(5) for x in (0, 300)[:: 1 - 2 * (frame % 2)]
    ]
    left, right = read(tmp_path, entries)
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [0, 2, 4, 6, 8])
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [300, 302, 304, 306, 308])
    assert any("linked" in repair for repair in left.repairs)


@pytest.mark.parametrize(
    ("image_id", "number"), [("123.jpg", 123), ("v2_frame_0007.png", 7), (12, 12), ("a/b3/0010.jpg", 10)]
)
def test_the_frame_is_the_last_number_of_the_name(image_id, number):
    assert frame_number(image_id, "x.json") == number


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (json.dumps([person(0, 0)])[:-40], "JSON"),
        ([person(0, 0), {"image_id": "1.jpg"}], "entry 1: expected image_id and a list of keypoints"),
        ([person(0, 0, joints=136)], "17 or 26 keypoints"),
        ([person(0, 0), person(0, 1, joints=17)], "the same in all"),
        ([person(0, 0) | {"image_id": "2018-07-04T12_04_17.738369.png"}], "image_id"),
        ([person(0, 0) | {"image_id": "cover.png"}], "image_id"),
        ([person(0, 0) | {"image_id": None}], "image_id"),
        ([person(0, 0), person(0, 20180704120417)], "at most 1,000,000 frames"),
        ([person(0, 0), 3], "entry 1: .*found 3"),
        ([person(0, 0) | {"keypoints": 3}], "entry 0"),
        ([person(0, 0) | {"box": [1, 2, 3]}], "numbers"),
        ([person(0, 0) | {"keypoints": ["x"] * 78}], "numbers"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, entries, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, entries)


def test_other_json_is_not_claimed(tmp_path):
    others = [
        '{"version": 1.3, "people": []}',
        "[]",
        '[{"image_id": 3, "bbox": []}]',
        '{"images": [], "annotations": []}',
        "",
    ]
    for number, text in enumerate(others):
        (tmp_path / f"{number}.json").write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


def test_one_real_person_stays_one_track(real_data):
    """The video shows one person in 809 frames; one frame holds a second detection."""
    path = real_data / "wild2d" / "alphapose_halpe26" / "alphapose-results.json"
    [recording] = READER.find([File(str(path), 0)])
    person_found, other = READER.read(recording)
    assert (person_found.num_frames, other.num_frames) == (809, 1)
    assert (person_found.confidence_TJ > 0).all()
