"""UTD-MHAD trials, written here by SciPy."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from datasets.readers.action.utd_mhad import LABELS, READER, UTD_MHAD
from datasets.sequences import File, MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import read_damaged

NAME = "a27_s1_t4_skeleton.mat"


def joints(frames=3) -> np.ndarray:
    """Joint k stands at (k + t + 1/2, 2 k, 3) in frame t; 20 x 3 x frames, as the files have it."""
    t, k = np.arange(frames)[None], np.arange(20)[:, None]
    return np.stack([k + t + 0.5, 2.0 * k + 0 * t, 3.0 + 0 * (k + t)], axis=1)


def trial(compressed=True, **variables) -> bytes:
    content = io.BytesIO()
    savemat(content, variables or {"d_skel": joints()}, do_compression=compressed)
    return content.getvalue()


def read(folder: Path, content: bytes, name=NAME) -> list[MotionSequence]:
    path = folder / name
    path.write_bytes(content)
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    return list(READER.read(recording))


@pytest.mark.parametrize("compressed", [True, False])
def test_joints_go_where_the_data_set_s_order_says(tmp_path, compressed):
    [sequence] = read(tmp_path, trial(compressed))
    assert sequence.keypoints_3d_TJC is not None
    for joint, k in {
        "root": 3, "belly": 2, "neck": 1, "nose": 0.5, "head": 0, "lshoulder": 4, "lwrist": 6, "rshoulder": 8,
        "rwrist": 10, "lhip": 12, "lankle": 14, "rhip": 16, "rankle": 18,
    }.items():  # fmt: skip
        at = [(k + t + 0.5, 2 * k, 3) for t in range(3)]
        np.testing.assert_allclose(sequence.keypoints_3d_TJC[:, H36M17.index(joint)], at)
    assert (sequence.confidence_TJ == 1).all()
    assert sequence.fps == 30


def test_the_name_says_who_and_what(tmp_path):
    [sequence] = read(tmp_path, trial())
    assert (sequence.sequence_id, sequence.subject) == ("a27_s1_t4", "utd_mhad/s1")
    assert (sequence.action, sequence.label, len(LABELS)) == ("squat", 26, 27)


def test_every_second_person_is_held_out():
    sides = [UTD_MHAD.split_of(f"utd_mhad/s{n}") for n in range(1, 9)]
    assert sides == ["train", "test"] * 4


def test_one_frame_without_its_third_dimension_is_one_frame(tmp_path):
    [sequence] = read(tmp_path, trial(d_skel=joints(1)[..., 0]))
    assert sequence.num_frames == 1


def test_other_files_are_not_claimed(tmp_path):
    others = {
        "a1_s1_t1_inertial.mat": trial(d_iner=np.zeros((9, 6))),
        "a1_s1_t2_skeleton.mat": trial(d_skel=joints()[:19]),
        "a1_s1_t3_skeleton.mat": trial(d_depth=np.zeros((2, 2))),
        "a1_s1_t4_skeleton.mat": b"",
        "other.mat": trial(),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    assert READER.find([File(str(path), path.stat().st_size) for path in sorted(tmp_path.iterdir())]) == []


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (trial(), "a28_s1_t1_skeleton.mat", "A from 1 to 27"),
        (trial(d_skel=np.full((20, 3, 2), "x")), NAME, "d_skel: expected numbers"),
        (trial(d_skel=np.zeros((20, 3, 2, 2))), NAME, "d_skel: expected numbers"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, content, name, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content, name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_sequences_or_a_reason(tmp_path, at, byte, cut):
    content = bytearray(trial())
    where = int(at * len(content))
    content[where] = byte
    path = tmp_path / f"a27_s1_t{where % 10}_skeleton.mat"
    path.write_bytes(content[:where] if cut else content)
    for recording in READER.find([File(str(path), len(content))]):
        assert all(each.confidence_TJ.shape[1] == 17 for each in read_damaged(READER, recording))
