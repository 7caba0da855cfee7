"""MMPose's annotation files of Human3.6M, written as tools/dataset_converters/preprocess_h36m.py writes them."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.quality.checks import check
from datasets.readers.mocap.h36m_mmpose import READER, SOURCES
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from tests.datasets.h36m_body import upright, walk


def rows(frames: list[int], video="S9_Walking_1.54138969", **change) -> dict[str, np.ndarray]:
    """The rows of one video: the body of frame number n is ``walk``'s frame n."""
    metres = walk(max(frames) + 1)[frames]
    pixels = metres[..., :2] / metres[..., 2:] * [1145.0494, 1143.7811] + [512.5415, 515.4515]
    ones, subject = np.ones((len(frames), 17, 1)), video.partition("_")[0]
    return {
        "imgname": np.array([f"{subject}/{video}/{video}_{frame:06d}.jpg" for frame in frames]),
        "center": pixels.mean(axis=1),
        "scale": np.ones(len(frames)),
        "part": np.concatenate([pixels, ones], axis=-1),
        "S": np.concatenate([metres, ones], axis=-1),
    } | change


def joined(*videos: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([each[key] for each in videos]) for key in videos[0]}


def write(folder: Path, arrays: dict[str, np.ndarray], name="h36m_train.npz") -> Path:
    np.savez(folder / name, **arrays)  # pyright: ignore[reportArgumentType]
    return folder / name


def find(path: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size)])


def read(folder: Path, arrays: dict[str, np.ndarray]) -> list[MotionSequence]:
    [recording] = find(write(folder, arrays))
    return list(READER.read(recording))


def walked(frames: int) -> np.ndarray:
    """``walk`` before the first camera of S9, as it was in the room: Y up."""
    return upright(walk(frames), "S9", "54138969")


