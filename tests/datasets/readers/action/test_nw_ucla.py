"""Northwestern-UCLA clips, written here as the JSON files are laid out."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.extraction.duplicates import content_digest
from datasets.readers.action.nw_ucla import NW_UCLA, READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17


def skeletons(frames=3) -> np.ndarray:
    """Joint k stands at (k + t, 2 k, 3) in frame t."""
    t, k = np.arange(frames)[:, None], np.arange(20)[None]
    return np.stack([k + t + 0.5, 2.0 * k + 0 * t, 3.0 + 0 * (k + t)], axis=-1)


def clip(name="a08_s09_e04_v02", points=None, label=7) -> dict:
    return {"file_name": name, "skeletons": (skeletons() if points is None else points).tolist(), "label": label}


def read(folder: Path, content, name="clip.json") -> list[MotionSequence]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    return list(READER.read(recording))


def test_a_clip_is_who_did_what_and_where_the_joints_were(tmp_path):
    [sequence] = read(tmp_path, clip())
    assert sequence.keypoints_3d_TJC is not None
    for joint, k in {"root": 0, "neck": 2, "nose": 2.5, "head": 3, "lwrist": 6, "rknee": 17}.items():
        at = [(k + t + 0.5, 2 * k, 3) for t in range(3)]
        np.testing.assert_allclose(sequence.keypoints_3d_TJC[:, H36M17.index(joint)], at)
    assert (sequence.sequence_id, sequence.subject) == ("a08_s09_e04_v02", "nw_ucla/s09")
    assert sequence.view == "v02"
    assert (sequence.action, sequence.label) == ("donning", 6)  # there is no a07
    assert sequence.fps == 30
    assert any("30 Hz assumed" in repair for repair in sequence.repairs)


@pytest.mark.parametrize(("number", "label"), [(1, 0), (6, 5), (8, 6), (9, 7), (11, 8), (12, 9)])
def test_labels_are_without_the_two_that_are_missing(tmp_path, number, label):
    [sequence] = read(tmp_path, clip(f"a{number:02d}_s01_e00_v01"))
    assert sequence.label == label
    assert sequence.action == NW_UCLA.labels[label]


def test_a_copy_under_another_view_is_on_the_same_side_and_known_by_its_content(tmp_path):
    [one] = read(tmp_path, clip("a02_s09_e04_v01"))
    [two] = read(tmp_path, clip("a02_s09_e04_v03"))
    assert one.sequence_id != two.sequence_id
    assert content_digest(one) == content_digest(two)
    assert one.subject == two.subject  # the people are what splits are made by
    people = {NW_UCLA.split_of(f"nw_ucla/s{n:02d}") for n in range(1, 11)}
    assert people == {"train", "test"}


def test_a_clip_of_one_frame_is_left_to_the_checks(tmp_path):
    [sequence] = read(tmp_path, clip("a02_s09_e04_v02", skeletons(1)))
    assert sequence.num_frames == 1


def test_lost_joints_are_absent(tmp_path):
    points = skeletons()
    points[1, 0] = 0
    [sequence] = read(tmp_path, clip(points=points))
    np.testing.assert_array_equal(sequence.confidence_TJ[:, 0], [1, 0, 1])


def test_other_json_is_not_claimed(tmp_path):
    others = [
        '{"file_name": "walk", "skeletons": []}',
        '{"file_name": "a01_s01_e00_v01", "people": []}',
        '[{"file_name": "a01_s01_e00_v01", "skeletons": []}]',
        '{"skeletons": []}',
        "",
    ]
    for number, text in enumerate(others):
        (tmp_path / f"{number}.json").write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(clip()).encode()[:-30], "JSON"),
        (clip(points=skeletons()[:, :19]), "20 joints x 3"),
        (clip(points=np.zeros((0,))), "20 joints x 3"),
        (clip() | {"skeletons": [[[1, 2]], [3]]}, "JSON"),
        (clip() | {"skeletons": "x"}, "JSON"),
        (clip("a07_s01_e00_v01"), "a07"),
        (b'{"file_name": "a01_s01_e00_v01", "skeletons": ' + b"[" * 100_000, "JSON: .*RecursionError"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content)


WHOLE = json.dumps(clip()).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    path = tmp_path / "clip.json"
    path.write_bytes(content[:at] if cut else content)
    try:
        for recording in READER.find([File(str(path), len(content))]):
            assert all(each.num_frames for each in READER.read(recording))
    except RecordingError:
        pass
