"""What all detectors' readers share: whose track is whose, which frames there are, and how fast they follow."""

import numpy as np
import pytest

from datasets.assembly.people import Detection, Video, parse_track_number, people
from datasets.assembly.timeline import check_times
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.readers.detectors.alphapose import SOURCE
from datasets.sequences import MotionSequence, Recording, RecordingError
from tests.datasets.reading import pixels

VIDEO = Recording(path="a/clip.json", reader="alphapose", source=SOURCE)


def seen(frame: int, x: float, track: int | None = None) -> Detection:
    """Keypoint k stands at (x + k, 100 + 2 k)."""
    keypoints = [value for k in range(17) for value in (x + k, 100 + 2 * k, 0.9)]
    return Detection(frame=frame, keypoints=keypoints, track=track)


def read(found: list[Detection], **facts) -> list[MotionSequence]:
    return list(people(found, Video(recording=VIDEO, conversions={17: COCO17_TO_H36M17}, **facts)))


def noses(sequence: MotionSequence) -> list[float]:
    """x of the nose, which is the first keypoint; 0 where not seen."""
    return pixels(sequence)[:, 9, 0].tolist()


def names(sequences: list[MotionSequence]) -> list[str]:
    return [each.sequence_id.partition("#")[2] for each in sequences]


def changing_places() -> list[Detection]:
    """Persons 7 and 8 change places in frame 2, which linking by place would not see."""
    return [seen(t, 10 + 300 * ((t >= 2) ^ k), 7 + k) for t in range(4) for k in range(2)]


def test_track_numbers_stand_though_one_detection_has_none():
    found = changing_places()
    found[5] = seen(2, 10)  # person 8, who went there in this frame; nobody with a number was there but 7
    sequences = read(found)
    assert names(sequences) == ["7", "8", "9"]
    assert noses(sequences[0]) == [10, 10, 310, 310]
    assert noses(sequences[1]) == [310, 310, 0, 10]
    assert noses(sequences[2]) == [10]
    for each in sequences:
        assert "1 of 8 detections without a track number: linked over time by box and pose" in each.repairs


def test_who_has_no_number_for_a_moment_keeps_the_track():
    """Numbered late, lost for a frame, and not numbered any more at the end: all one person."""
    numbers = [None, None, 4, 4, None, 4, None]
    [sequence] = read([seen(t, 10 + t, number) for t, number in enumerate(numbers)])
    assert names([sequence]) == ["4"]
    assert noses(sequence) == [10, 11, 12, 13, 14, 15, 16]
    assert any("4 of 7 detections without a track number" in each for each in sequence.repairs)


def test_a_single_track_number_is_one_too():
    [sequence] = read([seen(t, 10 + 20 * t, 1) for t in (0, 1, 22)])
    assert names([sequence]) == ["1"]
    assert sequence.num_frames == 23
    assert not any("linked" in each for each in sequence.repairs)


def test_numbers_that_stand_twice_in_a_frame_are_no_tracks():
    found = changing_places()
    found[5] = seen(2, 10, 7)
    first, second = read(found)
    assert noses(first) == [10] * 4
    assert noses(second) == [310] * 4
    said = "track numbers stand twice in a frame, 1 times, and are not used: people linked over time by box and pose"
    assert said in first.repairs
    assert not any("no track numbers" in each for each in first.repairs)


def test_without_any_number_that_is_said():
    [sequence] = read([seen(t, 10) for t in range(3)])
    assert "no track numbers: people linked over time by box and pose" in sequence.repairs


@pytest.mark.parametrize(("value", "number"), [(3, 3), (3.0, 3), (0, 0), (-1, None), (True, None), (0.5, None)])
def test_track_numbers_are_whole_and_not_negative(value, number):
    assert parse_track_number(value) == number


@pytest.mark.parametrize(("step", "fps"), [(2, 15), (3, 10)])
def test_of_every_second_frame_the_rate_is_half(step, fps):
    [sequence] = read([seen(5 + step * t, 10 + t) for t in (0, 1, 2, 4, 5, 6, 7, 8)])
    assert sequence.fps == fps
    assert noses(sequence) == [10, 11, 12, 0, 14, 15, 16, 17, 18]
    assert f"all frame numbers are {step} or a multiple of it apart: {fps} Hz" in sequence.repairs


@pytest.mark.parametrize("frames", [[0, 2, 4, 6, 8, 10, 12], [0, 2, 4, 6, 8, 10, 12, 15], list(range(8))])
def test_few_frames_or_one_out_of_step_leave_the_rate(frames):
    [sequence] = read([seen(t, 10 + t) for t in frames])
    assert sequence.fps == 30
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[:, 0]), frames)


@pytest.mark.parametrize("jitter", [0, 1])
def test_a_person_in_every_twentieth_frame_is_one_with_gaps(jitter):
    """1.5 poses a second: lines between them would be made up, so what lies between stays unseen."""
    frames = [0, 20 + jitter, *range(40, 240, 20)]
    [sequence] = read([seen(t, 10 + t / 20) for t in frames])
    assert (sequence.fps, sequence.num_frames) == (30, 221)
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[:, 0]), frames)


@pytest.mark.parametrize(("fps", "longest"), [(12.0, 6), (30.0, 15), (60.0, 30)])
def test_half_a_second_of_absence_is_bridged_at_any_rate(fps, longest):
    for missing, persons in ((longest, 1), (longest + 1, 2)):
        frames = [0, 1, 2, 3, 4 + missing]
        assert len(read([seen(t, 10) for t in frames], fps=fps)) == persons


def test_an_order_that_is_not_that_of_time_is_mended_and_said():
    said = "not in the order of time: sorted"
    [sequence] = read([seen(t, 10 + t) for t in (1, 0, 2)])
    assert noses(sequence) == [10, 11, 12]
    assert said in sequence.repairs
    for each in read([seen(t, x) for t in range(3) for x in (300, 10)]):  # in a frame there is no order
        assert said not in each.repairs


@pytest.mark.parametrize(
    ("times", "found"), [([0, 1, 1], "1 after 1, in frame 2"), ([0, 2, 1], "1 after 2"), ([0, np.nan], "others")]
)
def test_frame_times_must_grow(times, found):
    check_times(np.array([0.0, 0.1, 0.3]), "clip.txt")
    with pytest.raises(RecordingError, match=f"clip.txt: frame times: .*{found}"):
        check_times(np.array(times, dtype=np.float64), "clip.txt")
