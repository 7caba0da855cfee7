"""Shards: each is done once, whole, with the same bytes wherever and whenever; what cannot be used says why."""

import errno
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from datasets.extraction import shard_writer
from datasets.extraction.examine import examine_recording
from datasets.extraction.finish import finish
from datasets.extraction.plan import find_unfinished
from datasets.extraction.quarantine import Quarantined
from datasets.extraction.shard import SHARD_BYTES, SHARD_RECORDINGS, Shard, plan
from datasets.extraction.shard_writer import extract_shard
from datasets.sequences import MotionSequence, Recording
from datasets.store.manifest import SplitCounts, StoreError
from datasets.store.parquet import frame_values, open_store, segment_rows
from tests.datasets.toy_recordings import FRAMES, READERS, ToyReader, begin, contents, flat_walk, recording, run


@given(
    sizes=st.lists(st.integers(0, 2 * SHARD_BYTES), min_size=1, max_size=200),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_plan_holds_each_recording_once_within_the_limits_in_any_order(sizes: list[int], shuffle: Random) -> None:
    recordings = [recording(f"{number:03}", size, "cmu" if size % 3 else "fair") for number, size in enumerate(sizes)]
    shards = plan(recordings, fps=30.0)
    planned = [each for shard in shards for each in shard.recordings]
    assert sorted(planned, key=lambda each: each.path) == recordings
    for shard in shards:
        assert len({each.source for each in shard.recordings}) == 1
        assert len(shard.recordings) <= SHARD_RECORDINGS
        assert len(shard.recordings) == 1 or sum(each.size for each in shard.recordings) <= SHARD_BYTES
    shuffled = [*recordings, recordings[0]]
    shuffle.shuffle(shuffled)
    assert plan(shuffled, fps=30.0) == shards


def test_a_shards_name_follows_what_goes_into_it() -> None:
    shard = Shard(recordings=(recording("a"), recording("b")), fps=30.0)
    others = [
        replace(shard, fps=60.0),
        replace(shard, recordings=shard.recordings[:1]),
        replace(shard, recordings=(recording("a"), recording("b", size=2))),
        replace(shard, recordings=(recording("a"), replace(recording("b"), companions=("c",)))),
    ]
    assert len({shard.id, *(other.id for other in others)}) == 5
    assert Shard.from_json(shard.to_json()) == shard


def test_recordings_become_rows_at_the_stores_rate_in_the_split_of_their_subject(tmp_path: Path) -> None:
    manifest = run(str(tmp_path), [recording("walk"), recording("walk test")])
    store = open_store(str(tmp_path))
    assert store.manifest == manifest
    expected = SplitCounts(sequences=1, segments=1, frames=31, frames_2d=31, hours=31 / 30 / 3600)
    entry = manifest.sources["cmu"]
    assert entry.splits == {"train": expected, "test": expected}
    assert (entry.recordings, entry.quarantined, entry.quarantined_sequences) == (2, 0, 0)
    assert "mocap.cs.cmu.edu" in entry.licence
    [(source, rows)] = store.segments("test")
    assert (source, rows["sequence_id"].to_pylist(), rows["fps"].to_pylist()) == ("cmu", ["walk test"], [30.0])
    x_TJ = frame_values(rows["keypoints_2d"], 17, 2)[..., 0]
    np.testing.assert_allclose(x_TJ[:, 0], np.arange(0, FRAMES, 2))
    store.verify()


def test_what_is_unreadable_is_quarantined_and_the_rest_is_done(tmp_path: Path) -> None:
    recordings = [recording("walk"), recording("unreadable"), recording("broken off"), recording("one bad")]
    entry = run(str(tmp_path), recordings).sources["cmu"]
    assert (entry.recordings, entry.quarantined, entry.quarantined_sequences) == (4, 1, 2)
    store = open_store(str(tmp_path))
    [(_, rows)] = store.segments("train")
    assert sorted(rows["sequence_id"].to_pylist()) == ["broken off", "one bad", "walk"]
    lost = {row["path"]: row for row in store.quarantine()}
    assert set(lost) == {"unreadable", "broken off", "one bad"}
    assert lost["broken off"]["sequence_id"] is None
    assert lost["unreadable"]["reason"] == "unreadable: line 3: expected a number, found 'x'. Delete it."
    assert (lost["unreadable"]["reader"], lost["unreadable"]["source"]) == ("toy", "cmu")
    assert lost["unreadable"]["sequence_id"] is None
    assert lost["one bad"]["sequence_id"] == "one bad bad"
    assert "confidence" in lost["one bad"]["reason"]


class RaisingReader(ToyReader):
    """Fails as a parser does, or as the world does."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        if self.error:
            raise self.error
        yield from ()


RUBBISH = [
    ValueError("could not convert string to float: 'x'"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    struct.error("unpack requires 4 bytes"),
    EOFError("no data left"),
    ZeroDivisionError("division by zero"),
    IsADirectoryError(21, "Is a directory"),
]


@pytest.mark.parametrize("error", RUBBISH, ids=lambda error: type(error).__name__)
def test_what_parsers_raise_on_rubbish_is_a_reason(error: Exception) -> None:
    [lost] = examine_recording(recording("file"), RaisingReader(error), fps=30.0)
    assert isinstance(lost, Quarantined)
    assert lost.reason == f"file: {type(error).__name__}: {error}"


def test_a_recording_without_a_sequence_is_not_dropped_silently() -> None:
    [lost] = examine_recording(recording("file"), RaisingReader(None), fps=30.0)
    assert isinstance(lost, Quarantined)
    assert lost.reason == "file: no sequence in it"


@pytest.mark.parametrize("error", [SystemError("s"), KeyError("x"), RecursionError("too deep")])
def test_a_bug_of_a_reader_costs_the_recording_and_is_called_a_bug(error: Exception) -> None:
    [lost] = examine_recording(recording("file"), RaisingReader(error), fps=30.0)
    assert isinstance(lost, Quarantined)
    assert lost.reason == f"file: a bug in the reader toy, please report: {type(error).__name__}: {error}"


def test_a_recording_too_large_for_the_machine_is_called_so() -> None:
    [lost] = examine_recording(recording("file"), RaisingReader(MemoryError("4 GiB")), fps=30.0)
    assert isinstance(lost, Quarantined)
    assert lost.reason == "file: needs more memory than this machine has: 4 GiB"


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), OSError(errno.EBUSY, "Slow down"), OSError(errno.EMFILE, "")]
)
def test_the_networks_and_the_machines_faults_are_no_reason(error: Exception) -> None:
    with pytest.raises((ConnectionError, TimeoutError)):
        list(examine_recording(recording("file"), RaisingReader(error), fps=30.0))


MANY = [recording(f"walk {number}", SHARD_BYTES) for number in range(4)] + [recording("walk unreadable", SHARD_BYTES)]


def test_a_killed_extraction_is_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(str(whole), MANY)

    shards = begin(str(killed), MANY)
    assert len(shards) == 5
    for shard in shards[:3]:
        extract_shard(shard, str(killed), readers=READERS)
    (killed / shards[0].report_path).unlink()  # killed between the part and the report
    with pytest.raises(StoreError, match="did not finish"):
        open_store(str(killed))
    assert len(find_unfinished(shards, str(killed))) == 3
    run(str(killed), MANY)

    assert contents(killed) == contents(whole)


def test_what_is_done_is_not_done_again_and_what_was_deleted_is(tmp_path: Path) -> None:
    run(str(tmp_path), MANY)
    before = contents(tmp_path)
    assert begin(str(tmp_path), MANY) == []
    part = next(tmp_path.glob("source=cmu/split=train/*.parquet"))
    part.unlink()
    assert [shard.id for shard in begin(str(tmp_path), MANY)] == [part.stem.split("-")[1]]
    run(str(tmp_path), MANY)
    assert contents(tmp_path) == before


def test_a_name_that_two_recordings_claim_is_reported(tmp_path: Path) -> None:
    assert run(str(tmp_path), [recording("one/a"), recording("other/a")]).name_collisions == ("cmu/a",)


class LongReader(ToyReader):
    """A recording of many sequences, as a pickle of a whole data set is."""

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        for number in range(20):
            yield flat_walk(chr(97 + number) + (" test" if number % 5 == 0 else ""))
            yield replace(flat_walk(f"{number:02} bad"), confidence_TJ=np.full((FRAMES, 17), 2.0))


def test_a_long_recording_fills_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row_bytes = segment_rows(flat_walk("a", 31)).nbytes
    monkeypatch.setattr(shard_writer, "PART_BYTES", 3 * row_bytes)
    monkeypatch.setattr(shard_writer, "_QUARANTINE_ROWS", 8)
    [shard] = begin(str(tmp_path), [recording("all")])
    report = extract_shard(shard, str(tmp_path), readers={"toy": LongReader()})
    finish(str(tmp_path))
    store = open_store(str(tmp_path))
    rows = [table["sequence_id"].to_pylist() for _, table in store.segments("train")]
    assert [name for part in rows for name in part] == [chr(97 + n) for n in range(20) if n % 5]
    assert [len(part) for part in rows] == [3, 3, 3, 3, 3, 1]
    assert store.manifest.counts("test").sequences == 4
    assert [row["sequence_id"] for row in store.quarantine()] == [f"{n:02} bad" for n in range(20)]
    assert len([entry for entry in report.files if entry.path.startswith("_quarantine/")]) == 3
    assert (report.quarantined, report.quarantined_sequences) == (0, 20)


def test_a_stated_licence_stands_where_the_catalogue_knows_none(tmp_path: Path) -> None:
    known, unknown = recording("walk"), recording("walk 2", source="bvh")
    manifest = run(str(tmp_path), [known, unknown], licence="ours")
    assert manifest.sources["bvh"].licence == "ours"
    assert "mocap.cs.cmu.edu" in manifest.sources["cmu"].licence
    assert json.loads((tmp_path / "manifest.json").read_text())["sources"]["bvh"]["licence"] == "ours"


def test_extraction_works_on_any_filesystem(tmp_path: Path) -> None:
    run("memory://store", MANY)
    run(str(tmp_path), MANY)
    assert open_store("memory://store").manifest == open_store(str(tmp_path)).manifest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    filesystem, _ = fsspec.url_to_fs("s3://motion")
    filesystem.mkdir("motion")
    yield "s3://motion"
    server.stop()


def test_a_store_in_a_bucket_is_made_resumed_and_read_like_a_local_one(bucket: str, tmp_path: Path) -> None:
    store = f"{bucket}/some/store"
    shards = begin(store, MANY)
    with pytest.raises(StoreError, match=r"found no manifest\.json"):
        open_store(store)
    for shard in shards[:2]:
        extract_shard(shard, store, readers=READERS)
    assert begin(store, MANY) == shards[2:]
    run(store, MANY)
    run(str(tmp_path), MANY)

    in_bucket, local = open_store(store + "/"), open_store(str(tmp_path))
    in_bucket.verify()
    assert in_bucket.manifest == local.manifest
    assert list(in_bucket.quarantine()) == list(local.quarantine())
    assert [rows for _, rows in in_bucket.segments("train")] == [rows for _, rows in local.segments("train")]
