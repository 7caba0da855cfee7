"""Linting says of each sequence what extraction would make of it, and extraction makes that of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.extraction.examine import extract_recording
from datasets.extraction.linting import Finding, lint_recording
from datasets.extraction.quarantine import Lost
from datasets.files import list_files
from datasets.readers.discovery import find_recordings
from datasets.readers.registry import READERS
from datasets.sequences import MotionSequence, Recording, RecordingError
from tests.datasets.toy_recordings import ToyReader, flat_walk, recording


class MixedReader(ToyReader):
    """A good sequence, one with a note, one that is repaired, one that is refused, and then an end."""

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        yield flat_walk("good")
        yield replace(flat_walk("noted"), repairs=("rate assumed",))
        yield far_outside("repaired")
        yield replace(flat_walk("refused"), confidence_TJ=np.full((61, 17), 2.0))
        raise RecordingError(recording.path, where="line 3", expected="a number", found="'x'", fix="Delete it.")


def far_outside(name: str) -> MotionSequence:
    """One point of one frame lies far outside the image."""
    sequence = replace(flat_walk(name), image_size=(3000, 30000))
    assert sequence.keypoints_2d_TJC is not None
    sequence.keypoints_2d_TJC[7, 3] = [9000, 0]
    return sequence


def test_each_outcome_has_its_reasons() -> None:
    findings = list(lint_recording(recording("file"), MixedReader(), fps=30.0))
    assert [(each.sequence_id, each.outcome) for each in findings] == [
        ("good", "pass"), ("noted", "repaired"), ("repaired", "repaired"), ("refused", "quarantined"),
        (None, "quarantined"),
    ]  # fmt: skip
    assert findings[1].why == ("rate assumed",)
    assert len(findings[2].why) == 1
    assert "outside" in findings[2].why[0]
    assert findings[3].why == ("confidence: expected 0 to 1, found 2 to 2",)
    assert findings[4].why == ("file: line 3: expected a number, found 'x'. Delete it.",)


def test_nothing_in_it_is_a_finding() -> None:
    class EmptyReader(ToyReader):
        def read(self, recording: Recording) -> Iterator[MotionSequence]:
            yield from ()

    assert [each.outcome for each in lint_recording(recording("file"), EmptyReader(), fps=30.0)] == ["quarantined"]


def test_too_short_after_resampling_is_found() -> None:
    class ShortReader(ToyReader):
        def read(self, recording: Recording) -> Iterator[MotionSequence]:
            sequence = flat_walk("short", frames=2, fps=120.0)
            still_TJ3 = np.zeros((2, 17, 3)) + np.arange(17)[:, None] * 0.1
            yield replace(sequence, keypoints_3d_TJC=still_TJ3, keypoints_2d_TJC=None)

    [finding] = lint_recording(recording("file"), ShortReader(), fps=30.0)
    assert finding.outcome == "quarantined"


def outcomes(found: Iterator[Finding] | Iterator[MotionSequence | Lost]) -> list[tuple[str | None, bool]]:
    return [
        (each.sequence_id, isinstance(each, Lost) or getattr(each, "outcome", "") == "quarantined") for each in found
    ]


@pytest.mark.parametrize("folder", ["fair_bvh", "ui_prmd_kinect", "wild2d"])
def test_real_recordings_are_linted_as_they_are_extracted(folder: str, real_data: Path) -> None:
    recordings, _ = find_recordings(list_files(str(real_data / folder)))
    assert recordings
    for each in recordings[::20]:
        reader = READERS[each.reader]
        assert outcomes(lint_recording(each, reader, fps=30.0)) == outcomes(extract_recording(each, reader, fps=30.0))
