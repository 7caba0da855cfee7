"""Bonn PoseTrack annotations, laid out like the published ``annolist.mat``: ids, order and number types too."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.detectors.bonn_posetrack import READER, SOURCES
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import read_damaged

LABELLED = (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)
"""Ids that occur in the published files: MPII's without pelvis (6) and thorax (7)."""
POINT = [(name, "O") for name in ("x", "y", "id", "is_visible", "is_truncated")]


def points(x: float, ids=LABELLED, hidden=()) -> dict:
    """A cell; joint i stands at (x + i, 300 - 2 i)."""
    array = np.empty((1, len(ids)), POINT)
    for place, joint in enumerate(ids):
        array[0, place] = (x + joint, 300.0 - 2 * joint, np.uint8(joint), np.uint8(joint not in hidden), np.uint8(0))
    return {"point": array, "head_rect": np.array([[1.0, 2.0, 3.0, 4.0]])}


def video(name: str, people: Sequence[Sequence[dict | None]]) -> dict:
    cells = np.empty((len(people), len(people[0])), object)
    for person, frames in enumerate(people):
        for frame, cell in enumerate(frames):
            cells[person, frame] = np.zeros((1, 0)) if cell is None else cell
    counts = {
        "num_frames": np.min_scalar_type(cells.shape[1]).type(cells.shape[1]),
        "num_persons": np.uint8(len(cells)),
    }
    return {"name": name, **counts, "annopoints": cells}


def write(path: Path, videos: list[dict], *, compressed=True) -> File:
    array = np.empty((len(videos), 1), [(key, "O") for key in ("num_frames", "name", "num_persons", "annopoints")])
    for row, each in enumerate(videos):
        array[row, 0] = tuple(each[key] for key in array.dtype.names or ())
    scipy.io.savemat(path, {"annolist": array}, do_compression=compressed)
    return File(str(path), path.stat().st_size)


def read(folder: Path, videos: list[dict], *, compressed=True) -> list[MotionSequence]:
    [recording] = READER.find([write(folder / "annolist.mat", videos, compressed=compressed)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


@pytest.mark.parametrize("compressed", [True, False])
def test_joints_go_where_their_ids_say(tmp_path, compressed):
    [sequence] = read(tmp_path, [video("000001", [[points(40)]])], compressed=compressed)
    theirs = {"rankle": 0, "rhip": 2, "lhip": 3, "lankle": 5, "neck": 8, "head": 9, "rwrist": 10, "lwrist": 15}
    for joint, i in (theirs | {"root": 2.5, "belly": (2.5 + 8) / 2}).items():
        np.testing.assert_allclose(pixels(sequence)[0, H36M17.index(joint)], (40 + i, 300 - 2 * i))
    absent = [H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0] == 0)]
    assert absent == ["nose"]
    assert not pixels(sequence)[0, H36M17.index("nose")].any()
    assert any("30 Hz assumed" in repair for repair in sequence.repairs)
    check(sequence)


def test_points_may_be_few_and_in_any_order(tmp_path):
    [sequence] = read(tmp_path, [video("000001", [[points(40, ids=(15, 3, 2))]])])
    seen = {H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0])}
    assert seen == {"lwrist", "lhip", "rhip", "root"}
    np.testing.assert_allclose(pixels(sequence)[0, H36M17.index("lwrist")], (55, 270))


def test_a_hidden_point_counts_half(tmp_path):
    [sequence] = read(tmp_path, [video("000001", [[points(40, hidden=(2, 9))]])])
    half = {H36M17.joints[j] for j in np.flatnonzero(sequence.confidence_TJ[0] == 0.5)}
    assert half == {"rhip", "root", "belly", "head"}


def test_gaps_stay_and_what_lies_outside_is_no_part(tmp_path):
    one = [None, points(1), None, None, points(4), None]
    nobody = [None] * 6
    [sequence] = read(tmp_path, [video("000001", [one, nobody])])
    assert sequence.num_frames == 4
    np.testing.assert_array_equal(sequence.confidence_TJ.any(axis=1), [True, False, False, True])
    np.testing.assert_allclose(pixels(sequence)[[0, 3], H36M17.index("rankle"), 0], [1, 4])


def test_more_than_255_frames_and_several_people_and_videos(tmp_path):
    """Counts are written in the smallest integer that holds them: 300 is a uint16, 2 a uint8."""
    people = [[points(x, ids=(8, 9)) for x in range(300)], [points(7, ids=(8, 9))] * 300]
    sequences = read(tmp_path, [video("000001", people), video("000448169", people)])
    assert [each.num_frames for each in sequences] == [300] * 4
    assert len({each.sequence_id for each in sequences}) == 4
    assert len({each.subject for each in sequences}) == 2


def test_the_test_file_is_held_out(tmp_path):
    found = {}
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        [sequence] = read(tmp_path / part, [video("000001", [[points(0)]])])
        found[part] = sequence.subject in SOURCES[0].test_subjects
    assert found == {"train": False, "test": True}


def test_other_matlab_files_are_not_claimed(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"d_skel": np.zeros((20, 3, 5))}, do_compression=True)
    scipy.io.savemat(tmp_path / "b.mat", {"annolist": {"image": "x"}})
    (tmp_path / "c.mat").write_bytes(b"\x89HDF\r\n\x1a\n annolist num_persons annopoints")
    (tmp_path / "d.mat").write_bytes(b"")
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


def bad_point(**values) -> dict:
    cell = points(0)
    for key, value in values.items():
        cell["point"][0, 0][key] = value
    return cell


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (bad_point(id=np.uint8(16)), "video 000001, person 0, frame 1: expected a joint id below 16"),
        (bad_point(x=1e9), "a joint id below 16 and pixels"),
        (bad_point(y=np.nan), "a joint id below 16 and pixels"),
        (bad_point(x=np.zeros((1, 0))), "numbers for x, y, id and is_visible"),
        (bad_point(is_visible="yes"), "numbers for x, y, id and is_visible"),
        (bad_point(x="left"), "numbers for x, y, id and is_visible"),
        ({"point": np.ones((1, 3))}, "points with x, y, id and is_visible"),
        ({"joint": 3.0}, "frame 1: expected a struct with the field point"),
    ],
)
def test_a_bad_point_is_named(tmp_path, cell, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, [video("000001", [[cell]])])


def test_a_size_that_the_bytes_do_not_back_is_refused_or_contained(tmp_path):
    """The cell of 1 x 3 frames is said to have a billion: SciPy makes room for them."""
    file = write(tmp_path / "annolist.mat", [video("000001", [[points(0), None, None]])], compressed=False)
    content = Path(file.path).read_bytes()
    sizes = struct.pack("<IIii", 5, 8, 1, 3)
    assert content.count(sizes) == 1
    [recording] = READER.find([file])
    Path(file.path).write_bytes(content.replace(sizes, struct.pack("<IIii", 5, 8, 1, 10**9)))
    assert read_damaged(READER, recording) == []


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_damaged_files_give_sequences_or_a_reason(tmp_path, data):
    compressed = data.draw(st.booleans())
    file = write(tmp_path / "annolist.mat", [video("000001", [[points(0), None, points(2)]])], compressed=compressed)
    damaged = bytearray(Path(file.path).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.mat"
    path.write_bytes(damaged[: data.draw(st.integers(0, 2 * len(damaged)))])
    for recording in READER.find([File(str(path), data.draw(st.integers(0, 10**9)))]):
        assert all(sequence.num_frames <= 3 for sequence in read_damaged(READER, recording))
