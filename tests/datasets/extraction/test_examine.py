"""What becomes of each sequence of a recording, and why: what extraction stores and what linting reports."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from datasets.extraction.examine import examine_recording
from datasets.extraction.quarantine import Quarantined
from datasets.sequences import MotionSequence, Recording, RecordingError
from tests.datasets.toy_recordings import ToyReader, flat_walk, recording


class MixedReader(ToyReader):
    """A good sequence, one with a note, one that is repaired, one that breaks two bounds, and then an error."""

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        yield flat_walk("good")
        yield replace(flat_walk("noted"), repairs=("rate assumed",))
        yield far_outside("repaired")
        yield replace(flat_walk("refused"), confidence_TJ=np.full((61, 17), 2.0), fps=5000.0)
        raise RecordingError(recording.path, where="line 3", expected="a number", found="'x'", fix="Delete it.")


def far_outside(name: str) -> MotionSequence:
    """One point of one frame lies far outside the image."""
    sequence = replace(flat_walk(name), image_size=(3000, 30000))
    assert sequence.keypoints_2d_TJC is not None
    sequence.keypoints_2d_TJC[7, 3] = [9000, 0]
    return sequence


def test_sequences_are_resampled_repaired_or_refused_with_all_reasons() -> None:
    good, noted, repaired, refused, rest = examine_recording(recording("file"), MixedReader(), fps=30.0)
    assert isinstance(good, MotionSequence)
    assert (good.sequence_id, good.fps, good.num_frames, good.repairs) == ("good", 30.0, 31, ())
    assert isinstance(noted, MotionSequence)
    assert noted.repairs == ("rate assumed",)
    assert isinstance(repaired, MotionSequence)
    assert [("outside" in repair) for repair in repaired.repairs] == [True]
    assert isinstance(refused, Quarantined)
    assert refused.problems == (
        "frame rate: expected between 1 and 1000 Hz, found 5000",
        "confidence: expected 0 to 1, found 2 to 2",
    )
    assert refused.reason.startswith(f"cmu/refused: {refused.problems[0]}. ")
    assert isinstance(rest, Quarantined)
    assert (rest.sequence_id, rest.reason) == (None, "file: line 3: expected a number, found 'x'. Delete it.")


def test_a_recording_without_sequences_is_quarantined() -> None:
    class EmptyReader(ToyReader):
        def read(self, recording: Recording) -> Iterator[MotionSequence]:
            yield from ()

    [result] = examine_recording(recording("file"), EmptyReader(), fps=30.0)
    assert isinstance(result, Quarantined)
    assert (result.sequence_id, result.reason) == (None, "file: no sequence in it")


def test_a_sequence_may_be_too_short_after_resampling() -> None:
    class ShortReader(ToyReader):
        def read(self, recording: Recording) -> Iterator[MotionSequence]:
            sequence = flat_walk("short", frames=2, fps=120.0)
            still_TJ3 = np.zeros((2, 17, 3)) + np.arange(17)[:, None] * 0.1
            yield replace(sequence, keypoints_3d_TJC=still_TJ3, keypoints_2d_TJC=None)

    [result] = examine_recording(recording("file"), ShortReader(), fps=30.0)
    assert isinstance(result, Quarantined)
    assert result.sequence_id == "short"
