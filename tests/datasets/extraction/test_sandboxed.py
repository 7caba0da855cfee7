"""Extraction goes on whatever a file does to the process that parses it; the file is quarantined with the reason."""

import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.assembly.path_rules import CMU
from datasets.extraction.examine import examine_recording
from datasets.extraction.finish import finish
from datasets.extraction.plan import extend
from datasets.extraction.quarantine import Quarantined
from datasets.extraction.reading import read_sequences
from datasets.extraction.shard_writer import extract_shard
from datasets.sandbox import calls
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Recording, Source
from datasets.store.parquet import open_store
from tests.datasets.extraction.hostile_reader import HostileReader, Repeater
from tests.datasets.toy_recordings import recording
from tests.datasets.toy_sequences import flat_walk

READER = HostileReader()
LIMITS = ReadLimits(seconds=1.0, memory_gb=0.5)

FATES = {
    "crash itself": r"crash: .* signal 11 \(SIGSEGV\)",
    "crash in scipy": r"crash: .* signal 11 \(SIGSEGV\)",
    "eat memory": r"memory limit: .* at most 0\.5 GB",
    "loop": r"time limit: .* within 1 s",
    "hang in C": r"time limit: .* within 1 s",
    "have a bug": r"a bug in the reader toy, please report: KeyError: 'left_knee'",
}


def extracted(store: str, paths: list[str]) -> tuple[list[str], dict[str, str]]:
    """The ids of the stored sequences, and the reasons of the quarantined recordings."""
    plans = extend(store, [recording(path) for path in paths], fps=30.0, command="test")
    for shard in [shard for plan in plans for shard in plan.shards]:
        extract_shard(shard, store, readers={"toy": READER}, limits=LIMITS)
    finish(store)
    opened = open_store(store)
    rows = [row for split in ("train", "test") for _, rows in opened.segments(split) for row in rows.to_pylist()]
    return sorted(row["sequence_id"] for row in rows), {
        str(row["path"]): str(row["reason"]) for row in opened.quarantine()
    }


def test_the_shard_goes_on_and_each_bad_recording_says_what_it_did(tmp_path: Path) -> None:
    good = [f"{number} good" for number in range(len(FATES) + 1)]
    bad = {f"{number} {fate}": reason for number, (fate, reason) in enumerate(FATES.items())}
    stored, reasons = extracted(str(tmp_path), [*good, *bad])
    assert stored == sorted([*good, *bad])  # of the bad ones what came before
    assert reasons.keys() == bad.keys()
    for path, expected in bad.items():
        assert re.match(f"{path}: {expected}", reasons[path])


@pytest.mark.parametrize("path", ["lose the network", "slow down", "wait too long"])
def test_errors_of_the_network_are_raised_not_quarantined(path: str) -> None:
    results = examine_recording(recording(path), READER, fps=30.0, limits=LIMITS)
    assert isinstance(next(results), MotionSequence)
    with pytest.raises(ConnectionError, match=r"bucket|slow down"):
        next(results)


def test_a_recording_larger_than_the_memory_limit_streams_in_flat_memory() -> None:
    """Twelve sequences of 14 MB and more, of which one is in memory at a time on either side."""
    limits = replace(LIMITS, memory_gb=0.15)
    tracemalloc.start()
    try:
        sizes = [
            each.num_frames
            for each in read_sequences(recording("long"), READER, limits=limits)
            if isinstance(each, MotionSequence)
        ]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [61] + [100_000] * 12
    assert peak < 3 * 100_000 * 17 * 3 * 8


@pytest.mark.parametrize("can_fork", [True, False])
def test_sequences_come_back_as_the_reader_yields_them(monkeypatch: pytest.MonkeyPatch, *, can_fork: bool) -> None:
    monkeypatch.setattr(calls, "_CAN_FORK", can_fork)
    whole = replace(
        flat_walk("walk"), action="walk", label=3, view="54138969", image_size=(640, 480), repairs=("one", "two"),
        keypoints_3d_TJC=np.random.default_rng(0).normal(size=(61, 17, 3)).astype(np.float32),
    )  # fmt: skip
    elsewhere = Source(
        name="elsewhere",
        kind="action",
        licence="ours",
        url="here",
        test_subjects=frozenset({"b"}),
        labels=("sit", "go"),
    )
    for expected in (whole, flat_walk("walk"), replace(whole, source=elsewhere)):
        [found] = read_sequences(recording("walk"), Repeater(expected))
        assert isinstance(found, MotionSequence)
        for name, value in vars(expected).items():
            if isinstance(value, np.ndarray):
                assert getattr(found, name).dtype == value.dtype
                np.testing.assert_array_equal(getattr(found, name), value)
            else:
                assert (type(getattr(found, name)), getattr(found, name)) == (type(value), value)
        assert vars(found.source) == vars(expected.source)


def source_with(**changes: object) -> Source:
    """A source with fields of other types, which a reader that checks nothing may make."""
    source = replace(CMU, name="other")
    vars(source).update(changes)
    return source


@pytest.mark.parametrize(
    "change",
    [
        {"confidence_TJ": np.ones((61, 16))},
        {"keypoints_2d_TJC": np.ones((60, 17, 2))},
        {"subject": None},
        {"fps": "fast"},
        {"confidence_TJ": np.full((61, 17), None)},
        {"image_size": (640, 480, 3)},
        {"image_size": ("wide", "high")},
        {"repairs": (1, 2)},
        {"source": source_with(kind="films")},
        {"source": source_with(labels=(1,))},
    ],
)  # fmt: skip
def test_what_is_no_sequence_is_quarantined(change: dict[str, object]) -> None:
    unchecked = flat_walk("walk")
    vars(unchecked).update(change)
    [found] = read_sequences(recording("walk"), Repeater(unchecked))
    assert isinstance(found, Quarantined)
    assert found.reason.startswith("walk: ")


def test_a_reader_that_parses_no_files_runs_in_this_process() -> None:
    class Here(HostileReader):
        parses_files = False

        def read(self, recording: Recording) -> Iterator[MotionSequence]:
            seen.append(recording.path)
            yield flat_walk(recording.path)

    seen: list[str] = []
    assert len(list(read_sequences(recording("walk"), Here()))) == 1
    assert seen == ["walk"]
