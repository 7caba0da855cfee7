"""What a user says of a video is taken as said, or refused: nothing of it is passed over."""

from pathlib import Path

import pytest

from datasets.assembly.video_json import VideoFacts, read_video_json
from datasets.sequences import Recording, RecordingError, Source

SOURCE = Source(name="x", kind="detections", url="")


def facts(folder: Path, text: str) -> VideoFacts:
    (folder / "video.json").write_text(text)
    return read_video_json(
        Recording(path="a.json", reader="x", source=SOURCE, companions=(str(folder / "video.json"),))
    )


def test_rate_and_size_or_one_of_them(tmp_path):
    assert facts(tmp_path, '{"width": 64, "height": 48, "fps": 25}') == VideoFacts(fps=25.0, image_size=(64, 48))
    assert facts(tmp_path, '{"fps": 29.97}') == VideoFacts(fps=29.97)
    assert read_video_json(Recording(path="a.json", reader="x", source=SOURCE)) == VideoFacts()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"frame_rate": 25}', "unknown keys frame_rate"),
        ('{"fps": 0}', r"a frame rate of 0\.0"),
        ('{"fps": -5}', r"a frame rate of -5\.0"),
        ('{"fps": NaN}', "a frame rate of nan"),
        ('{"fps": "fast"}', "fast"),
        ('{"width": 640}', "height"),
        ('{"width": 0, "height": 48}', "an image of 0 x 48 pixels"),
        ("[25]", "TypeError: a list"),
        ("25", "TypeError: a int"),
        ("{", "JSONDecodeError"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, text, found):
    with pytest.raises(RecordingError, match=rf"video\.json: facts of the video: .*{found}"):
        facts(tmp_path, text)
