"""MSR-Action3D clips, written here line by line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.readers.action.msr_action3d import LABELS, MSR_ACTION3D, READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import metres, read_one

NAME = "a13_s02_e01_skeleton3D.txt"


def clip(frames=2, sure=1) -> str:
    """Joint k stands at (k + t, 2 k, 3) in frame t."""
    rows = [f"{k + t:.6f} {2 * k:.6f} 3.000000 {sure:.6f}" for t in range(frames) for k in range(20)]
    return "\r\n".join(rows) + "\r\n"


def read(folder: Path, text, name=NAME) -> list[MotionSequence]:
    return read_one(READER, folder / name, text)


def test_joints_go_where_the_lines_say(tmp_path):
    """Line 6 is the hips' centre, 3 the spine, 2 the shoulders', 19 the head; 0, 7, 9 and 4, 13, 15 are one side."""
    [sequence] = read(tmp_path, clip())
    for joint, k in {
        "root": 6, "belly": 3, "neck": 2, "nose": 10.5, "head": 19, "lshoulder": 0, "lelbow": 7, "lwrist": 9,
        "rshoulder": 1, "relbow": 8, "rwrist": 10, "lhip": 4, "lknee": 13, "lankle": 15, "rhip": 5, "rknee": 14,
        "rankle": 16,
    }.items():  # fmt: skip
        np.testing.assert_allclose(metres(sequence)[:, H36M17.index(joint)], [(k, 2 * k, 3), (k + 1, 2 * k, 3)])
    assert sequence.fps == 15
    assert any("15 Hz" in repair for repair in sequence.repairs)
    assert any("left and right" in repair for repair in sequence.repairs)


def test_the_name_says_who_and_what(tmp_path):
    [sequence] = read(tmp_path, clip())
    assert (sequence.sequence_id, sequence.subject) == ("a13_s02_e01", "msr_action3d/s02")
    assert (sequence.action, sequence.label, len(LABELS)) == ("bend", 12, 20)


def test_every_second_person_is_held_out():
    people = {n: f"msr_action3d/s{n:02d}" for n in range(1, 11)}
    assert [n for n in people if MSR_ACTION3D.split_of(people[n]) == "train"] == [1, 3, 5, 7, 9]


def test_joints_of_no_confidence_are_absent(tmp_path):
    lines = clip(1).splitlines()
    lines[6] = "9.0 9.0 9.0 0.0"
    [sequence] = read(tmp_path, "\n".join(lines))
    assert not metres(sequence)[0, 0].any()
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[0] == 0), [0])


def test_a_clip_of_nothing_but_zeros_has_nobody_in_it(tmp_path):
    [sequence] = read(tmp_path, "0 0 0 1\n" * 40)
    assert not sequence.confidence_TJ.any()


def test_pixels_and_other_text_are_not_claimed(tmp_path):
    others = {"a01_s01_e01_skeleton.txt": clip(), "notes.txt": clip(), "a01_s01_e02_skeleton3D.txt": "1 2 3\n" * 20}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (clip()[:-40], NAME, "80 numbers a frame"),
        (clip().replace("3.0", "3.x", 1), NAME, "only numbers"),
        (clip(), "a21_s01_e01_skeleton3D.txt", "AA from 01 to 20"),
        (clip(), "a00_s01_e01_skeleton3D.txt", "AA from 01 to 20"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, text, name, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, text, name)


WHOLE = clip().encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    path = tmp_path / NAME
    path.write_bytes(content[:at] if cut else content)
    try:
        for recording in READER.find([File(str(path), len(content))]):
            assert all(
                0 <= each.confidence_TJ.min() <= each.confidence_TJ.max() <= 1 for each in READER.read(recording)
            )
    except RecordingError:
        pass
