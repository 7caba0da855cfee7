"""Pickles in the layouts of PYSKL and MMAction2 (PYSKL, tools/data/README.md), written here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.action.ntu import NTU
from datasets.readers.action.pyskl import PYSKL, READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import read_damaged

NAME = "S001C002P003R002A013"


def annotation(keypoint: np.ndarray, score: np.ndarray | None = None, *, name=NAME, label=12, **more) -> dict[str, Any]:
    fields: dict[str, Any] = {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1]}
    if keypoint.shape[-1] == 2:
        fields |= {"img_shape": (1080, 1920), "original_shape": (1080, 1920)}
        fields["keypoint_score"] = np.full(keypoint.shape[:3], 0.5, np.float16) if score is None else score
    return fields | {"keypoint": keypoint.astype(np.float16)} | more


def flat(*starts: float, frames=4) -> np.ndarray:
    """Person m's joint k stands at (start + 2 t + k, 100 + 2 k) in frame t."""
    t, k = np.arange(frames)[:, None], np.arange(17)[None]
    people = [np.stack([start + 2 * t + k, 100 + 2 * k + 0 * t], axis=-1) for start in starts]
    return np.array(people, np.float64)


def published(*annotations: dict[str, Any], held_out: tuple[str, ...] = ()) -> dict[str, Any]:
    names = [each["frame_dir"] for each in annotations]
    train = [name for name in names if name not in held_out]
    return {"split": {"xsub_train": train, "xsub_val": list(held_out)}, "annotations": list(annotations)}


def write(folder: Path, data: Any, name="ntu60_hrnet.pkl", protocol=4) -> File:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol=protocol))
    return File(str(path), path.stat().st_size)


