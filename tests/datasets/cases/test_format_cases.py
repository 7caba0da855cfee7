"""Files on which readers once erred, and the right values that others computed: see the README of each case.

They lie beside the checkout, in ``../shared/cases``, and are skipped where they are not there. Each property is tested
on files of our own too.
"""

from pathlib import Path

import numpy as np
import pytest

from datasets.extraction.reading import read_sequences
from datasets.quality.checks import judge
from datasets.readers.discovery import find_in
from datasets.readers.mocap.c3d_file import parse_c3d
from datasets.readers.registry import READERS
from datasets.sequences import MotionSequence
from motion_encoder.skeletons import H36M17
from tests.conftest import CHECKOUT

CASES = CHECKOUT.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not there")


def case(number: int) -> Path:
    [folder] = CASES.glob(f"{number:02}-*")
    return folder


def read(path: Path, *, reader: str | None = None) -> list[MotionSequence]:
    recordings, unknown = find_in(str(path), READERS if reader is None else {reader: READERS[reader]})
    assert unknown == []
    found = [each for recording in recordings for each in read_sequences(recording, READERS[recording.reader])]
    assert all(isinstance(each, MotionSequence) for each in found), found
    return [each for each in found if isinstance(each, MotionSequence)]


def reasons(path: Path) -> list[str]:
    recordings, _ = find_in(str(path))
    found = [each for recording in recordings for each in read_sequences(recording, READERS[recording.reader])]
    return [getattr(each, "reason", "read") for each in found]


def metres(sequence: MotionSequence, joint: str, frame: int) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC[frame, H36M17.index(joint)]


def test_13_a_c3d_that_counts_frames_from_0():
    [sequence] = read(case(13))
    assert (sequence.num_frames, sequence.fps) == (30, 120)
    np.testing.assert_allclose(metres(sequence, "root", 15), (-0.695, 0.742, -0.274), atol=1e-3)
    trial = parse_c3d((case(13) / "walk.c3d").read_bytes(), "walk.c3d")
    lasi_mm = trial.points_TP3[0, trial.labels.index("LASI")]
    np.testing.assert_allclose(lasi_mm, (-586.6, 426.7, 767.2), atol=0.1)


@pytest.mark.parametrize("number", [15, 17, 19])  # radians; order TX TY TZ RZ RY RX; commas
def test_15_17_19_the_orders_units_and_separators_of_asf_amc(number):
    [sequence] = read(case(number))
    right = {
        "root": (0.5293, 1.0135, 2.7004), "head": (0.5316, 1.629, 2.5104),
        "lankle": (0.43, 0.1161, 2.7238), "rwrist": (0.73, 1.0133, 2.5038),
    }  # fmt: skip
    for joint, xyz in right.items():
        np.testing.assert_allclose(metres(sequence, joint, 0), xyz, atol=1e-4, err_msg=joint)


def test_20_single_frames_with_exchanged_legs():
    [sequence] = read(case(20))
    verdict = judge(sequence)
    assert verdict.problems == ()
    assert sequence.keypoints_2d_TJC is not None
    assert verdict.sequence.keypoints_2d_TJC is not None
    changed_T = (verdict.sequence.keypoints_2d_TJC != sequence.keypoints_2d_TJC).any(axis=(1, 2))
    assert {12, 66} <= set(np.flatnonzero(changed_T).tolist()) <= {12, 25, 66}


def test_21_a_video_in_coco_s_result_layout():
    [sequence] = read(case(21))
    assert sequence.num_frames == 60
    assert "frame rate not stated: 30 Hz assumed" in sequence.repairs


def test_22_photographs_named_by_their_stems():
    sequences = read(case(22))
    assert [sequence.num_frames for sequence in sequences] == [1] * 6


def test_24_one_file_per_frame():
    [sequence] = read(case(24))
    assert sequence.num_frames == 5


def test_25_world_landmarks():
    [reason] = reasons(case(25))
    assert "expected positions in the image" in reason
    assert "world landmarks" in reason


def test_27_time_stamps_in_milliseconds():
    [sequence] = read(case(27))
    assert sequence.fps == 25


@pytest.mark.parametrize("inner", ["", "take 3::retake", "take 3::retake/walk.bvh"])
def test_33_a_folder_with_two_colons_in_its_name(inner):
    path = case(33) / inner if inner else case(33)
    [sequence] = read(path)
    assert sequence.num_frames > 1


def test_35_a_video_json_beside_a_file_whose_format_is_named():
    [sequence] = read(case(35) / "results.dat", reader="alphapose")
    assert (sequence.fps, sequence.image_size, sequence.num_frames) == (25, (1280, 720), 15)
