"""COCO keypoint files and result lists, written as the format's page describes them."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.detectors.coco import READER, SOURCES
from datasets.readers.detectors.coco_layout import CHUNK, COCO_NAMES, joint_names
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

PERSON = {"supercategory": "person", "id": 1, "name": "person", "keypoints": list(COCO_NAMES), "skeleton": [[16, 14]]}


def person(image: Any = 7, *, label: float = 2, **others) -> dict:
    """Joint k stands at (100 + k, 200 + 3 k)."""
    keypoints = [value for k in range(17) for value in (100 + k, 200 + 3 * k, label)]
    entry = {"segmentation": [[1.5, 2.5, 3.5, 4.5]], "num_keypoints": 17, "area": 9.5, "iscrowd": 0}
    return entry | {"keypoints": keypoints, "image_id": image, "bbox": [1, 2, 3, 4], "category_id": 1, "id": 5} | others


def content(annotations, *, images=None, categories=(PERSON,)) -> dict:
    """In the order of the published files: joint names last."""
    images = [{"license": 4, "file_name": "7.jpg", "height": 427, "width": 640, "id": 7}] if images is None else images
    return {"info": {"year": 2017}, "images": images, "annotations": annotations, "categories": list(categories)}


def result(image: Any = 7, **others) -> dict:
    keypoints = [value for k in range(17) for value in (100.5 + k, 200 + 3 * k, 0.75)]
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": 0.9} | others


def write(folder: Path, what, name="annotations.json") -> File:
    path = folder / name
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return File(str(path), path.stat().st_size)


def read(folder: Path, what, name="annotations.json") -> list[MotionSequence]:
    [recording] = READER.find([write(folder, what, name)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_joints_go_where_their_names_say(tmp_path):
    [sequence] = read(tmp_path, content([person()]))
    assert sequence.num_frames == 1
    assert sequence.image_size == (640, 427)
    for joint, k in {
        "nose": 0,
        "lshoulder": 5,
        "rwrist": 10,
        "lhip": 11,
        "rankle": 16,
        "root": 11.5,
        "neck": 5.5,
    }.items():
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (100 + k, 200 + 3 * k))
    np.testing.assert_array_equal(sequence.confidence_TJ, 1)
    check(sequence)


@pytest.mark.parametrize(("label", "confidence"), [(0, 0), (1, 0.5), (2, 1), (2.0, 1), (0.25, 0.25)])
def test_labels_become_confidences(tmp_path, label, confidence):
    [sequence] = read(tmp_path, content([person(label=label)]))
    np.testing.assert_array_equal(sequence.confidence_TJ, np.full((1, 17), confidence))
    assert confidence > 0 or not pixels(sequence).any()


def test_a_fused_joint_is_absent_when_a_part_is(tmp_path):
    entry = person()
    entry["keypoints"][3 * 11 : 3 * 11 + 3] = [0, 0, 0]  # no left hip
    [sequence] = read(tmp_path, content([entry]))
    absent = {H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0] == 0)}
    assert absent == {"root", "lhip", "belly"}
    assert not pixels(sequence)[sequence.confidence_TJ == 0].any()


def test_crowds_and_the_unlabelled_are_no_poses(tmp_path):
    others = [person(iscrowd=1), person(label=0, num_keypoints=0), {"image_id": 7, "bbox": [1, 2, 3, 4], "id": 6}]
    [sequence] = read(tmp_path, content([*others, person()]))
    assert sequence.sequence_id.endswith("annotations.json#7.3")


def test_images_repeat_and_may_come_last_or_lack_a_size(tmp_path):
    image = {"height": 30, "width": 40, "id": 7}
    whole = content([person(7), person(7), person(8), person(9)], images=[image, image, {"id": 8}])
    images = whole.pop("images")
    sequences = read(tmp_path, whole | {"images": images})
    assert [sequence.image_size for sequence in sequences] == [(40, 30), (40, 30), None, None]
    assert len({sequence.sequence_id for sequence in sequences}) == 4


def test_the_published_validation_images_are_held_out(tmp_path):
    [coco, layout] = SOURCES
    [held_out] = read(tmp_path, content([person()]), "person_keypoints_val2017.json")
    [trained] = read(tmp_path, content([person()]), "person_keypoints_train2017.json")
    [own] = read(tmp_path, content([person()]), "mine.json")
    assert (held_out.source, trained.source, own.source) == (coco, coco, layout)
    assert held_out.subject in coco.test_subjects
    assert trained.subject not in coco.test_subjects


def test_result_lists_are_read_too(tmp_path):
    first, second = read(tmp_path, [result(7), result(9, score=-1.5, bbox=[1, 2, 3, 4])], "results.json")
    np.testing.assert_allclose(pixels(first)[0, H36M17.index("rwrist")], (110.5, 230))
    np.testing.assert_array_equal(second.confidence_TJ, 0.75)
    assert first.sequence_id != second.sequence_id
    assert first.image_size is None


def test_scores_of_results_end_in_0_to_1(tmp_path):
    entry = result()
    entry["keypoints"][2::3] = [1.1, -0.1, *[2] * 15]
    [sequence] = read(tmp_path, [entry], "results.json")
    assert sequence.confidence_TJ[0, H36M17.index("nose")] == 1
    assert sequence.confidence_TJ[0, H36M17.index("head")] == 0  # the left eye is a part of it


def test_files_of_others_are_not_claimed(tmp_path):
    posetrack = PERSON | {"keypoints": ["nose", "head_bottom", "head_top", *COCO_NAMES[3:]]}
    others = [
        content([person()], categories=[posetrack]),
        content([person()], categories=[{"id": 1, "name": "person"}]),
        [result("7.jpg")],
        [result(box=[1, 2, 3, 4])],
        [result(idx=3)],
        [result(keypoints=[1, 2, 3])],
        [{"image_id": 7}],
        {"version": 1.3, "people": []},
        "[" * 3000,
        "[{",
        "",
    ]
    files = [write(tmp_path, what, f"{number}.json") for number, what in enumerate(others)]
    files.append(write(tmp_path, content([person()]), "annotations.txt"))
    assert READER.find([*files, File(str(tmp_path / "gone.json"), 3)]) == []


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([person(), person(keypoints=[1, 2, 2])], "annotation 1: expected keypoints: 51 numbers"),
        ([person(keypoints="many")], "annotation 0: expected keypoints"),
        ([person(keypoints=[None] * 51)], "annotation 0: expected keypoints"),
        ([person(keypoints=[1e300] * 51)], "up to 1e.06 pixels"),
        ([person(keypoints=[float("nan")] * 51)], "up to 1e.06 pixels"),
        ([person(label=3)], "visibilities 0, 1 or 2"),
        ([person(label=-1)], "visibilities 0, 1 or 2"),
        ([3], "annotation 0: expected an object with an image_id, found 3"),
        ([person(image=[1])], "image_id"),
    ],
)
def test_a_bad_annotation_is_named(tmp_path, annotations, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content(annotations))


def test_a_cut_off_file_is_refused(tmp_path):
    text = json.dumps({"categories": [PERSON]} | content([person(), person()]))
    with pytest.raises(RecordingError, match="a complete JSON document"):
        read(tmp_path, text[:-300])


def test_what_nests_like_a_bomb_is_refused(tmp_path):
    start = json.dumps({"categories": [PERSON]})[:-1]
    with pytest.raises(RecordingError, match="JSON"):
        read(tmp_path, start + ', "annotations": ' + "[" * 1_000_000)


@pytest.mark.parametrize("offset", [-3000, -400, -10, 0, 10])
def test_names_are_found_wherever_a_chunk_ends(tmp_path, offset):
    start = '{"info": {"note": "'
    text = start + "x" * (CHUNK + offset - len(start)) + '"}, "categories": ' + json.dumps([PERSON]) + "}"
    assert joint_names(write(tmp_path, text, f"{offset}.json")) == COCO_NAMES


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(count: int) -> int:
        [recording] = READER.find([write(tmp_path, content([person(note="x" * 50_000)] * count), f"{count}.json")])
        tracemalloc.start()
        assert sum(1 for _ in READER.read(recording)) == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(200) < 1.2 * peak(50)  # 10 and 2.5 MB


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_damaged_files_give_sequences_or_a_reason(tmp_path, data):
    text = json.dumps({"categories": [PERSON]} | content([person(), person(label=1)])).encode()
    damaged = bytearray(text[: data.draw(st.integers(0, len(text)))])
    for place in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=6)):
        damaged[place % max(len(damaged), 1) : place % max(len(damaged), 1) + 1] = bytes(
            [data.draw(st.integers(0, 255))]
        )
    path = tmp_path / "damaged.json"
    path.write_bytes(damaged)
    try:
        for recording in READER.find([File(str(path), len(damaged) + data.draw(st.integers(0, 10**9)))]):
            assert all(sequence.num_frames == 1 for sequence in READER.read(recording))
    except ValueError:
        pass


def test_real_annotations(real_data):
    """1,354 persons with labelled joints in 538 images; ``images`` lists 2,213."""
    path = real_data / "wild2d" / "coco_val2017_subset" / "person_keypoints_val2017.json"
    truth = json.loads(path.read_text())
    labelled = [entry for entry in truth["annotations"] if not entry["iscrowd"] and entry["num_keypoints"]]
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    sequences = list(READER.read(recording))
    assert len(sequences) == len(labelled) == 1354
    ankle = np.array([entry["keypoints"][3 * 16 :] for entry in labelled], dtype=np.float32)
    np.testing.assert_array_equal(
        np.stack([pixels(each)[0, H36M17.index("rankle")] for each in sequences]), ankle[:, :2]
    )
    confidence = np.stack([each.confidence_TJ[0, H36M17.index("rankle")] for each in sequences])
    np.testing.assert_array_equal(confidence, ankle[:, 2] / 2)
    assert all(each.image_size is not None for each in sequences)