def read(folder: Path, data: Any, name="ntu60_hrnet.pkl") -> list[MotionSequence]:
    [recording] = READER.find([write(folder, data, name)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


def test_scores_go_with_their_joints(tmp_path):
    """MotionBERT, issue 132: there the score of COCO joint k is given to H36M joint k."""
    score = np.tile(np.arange(1, 18) / 32, (1, 4, 1)).astype(np.float16)  # exact in float16
    [sequence] = read(tmp_path, published(annotation(flat(1000), score)))
    for joint, parts in {
        "rwrist": ["rwrist"],
        "lankle": ["lankle"],
        "nose": ["nose"],
        "root": ["lhip", "rhip"],
        "head": ["leye", "reye"],
        "belly": ["lshoulder", "rshoulder", "lhip", "rhip"],
    }.items():
        k = [COCO17_JOINTS.index(part) for part in parts]
        np.testing.assert_array_equal(sequence.confidence_TJ[:, H36M17.index(joint)], np.full(4, (min(k) + 1) / 32))
        np.testing.assert_array_equal(
            pixels(sequence)[:, H36M17.index(joint)], flat(1000)[0][:, k].mean(axis=1)
        )  # the mean of four is a multiple of 1/4: exact
    assert sequence.keypoints_3d_TJC is None


def test_what_an_annotation_says_is_kept(tmp_path):
    [sequence] = read(tmp_path, published(annotation(flat(10))))
    assert sequence.image_size == (1920, 1080)  # img_shape is (height, width)
    assert (sequence.source.name, sequence.subject, sequence.label) == ("ntu", "ntu/p003", 12)
    assert sequence.action == NTU.labels[12]
    assert sequence.sequence_id == f"ntu60_hrnet/{NAME}#0"
    assert any("30 Hz assumed" in repair for repair in sequence.repairs)


def test_means_are_not_taken_in_float16(tmp_path):
    """1917 and 1918 are float16 numbers, their mean is not."""
    keypoint = flat(10)
    keypoint[0, :, COCO17_JOINTS.index("lhip")] = (1917, 1)
    keypoint[0, :, COCO17_JOINTS.index("rhip")] = (1918, 1)
    [sequence] = read(tmp_path, published(annotation(keypoint)))
    np.testing.assert_array_equal(pixels(sequence)[:, 0], np.full((4, 2), (1917.5, 1)))


def test_two_people_are_two_sequences_and_nobody_is_none(tmp_path):
    keypoint = np.concatenate([flat(10, 600), np.zeros((1, 4, 17, 2))])
    score = np.full((3, 4, 17), 0.5, np.float16)  # of the empty third slot too
    one, two = read(tmp_path, published(annotation(keypoint, score)))
    np.testing.assert_array_equal(pixels(one)[:, 9, 0], [10, 12, 14, 16])  # the nose is k = 0
    np.testing.assert_array_equal(pixels(two)[:, 9, 0], [600, 602, 604, 606])
    assert (one.sequence_id[-2:], two.sequence_id[-2:]) == ("#0", "#1")
    assert one.subject == two.subject


def test_frames_without_the_person_are_gaps(tmp_path):
    keypoint = flat(10, frames=6)
    keypoint[0, [0, 2, 3]] = 0
    [sequence] = read(tmp_path, published(annotation(keypoint)))
    np.testing.assert_array_equal((sequence.confidence_TJ > 0).any(axis=1), [True, False, False, True, True])
    np.testing.assert_array_equal(pixels(sequence)[:, 9, 0], [12, 0, 0, 18, 20])


def test_people_who_trade_places_are_put_back(tmp_path):
    keypoint = flat(10, 600, frames=5)
    score = np.stack([np.full((5, 17), 0.25), np.full((5, 17), 0.75)]).astype(np.float16)
    for values in (keypoint, score):
        values[:, 2:4] = values[::-1, 2:4].copy()
    one, two = read(tmp_path, published(annotation(keypoint, score)))
    np.testing.assert_array_equal(pixels(one)[:, 9, 0], [10, 12, 14, 16, 18])
    np.testing.assert_array_equal(pixels(two)[:, 9, 0], [600, 602, 604, 606, 608])
    assert (one.confidence_TJ == 0.25).all()
    assert (two.confidence_TJ == 0.75).all()
    assert any("traded places 2 times" in repair for repair in one.repairs)


def test_somebody_who_comes_later_takes_nobody_s_place(tmp_path):
    keypoint = flat(10, 600, frames=5)
    keypoint[0, 3:] = 0
    keypoint[1, :2] = 0
    one, two = read(tmp_path, published(annotation(keypoint)))
    np.testing.assert_array_equal(pixels(one)[:, 9, 0], [10, 12, 14])
    np.testing.assert_array_equal(pixels(two)[:, 9, 0], [604, 606, 608])
    assert not any("traded" in repair for repair in one.repairs)


def test_three_dimensions_are_the_kinect_s(tmp_path):
    k = np.arange(25)
    keypoint = np.stack([k / 8, k / 4 - 1, 3 + 0 * k], axis=-1)[None, None].repeat(3, axis=1)
    keypoint[0, 1, 20] = 0  # the shoulders' middle is lost once
    [sequence] = read(tmp_path, published(annotation(keypoint)), "ntu60_3danno.pkl")
    assert sequence.keypoints_2d_TJC is None
    assert sequence.image_size is None
    assert sequence.keypoints_3d_TJC is not None
    np.testing.assert_array_equal(sequence.keypoints_3d_TJC[0, H36M17.index("rwrist")], (10 / 8, 10 / 4 - 1, 3))
    np.testing.assert_array_equal(sequence.confidence_TJ[:, H36M17.index("neck")], [1, 0, 1])
    assert sequence.confidence_TJ.sum() == 3 * 17 - 1


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"train1": ["b"], "test1": ["a"], "train2": ["a"], "test2": ["b"]}, {"a": "test", "b": "train"}),
        ({"train": ["b"], "val": ["a"]}, {"a": "test", "b": "train"}),
        ({"train": [], "val": ["a"], "test": ["b"]}, {"a": "test", "b": "test"}),
        ({"train": ["a", "b"]}, {"a": "train", "b": "train"}),
    ],
)
def test_the_file_s_lists_decide_who_is_held_out(tmp_path, lists, expected):
    data = {"split": lists, "annotations": [annotation(flat(10), name=name, label=7) for name in "ab"]}
    sequences = read(tmp_path, data, "ucf101_hrnet.pkl")
    found = {each.sequence_id: PYSKL.split_of(each.subject) for each in sequences}
    assert found == {f"ucf101_hrnet/{name}#0": split for name, split in expected.items()}
    assert all((each.source, each.label, each.action) == (PYSKL, None, "ucf101 class 7") for each in sequences)


