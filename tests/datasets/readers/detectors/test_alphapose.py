"""AlphaPose results as the detector writes them, oddities included."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS, HALPE26_JOINTS
from datasets.readers.detectors.alphapose import READER, SOURCE, frame_number
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17


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
        ([person(0, 0, joints=21)], "17 or 18 or 26 or 133 or 136 keypoints a person, found 21"),
        ([person(0, 0), person(0, 1, joints=17)], "the same number of keypoints in all"),
        ([person(0, 0)] * 1024 + [person(0, 1, joints=17)], "the same number in all entries, found 26 and 17"),
        ([person(0, 0) | {"keypoints": [1] * 77}], r"lists of \[77\] numbers"),
        ([person(0, 0), person(0, 0) | {"image_id": "2018-07-04T12_04_17.738369.png"}], "image_id"),
        ([person(0, 0) | {"image_id": f"2018-07-04T12_04_17.{k:06}.png"} for k in range(3)], "1 ms to 2 s apart"),
        ([person(0, 0) | {"image_id": "2018-99-04T12_04_17.738369.png"}], "image_id"),
        ([person(0, 0)] * 257, "at most 256 people"),
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


COCO = [(joint, 10.0 * k, 5.0 + 20 * k) for k, joint in enumerate(COCO17_JOINTS)]


@pytest.mark.parametrize(
    ("layout", "people", "joints"), [("cmu", "bodies", "joints"), ("open", "people", "pose_keypoints_2d")]
)
@pytest.mark.parametrize("model", ["coco", "halpe"])
def test_frames_of_18_joints_come_out_like_the_17_they_were_made_of(tmp_path, layout, people, joints, model):
    """Their second joint is the middle of the shoulders, or for a Halpe model the head: it must not matter."""
    at = {joint: (x, y, 0.9) for joint, x, y in COCO}
    second = (at["lshoulder"][0] / 2 + at["rshoulder"][0] / 2, 115.0, 0.9) if model == "coco" else (500.0, 500.0, 0.9)
    order = (
        "nose second rshoulder relbow rwrist lshoulder lelbow lwrist rhip rknee rankle lhip lknee lankle "
        "reye leye rear lear"
    )
    values = [value for joint in order.split() for value in (at | {"second": second})[joint]]
    text = json.dumps({f"{t}.jpg": {"version": "AlphaPose v0.3", people: [{joints: values}]} for t in (0, 2)})
    [sequence] = read(tmp_path, text)
    [expected] = read(tmp_path, [coco_person(0), coco_person(2)])
    np.testing.assert_array_equal(pixels(sequence), pixels(expected))
    np.testing.assert_array_equal(sequence.confidence_TJ, expected.confidence_TJ)
    assert not sequence.confidence_TJ[1].any()


def coco_person(frame: int) -> dict:
    return {"image_id": f"{frame}.jpg", "keypoints": [value for _, x, y in COCO for value in (x, y, 0.9)], "score": 2.0}


def test_copies_in_sep_json_belong_to_their_result(tmp_path):
    frame = {"version": "AlphaPose v0.3", "bodies": [{"joints": [1.0] * 54}]}
    (tmp_path / "sep-json").mkdir()
    (tmp_path / "sep-json" / "0.json").write_text(json.dumps(frame))
    (tmp_path / "alphapose-results.json").write_text(json.dumps({"0.jpg": frame}))
    files = [File(str(path), 0) for path in sorted(tmp_path.rglob("*.json"))]
    [recording] = READER.find(files)
    assert recording.path.endswith("alphapose-results.json")
    assert recording.companions == (str(tmp_path / "sep-json" / "0.json"),)


def test_the_tracker_s_frames_are_read_with_their_numbers(tmp_path):
    """Two people who change places."""
    entries = {
        f"{t}.jpg": [
            {"keypoints": person(300 * (t ^ k), 0)["keypoints"], "scores": 2.0, "idx": k + 1} for k in range(2)
        ]
        for t in range(2)
    }
    one, two = read(tmp_path, json.dumps(entries))
    np.testing.assert_allclose(pixels(one)[:, 9, 0], [0, 300])
    np.testing.assert_allclose(pixels(two)[:, 9, 0], [300, 0])


def test_of_136_keypoints_the_first_26_are_the_body(tmp_path):
    [body] = read(tmp_path, [person(10, frame) for frame in range(3)])
    [whole] = read(tmp_path, [person(10, frame, joints=136) for frame in range(3)])
    np.testing.assert_array_equal(pixels(whole), pixels(body))


def test_of_133_keypoints_the_first_17_are_coco_s(tmp_path):
    [body] = read(tmp_path, [person(10, frame, joints=17) for frame in range(3)])
    [whole] = read(tmp_path, [person(10, frame, joints=133) for frame in range(3)])
    np.testing.assert_array_equal(pixels(whole), pixels(body))


@pytest.mark.parametrize(("idx", "name"), [(4, "#4"), ([4.0], "#4"), ([[4.0]], "#4"), (0, "#0"), ([[0.0]], "#0")])
def test_idx_counts_from_1_and_may_stand_in_lists(tmp_path, idx, name):
    """0 says that nobody tracked: then they are linked, and linking begins with 0."""
    [sequence] = read(tmp_path, [person(10, frame, idx=idx) for frame in range(3)])
    assert sequence.sequence_id.endswith(name)
    assert any("no track numbers" in repair for repair in sequence.repairs) is (name == "#0")


def test_a_pose_merged_of_several_people_is_linked_to_their_track(tmp_path):
    """Who was lost for 20 frames is the same by number."""
    entries = [person(10, 0, idx=4), person(10, 1, idx=[[4.0], [6.0]]), person(10, 22, idx=4)]
    [sequence] = read(tmp_path, entries)
    assert sequence.num_frames == 23
    assert any("1 of 3 detections without a track number" in repair for repair in sequence.repairs)


def test_who_is_gone_for_more_than_two_seconds_comes_back_as_another_sequence(tmp_path):
    frames = (0, 1, 61, 122)  # 60 frames are two seconds
    first, second = read(tmp_path, [person(0, t, idx=1) for t in frames] + [person(900, 0, idx=2)])[:2]
    assert (first.num_frames, second.num_frames) == (62, 1)
    assert (first.sequence_id[-2:], second.sequence_id[-4:]) == ("#1", "#1.1")


def stamped(x: float, seconds: float, copy: str = "") -> dict:
    return person(x, 0) | {"image_id": f"2018-07-04T12_04_{seconds:09.6f}{copy}.png"}


def test_time_stamps_give_the_rate_and_the_trials(tmp_path):
    """20 Hz with an image missing, then 10 s of nothing, then another trial."""
    seconds = [1.0, 1.05, 1.1, 1.2, 1.25, 11.25, 11.3]
    first, second = read(tmp_path, [stamped(100 * s, s) for s in reversed(seconds)])
    assert first.fps == second.fps == 20
    assert (first.num_frames, second.num_frames) == (6, 2)
    np.testing.assert_array_equal(np.flatnonzero(first.confidence_TJ[:, 0] > 0), [0, 1, 2, 4, 5])
    np.testing.assert_allclose(pixels(first)[[0, 1, 2, 4, 5], 9, 0], [100, 105, 110, 120, 125], rtol=1e-5)
    np.testing.assert_allclose(pixels(second)[:, 9, 0], [1125, 1130], rtol=1e-5)


def test_uneven_time_stamps_are_brought_in_step(tmp_path):
    """Uniform motion stays uniform, though the third image of five came late."""
    [sequence] = read(tmp_path, [stamped(100 * s, s) for s in (1.0, 1.1, 1.23, 1.3, 1.4)])
    assert sequence.fps == pytest.approx(10)
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [100, 110, 120, 130, 140], rtol=1e-5)


def test_a_second_copy_of_an_image_is_left_out(tmp_path):
    [sequence] = read(tmp_path, [stamped(0, 1.0), stamped(0, 1.0, " (1)"), stamped(0, 1.1, " (1)"), stamped(0, 1.2)])
    assert (sequence.confidence_TJ > 0).all()
    assert sequence.num_frames == 3
    assert frame_number("0012 (1).jpg", "x.json") == 12


def test_the_user_may_say_rate_and_size_of_the_video(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([person(0, 0)]))
    (tmp_path / "video.json").write_text('{"width": 1920, "height": 1080, "fps": 25}')
    [recording] = READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())])
    [sequence] = READER.read(recording)
    assert (sequence.fps, sequence.image_size) == (25, (1920, 1080))
    assert not any("Hz assumed" in repair for repair in sequence.repairs)
    (tmp_path / "video.json").write_text('{"width": 1920}')
    with pytest.raises(RecordingError, match=r"video\.json"):
        list(READER.read(recording))


@given(st.integers(0, 2**31), st.sampled_from(["flip", "cut", "drop"]))
@settings(deadline=None, max_examples=60)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed, how):
    content = bytearray(json.dumps([person(3 * t, t, joints=17, idx=t % 2) for t in range(8)]).encode())
    rng = np.random.default_rng(seed)
    where = int(rng.integers(len(content)))
    if how == "flip":
        content[where] = int(rng.integers(256))
    elif how == "cut":
        del content[where:]
    else:
        del content[where : where + int(rng.integers(1, 60))]
    path = tmp_path_factory.mktemp("fuzz") / "results.json"
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="alphapose", source=SOURCE)):
            assert np.isfinite(pixels(sequence)).all()
            assert (sequence.confidence_TJ <= 1).all()


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
