"""NTU RGB+D skeleton files, written here in the order in which the authors' ``read_skeleton_file.m`` reads them."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.readers.action.ntu import NTU, READER, identify
from datasets.readers.action.ntu_lists import LABELS, MISSING
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import metres, read_one

SAMPLE = "S001C002P003R002A013.skeleton"
FIRST, SECOND = 72057594037944738, 72057594037944739  # one and the same as float64


def joint(x, y, z, state=2, colour="1021.5 411.25") -> str:
    return f"{x} {y} {z} 284.6 190.5 {colour} -0.2 0.01 0.97 -0.02 {state}"


def body(number, offset=0.0, *, state=2, joints=25, colour="1021.5 411.25") -> list[str]:
    """Joint k stands at (offset + k, 2 k + 1, 3)."""
    lines = [f"{number} 0 1 1 1 1 0 -0.05 0.1 2", str(joints)]
    return lines + [joint(offset + k, 2 * k + 1, 3, state, colour) for k in range(joints)]


def clip(*frames: list[list[str]]) -> str:
    lines = [str(len(frames))]
    for bodies in frames:
        lines += [str(len(bodies)), *(line for each in bodies for line in each)]
    return "\r\n".join(lines) + "\r\n"


def read(folder: Path, text, name=SAMPLE) -> list[MotionSequence]:
    return read_one(READER, folder / name, text)


def test_joints_go_where_the_sensor_says(tmp_path):
    [sequence] = read(tmp_path, clip([body(FIRST)], [body(FIRST, 10)]))
    for name, k in {"root": 0, "neck": 20, "nose": 2, "head": 3, "lwrist": 6, "rankle": 18}.items():
        np.testing.assert_array_equal(
            metres(sequence)[:, H36M17.index(name)], [(k, 2 * k + 1, 3), (10 + k, 2 * k + 1, 3)]
        )
    assert (sequence.confidence_TJ == 1).all()
    assert sequence.fps == 30


def test_the_name_says_who_and_what(tmp_path):
    [sequence] = read(tmp_path, clip([body(FIRST)]))
    assert (sequence.subject, sequence.action, sequence.label) == ("ntu/p003", "tear up paper", 12)
    assert sequence.sequence_id == f"S001C002P003R002A013#{FIRST}"
    assert (sequence.source.name, sequence.view) == ("ntu", "C002")


def test_ids_beyond_float64_stay_two_people(tmp_path):
    one, two = read(tmp_path, clip([body(FIRST), body(SECOND, 100)], [body(SECOND, 101), body(FIRST, 1)]))
    np.testing.assert_array_equal(metres(one)[:, 0, 0], [0, 1])
    np.testing.assert_array_equal(metres(two)[:, 0, 0], [100, 101])
    assert one.sequence_id != two.sequence_id
    assert one.subject == two.subject  # one clip on one side of the split


def test_bodies_come_and_go_and_time_does_not_collapse(tmp_path):
    frames = [[], [body(FIRST, 1)], [], [], [body(SECOND, 44)], [body(FIRST, 5), body(SECOND, 45)], []]
    one, two = read(tmp_path, clip(*frames))
    assert (one.num_frames, two.num_frames) == (5, 2)  # frames 1 to 5, frames 4 and 5
    np.testing.assert_array_equal((one.confidence_TJ > 0).all(axis=1), [True, False, False, False, True])
    np.testing.assert_array_equal((one.confidence_TJ > 0).any(axis=1), [True, False, False, False, True])
    np.testing.assert_array_equal(metres(one)[:, 0, 0], [1, 0, 0, 0, 5])
    np.testing.assert_array_equal(metres(two)[:, 0, 0], [44, 45])


@pytest.mark.parametrize(("state", "confidence"), [(0, 0), (1, 0.5), (2, 1)])
def test_the_tracking_state_is_the_confidence(tmp_path, state, confidence):
    [sequence] = read(tmp_path, clip([body(FIRST, state=state)]))
    assert (sequence.confidence_TJ == confidence).all()
    assert metres(sequence).any() == (confidence > 0)


def test_pixels_outside_the_image_do_no_harm(tmp_path):
    [sequence] = read(tmp_path, clip([body(FIRST, colour="NaN -inf")]))
    assert (sequence.confidence_TJ == 1).all()


def test_a_sample_without_any_body_gives_nothing(tmp_path):
    assert read(tmp_path, clip([], [], [])) == []


def test_samples_that_the_authors_list_are_refused(tmp_path):
    with pytest.raises(RecordingError, match="authors list as missing"):
        read(tmp_path, clip([body(FIRST)]), "S001C002P005R002A008.skeleton")
    # The counts that the authors state with their two lists.
    assert len(MISSING) == 535
    assert sum(int(sample[1:4]) <= 17 for sample in MISSING) == 302


def test_people_of_the_cross_subject_protocol_are_held_out():
    # Shahroudy et al. 2016, section 4.2.1: the 20 training subjects of the first 40.
    training = [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    subjects = [identify(f"S001C001P{person:03d}R001A001.skeleton").subject for person in range(1, 107)]
    train = [n + 1 for n, subject in enumerate(subjects) if NTU.split_of(subject) == "train"]
    assert [person for person in train if person <= 40] == training
    assert len(train) == 53  # half of the 106
    assert len(LABELS) == len(set(LABELS)) == 120
    assert (LABELS[0], LABELS[42], LABELS[59]) == ("drink water", "falling", "walking apart from each other")


def test_other_names_are_read_but_not_labelled(tmp_path):
    [sequence] = read(tmp_path, clip([], [body(FIRST)]), "me.txt")
    assert (sequence.label, sequence.action, sequence.subject) == (None, None, "ntu/me")
    assert sequence.view is None
    assert identify("S001C001P003R001A121.skeleton").label is None
    assert identify("S001C001P003R001A000.skeleton").label is None


def test_what_is_no_skeleton_file_is_not_claimed(tmp_path):
    others = ["", "3\n", "3\n0\n0\n", "1 2 3\n4 5 6\n", "1\n1\n" + "\n".join(body(FIRST, joints=20)), "a\nb\n1 2\n"]
    for number, text in enumerate(others):
        (tmp_path / f"{number}.skeleton").write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


WHOLE = clip([body(FIRST), body(SECOND, 9)], [body(FIRST, 1)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "number 1"),
        (WHOLE[: len(WHOLE) // 2], "frame 0|number"),
        (WHOLE + "0\r\n", "end: expected nothing after 2 frames, found 1 more"),
        (WHOLE.replace("2\r\n", "9\r\n", 1), "number"),
        (WHOLE.replace("2\r\n", "1\r\n", 1), "end"),
        (WHOLE.replace("25\r\n", "20\r\n", 1), "25 joints"),
        (clip([body(FIRST), body(FIRST, 1)]), "each once"),
        (WHOLE.replace("411.25", "4x1", 1), "number"),
        ("99999999999999999999\n", "number"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, text, message):
    with pytest.raises(RecordingError, match=message) as caught:
        read(tmp_path, text)
    assert re.search("S001C002P003R002A013", str(caught.value))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(WHOLE.encode())
    content[at] = byte
    try:
        sequences = read(tmp_path, bytes(content[:at] if cut else content))
    except RecordingError:
        return
    for sequence in sequences:
        assert np.isfinite(metres(sequence)).all()
        assert 0 <= sequence.confidence_TJ.min() <= sequence.confidence_TJ.max() <= 1
