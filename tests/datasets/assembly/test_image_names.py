"""Names of images, as detectors write them beside the people that they saw."""

import pytest

from datasets.assembly.image_names import are_series, frame_number, is_copy, timestamp
from datasets.sequences import RecordingError


@pytest.mark.parametrize(
    ("image_id", "number"),
    [("123.jpg", 123), ("v2_frame_0007.png", 7), (12, 12), ("a/b3/0010.jpg", 10), ("3 (1).png", 3), ("frame_007", 7)],
)
def test_the_frame_is_the_last_number_of_the_name(image_id, number):
    assert frame_number(image_id, "x.json") == number


@pytest.mark.parametrize("image_id", ["cover.png", "", "2018-07-04T12_04_17.738369.png", True])
def test_a_name_without_a_frame_s_number_is_refused(image_id):
    with pytest.raises(RecordingError, match="a name with the frame number"):
        frame_number(image_id, "x.json")


def test_a_time_stamp_is_read_to_the_microsecond():
    moment = timestamp("cam/2018-07-04T12_04_17.738369.png")
    assert moment == pytest.approx(1530705857.738369, abs=1e-6)  # date -u -d 2018-07-04T12:04:17 +%s
    assert [timestamp(name) for name in ("2018-99-04T12_04_17.7.png", "12.png", 12)] == [None, None, None]


def test_copies_are_known_by_their_mark():
    assert [is_copy(name) for name in ("12 (1).png", "12.png", "take (1)/12.png")] == [True, False, False]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([3, 1, 2], True),
        (["0.jpg", "1.jpg", "12.jpg"], True),
        (["clip2_0001", "clip2_0002"], True),
        (["take 3/9.png", "take 3/10.png"], True),
        (["IMG_20200101_1.mp4_3.jpg", "IMG_20200101_1.mp4_4.jpg"], True),
        (["2018-07-04T12_04_17.7.png", "2018-07-04T12_05_00.1.png"], True),
        (["7.jpg", "7.jpg"], True),
        (["dog_12", "cat_12"], False),
        (["dog_12", "dog_13", "cat_14"], False),
        (["a1_1.jpg", "a2_2.jpg"], False),
        (["take 3/1.png", "take 4/2.png"], False),
        (["cover.png", "0.jpg"], False),
        (["1.jpg", "1b.jpg"], False),
        (["dog", "cat"], False),
    ],
)
def test_names_of_a_series_differ_in_one_number_only(names, expected):
    assert are_series(names) is expected