def test_the_lists_of_ntu_are_those_of_its_people(tmp_path):
    names = [f"S001C001P{person:03d}R001A001" for person in (1, 3)]
    sequences = read(tmp_path, published(*(annotation(flat(10), name=name) for name in names), held_out=(names[1],)))
    assert [NTU.split_of(each.subject) for each in sequences] == ["train", "test"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "data",
    [
        published(annotation(flat(10))),
        dict(reversed(published(annotation(flat(10))).items())),
        [annotation(flat(10))],
        dict(reversed(annotation(flat(10, frames=99)).items())),
    ],
    ids=["split first", "annotations first", "list", "one, keypoint first"],
)
def test_every_layout_is_known_by_its_first_bytes(tmp_path, data, protocol):
    [recording] = READER.find([write(tmp_path, data, protocol=protocol)])
    assert recording.source == NTU
    assert len(list(READER.read(recording))) == 1


@pytest.mark.parametrize(("stem", "split"), [("gym_val", "test"), ("gym_train", "train")])
def test_a_bare_list_is_split_by_its_file_s_name(tmp_path, stem, split):
    [sequence] = read(tmp_path, [annotation(flat(10), name="a")], f"{stem}.pkl")
    assert PYSKL.split_of(sequence.subject) == split


def test_classes_of_unlike_data_sets_do_not_mix(tmp_path):
    """A data set goes by its file's name, whatever the file holds of it and whoever found the people."""
    files = ["gym_hrnet", "gym_train", "gym_2d", "gym-val", "diving48_2d_test", "k400_hrnet", "train"]
    data = [annotation(flat(10), name="a", label=3)]
    actions = {stem: read(tmp_path, data, f"{stem}.pkl")[0].action for stem in files}
    assert actions == dict.fromkeys(files[:4], "gym class 3") | {
        "diving48_2d_test": "diving48 class 3",
        "k400_hrnet": "k400 class 3",
        "train": "train class 3",
    }


def test_other_pickles_are_not_claimed(tmp_path):
    others = [
        {"train": {"joint_2d": np.zeros(3)}},
        {"split": 3},
        {"keypoints": np.zeros((2, 17, 2))},
        {"pose": [1], "label": ["a"]},
        [],
        b"",
        b"[{'frame_dir': 'a', 'keypoint': 3}]",
    ]
    assert READER.find([write(tmp_path, data, f"{number}.pkl") for number, data in enumerate(others)]) == []


class Malicious:
    def __reduce__(self):
        return eval, ("print('run')",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (published(annotation(flat(10)[:, :, :16])), r"annotation 0: keypoint: expected people x frames"),
        (published(annotation(flat(10)[0])), "keypoint"),
        (published(annotation(flat(10)), annotation(flat(10), total_frames=9)), "annotation 1: .*9 frames, found 4"),
        (published(annotation(flat(10), np.ones((1, 4, 16)))), "keypoint_score"),
        (published(annotation(flat(10), keypoint_score="x")), "keypoint_score: expected an array"),
        (published(annotation(flat(10)) | {"keypoint": np.array([None])}), "an array of numbers"),
        (published(annotation(flat(10), img_shape=3)), "img_shape"),
        (published({"frame_dir": "v", "label": 1, "raw_file": "kp/v.pkl", "total_frames": 3}), "another file"),
        ({"split": {"train": [], "fold_5_test": []}, "annotations": []}, "a list named xsub_val or val"),
        ([annotation(flat(10)), 3], "annotation 1: expected a dictionary"),
        (published(annotation(flat(10), extra=Malicious())), "eval"),
        (pickle.dumps(published(annotation(flat(10))))[:-200], "complete pickle"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, data, message, capsys):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, data)
    assert capsys.readouterr().out == ""


def test_missing_scores_are_said(tmp_path):
    fields = annotation(flat(10))
    del fields["keypoint_score"]
    [sequence] = read(tmp_path, published(fields))
    assert (sequence.confidence_TJ == 1).all()
    assert any("no scores" in repair for repair in sequence.repairs)


WHOLE = pickle.dumps(published(annotation(flat(10, 600))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    for recording in READER.find([write(tmp_path, bytes(content[:at] if cut else content))]):
        for sequence in read_damaged(READER, recording):
            assert 0 <= sequence.confidence_TJ.min() <= sequence.confidence_TJ.max() <= 1