def metres(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


def test_a_row_published_with_mmpose_s_tests(tmp_path):
    """tests/data/h36m/test_h36m_body3d.npz: S1 stands upright before the first camera, four rows of its joints."""
    published = {0: (-0.17673, -0.32105, 5.20388), 3: (-0.02983, 0.50678, 5.40014), 10: (-0.11893, -0.97023, 5.0586)}
    arrays = rows([1, 2], "S1_Directions_1.54138969")
    for joint, place in published.items():
        arrays["S"][0, joint, :3] = place
    sequence = read(tmp_path, arrays)[0]
    for joint, place in published.items():
        expected = upright(np.array([place]), "S1", "54138969")[0]
        np.testing.assert_allclose(metres(sequence)[0, joint], expected, atol=1e-6)
    # The lens is 1.563 m above the floor. Drillis and Contini: hips at 0.53, ankles at 0.039 of a stature of 1.7 m.
    np.testing.assert_allclose(metres(sequence)[0, [0, 3], 1] + 1.563, [0.901, 0.066], atol=0.03)


def test_both_views_of_a_take_agree_and_pass_the_checks(tmp_path):
    arrays = rows(list(range(1, 9)))
    [sequence] = read(tmp_path, arrays)
    np.testing.assert_allclose(metres(sequence), walked(9)[1:], atol=1e-6)
    assert sequence.keypoints_2d_TJC is not None
    np.testing.assert_allclose(sequence.keypoints_2d_TJC, arrays["part"][..., :2], rtol=1e-6)
    assert check(sequence).repairs == ()


def test_the_image_s_name_says_it_all(tmp_path):
    one = rows([1, 2], "S11_WalkDog.58860488")
    two = rows([1, 2], "S1_SittingDown_2.60457274")
    first, second = read(tmp_path, joined(one, two))
    assert (first.sequence_id, first.subject) == ("S11_WalkDog.58860488", "h36m/S11")
    assert (first.action, first.label, first.image_size) == ("WalkingDog", 13, (1000, 1000))
    assert (second.sequence_id, second.subject) == ("S1_SittingDown_2.60457274", "h36m/S1")
    assert (second.action, second.label, second.image_size) == ("SittingDown", 8, (1000, 1002))
    assert (first.fps, second.fps) == (50, 50)
    assert (first.view, second.view) == ("58860488", "60457274")


def test_where_the_camera_s_place_is_not_known_up_is_its_own(tmp_path):
    [sequence] = read(tmp_path, rows([1, 2], "S2_Walking_1.54138969"))
    np.testing.assert_allclose(metres(sequence), walk(3)[1:] * [1, -1, -1], rtol=1e-6)
    [said] = sequence.repairs
    assert "up is the camera's" in said


def test_every_fifth_frame_is_ten_hertz_whatever_the_file_is_called(tmp_path):
    """The tool's default; MMPose's own reader takes the rows as neighbours at any rate."""
    [sequence] = read(tmp_path, rows([1, 6, 11, 16]))
    assert sequence.fps == 10
    np.testing.assert_allclose(metres(sequence), walked(17)[[1, 6, 11, 16]], atol=1e-6)


def test_missing_frames_are_gaps(tmp_path):
    [sequence] = read(tmp_path, rows([1, 2, 5, 6]))
    assert (sequence.fps, sequence.num_frames) == (50, 6)
    np.testing.assert_array_equal((sequence.confidence_TJ > 0).all(axis=1), [1, 1, 0, 0, 1, 1])
    np.testing.assert_allclose(metres(sequence)[4], walked(6)[5], atol=1e-6)
    assert (metres(sequence)[2:4] == 0).all()


def test_after_more_than_two_seconds_comes_another_sequence(tmp_path):
    one, two = read(tmp_path, rows([1, 2, 102, 203, 204]))
    assert (one.sequence_id, one.num_frames) == ("S9_Walking_1.54138969", 102)
    assert (two.sequence_id, two.num_frames) == ("S9_Walking_1.54138969#1", 2)
    np.testing.assert_allclose(metres(two), walked(205)[203:], atol=1e-6)


def test_rows_in_any_order_and_twice_are_put_right(tmp_path):
    [sequence] = read(tmp_path, rows([3, 1, 2, 2]))
    np.testing.assert_allclose(metres(sequence), walked(4)[1:], atol=1e-6)
    assert sequence.repairs == ("1 rows of a frame that was there before left out",)


def test_rows_of_two_videos_may_alternate(tmp_path):
    arrays = joined(rows([1, 2]), rows([1, 2], "S9_Walking_1.55011271"))
    one, two = read(tmp_path, {key: values[[0, 2, 1, 3]] for key, values in arrays.items()})
    assert (one.num_frames, two.num_frames) == (2, 2)


def test_what_is_invisible_in_one_is_absent_from_both(tmp_path):
    arrays = rows([1, 2, 3])
    arrays["part"][0, 4, 2] = 0
    arrays["S"][1, 5, 3] = 0
    arrays["S"][2, 6, 0] = np.nan
    [sequence] = read(tmp_path, arrays)
    assert np.argwhere(sequence.confidence_TJ == 0).tolist() == [[0, 4], [1, 5], [2, 6]]
    assert sequence.keypoints_2d_TJC is not None
    for t, joint in ((0, 4), (1, 5), (2, 6)):
        assert (metres(sequence)[t, joint] == 0).all()
        assert (sequence.keypoints_2d_TJC[t, joint] == 0).all()


def test_other_archives_are_not_claimed(tmp_path):
    fits = rows([1]) | {"pose": np.zeros((1, 72)), "shape": np.zeros((1, 10))}
    without = {key: value for key, value in rows([1]).items() if key != "part"}
    assert find(write(tmp_path, fits, "fits.npz")) == find(write(tmp_path, without, "amass.npz")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"S": np.zeros((2, 24, 4))}, "S: expected numbers [N, 17, 4], found float64 [2, 24, 4]"),
        ({"part": np.zeros((3, 17, 3))}, "one row an image, found 2, 2 and 3 rows"),
        ({"imgname": np.array(["a", "b"])}, "expected SUBJECT_TAKE.CAMERA_FRAME.jpg with a camera of 54138969"),
        ({"imgname": np.array(["S1_Eating.12345678_000001.jpg"] * 2)}, "found S1_Eating.12345678_000001.jpg"),
        ({"imgname": np.zeros(2)}, "imgname: expected a text for each row"),
        ({"S": np.full((2, 17, 4), 512.0)}, "S of S9_Walking_1.54138969: expected metres, at most 20, found 512"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, change, message):
    with pytest.raises(RecordingError, match=re.escape(message)):
        read(tmp_path, rows([1, 2]) | change)


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed):
    path = write(tmp_path_factory.mktemp("fuzz"), rows([1, 2, 3]))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="h36m_mmpose", source=SOURCES[0])):
            assert np.isfinite(metres(sequence)).all()
