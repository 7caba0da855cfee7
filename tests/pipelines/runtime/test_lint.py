"""Linting counts sequences as extraction would, and shows names from files safely. Shards run without a cluster."""

from types import SimpleNamespace

import pytest

from datasets.extraction.shard import Shard
from pipelines.runtime import lint as job
from tests.datasets.toy_recordings import ToyReader, recording


@pytest.fixture(autouse=True)
def without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "run_shards", lambda shards, work: map(work, shards))
    monkeypatch.setattr(job, "find_format", lambda name: SimpleNamespace(reader=ToyReader()))


def lint(*paths: str) -> job.LintReport:
    return job.lint([Shard(recordings=tuple(recording(path) for path in paths), fps=30.0)])


def test_outcomes_are_counted_and_reasons_grouped():
    report = lint("walk", "one bad", "unreadable 1", "unreadable 2")
    assert report.outcomes == {"pass": 2, "repaired": 0, "quarantined": 3}
    assert f"{report.quarantined}" == "50% (2 of 4 recordings, 1 of 3 sequences of the others)"
    lines = report.text.splitlines()
    titles = ["source", "pass", "repaired", "quarantined"]
    assert [line.split() for line in lines[:2]] == [titles, ["cmu", "2", "0", "3"]]
    assert lines[2:] == [
        "cmu: quarantined: 2 x line 3: expected a number",
        "    such as unreadable 1: line 3: expected a number, found 'x'. Delete it.",
        "cmu: quarantined: 1 x confidence: expected 0 to 1",
        "    such as one bad (one bad bad): confidence: expected 0 to 1, found 2 to 2",
    ]


def test_names_out_of_files_are_shown_and_never_obeyed():
    report = lint("one bad\x1b[2J\u202e\n", "unreadable\udce9")
    assert len(report.text.splitlines()) == 6
    assert all(line.isprintable() for line in report.text.splitlines())
