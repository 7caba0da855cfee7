"""UTKinect recordings and their list of actions, written here as the data set's page describes them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.readers.action.utkinect import LABELS, READER
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

NAME = "joints_s07_e01.txt"


def line(frame: int, shift=0.0) -> str:
    """Joint k stands at (frame + shift, k + 1, 3)."""
    return f"{frame}   " + "  ".join(f"{frame + shift:.7f}  {k + 1:.7f}  3.0000000" for k in range(20)) + " "


def lines(*frames: int) -> str:
    return "\n".join(line(frame) for frame in frames) + "\n"


def read(folder: Path, text, actions: str | None = None) -> list[MotionSequence]:
    path = folder / "joints" / NAME
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    files = [File(str(path), path.stat().st_size)]
    if actions is not None:
        (folder / "actionLabel.txt").write_text(actions)
        files.append(File(str(folder / "actionLabel.txt"), 1))
    [recording] = READER.find(files)
    return list(READER.read(recording))


def where(sequence: MotionSequence) -> list[float]:
    """x of the root, which is the frame's number; 0 where not seen."""
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC[:, 0, 0].tolist()


def test_joints_go_where_the_sensor_says(tmp_path):
    [sequence] = read(tmp_path, lines(4, 5))
    assert sequence.keypoints_3d_TJC is not None
    for joint, k in {"root": 0, "neck": 2, "nose": 2.5, "head": 3, "lwrist": 6, "rankle": 18}.items():
        np.testing.assert_allclose(sequence.keypoints_3d_TJC[:, H36M17.index(joint)], [(4, k + 1, 3), (5, k + 1, 3)])
    assert (sequence.subject, sequence.label, sequence.fps) == ("utkinect/s07", None, 30)
    assert any("no actionLabel.txt" in repair for repair in sequence.repairs)


def test_numbers_say_when_and_frames_left_out_are_gaps(tmp_path):
    [sequence] = read(tmp_path, lines(252, 254, 256, 262, 264))
    assert sequence.fps == 15  # every second number of 30 Hz
    assert where(sequence) == [252, 254, 256, 0, 0, 262, 264]
    np.testing.assert_array_equal(sequence.confidence_TJ[:, 0], [1, 1, 1, 0, 0, 1, 1])


def test_of_a_repeated_number_the_first_line_is_taken(tmp_path):
    text = "\n".join([line(2), line(3), line(3, 0.25), line(4), line(8), line(9), line(9, 0.5), line(9, 0.25)])
    [sequence] = read(tmp_path, text)
    assert where(sequence) == [2, 3, 4, 0, 0, 0, 8, 9]
    assert "3 lines left out: the numbers of their frames had been there" in sequence.repairs
    walk, push = read(tmp_path, text, "s07_e01\nwalk: 2 3\npush: 4 8\n")[:2]
    assert walk.repairs == ("1 lines left out: the numbers of their frames had been there",)
    assert push.repairs == ()


ACTIONS = """s06_e01
walk: 0 100
s07_e01
walk: 14 18
push: 30 34
pull: 24 30
sitDown: 90 98
carry: NaN NaN
s07_e02
walk: 0 100
"""


def test_each_action_is_a_labelled_sequence_and_the_rest_is_kept(tmp_path):
    """As in the list itself: out of order (push before pull), touching (30), and NaN; sitDown has no line of joints."""
    found = {each.sequence_id: each for each in read(tmp_path, lines(*range(10, 40, 2)), ACTIONS)}
    assert {name: (each.action, each.label) for name, each in found.items()} == {
        "s07_e01#14-18": ("walk", 0),
        "s07_e01#24-30": ("pull", 7),
        "s07_e01#30-34": ("push", 6),
        "s07_e01#10-12": (None, None),
        "s07_e01#20-22": (None, None),
        "s07_e01#36-38": (None, None),
    }
    for name, each in found.items():
        first, last = map(int, name.partition("#")[2].split("-"))
        assert where(each) == list(range(first, last + 1, 2))
        assert each.fps == 15
    assert len(LABELS) == 10


def test_only_recordings_of_the_data_set_are_claimed(tmp_path):
    contents = {NAME: "1 2 3\n", "joints_s01_e01.csv": lines(1), "notes.txt": lines(1), "actionLabel.txt": ACTIONS}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


@pytest.mark.parametrize(
    ("text", "actions", "message"),
    [
        (lines(1, 2)[:-40], None, "line 2: expected 61 numbers"),
        (lines(1, 2).replace("3.0", "3.x", 1), None, "only numbers"),
        (line(1) + "\n" + line(2).replace("2 ", "2.5 ", 1), None, "whole frame numbers"),
        (lines(1, 3, 4, 2), None, "frame times: expected finite, increasing times, found 2 after 4, in frame 3"),
        (lines(1, 2_000_000), None, "at most 100,000 frames"),
        (lines(1), "s07_e01\nfly: 1 2\n", "line 2: expected one of walk"),
        (lines(1), "s07_e01\nwalk: 1\n", "line 2"),
        (lines(1), "s07_e01\nwalk: 1 -2\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, text, actions, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, text, actions)


WHOLE = lines(1, 2, 3).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE)
    content[at] = byte
    path = tmp_path / NAME
    path.write_bytes(content[:at] if cut else content)
    try:
        for recording in READER.find([File(str(path), len(content))]):
            assert all(each.num_frames for each in READER.read(recording))
    except RecordingError:
        pass
