"""Shards: each is done once, whole, with the same bytes wherever and whenever; what cannot be used says why."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from datasets.extraction import extract_recording, extract_shard
from datasets.manifest import SplitCounts, StoreError
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from datasets.shards import SHARD_BYTES, SHARD_RECORDINGS, Shard, finish, plan, unfinished
from datasets.store import frame_values, open_store

FRAMES = 61


def flat_walk(path: str, frames: int = FRAMES, fps: float = 60.0) -> MotionSequence:
    """2D joints on a line that move one pixel a frame: after halving the rate, two."""
    x_TJ = np.arange(frames)[:, None] + np.zeros((1, 17))
    y_TJ = sum(path.encode()) * np.arange(17) + np.zeros((frames, 1))
    return MotionSequence(
        source="cmu",
        sequence_id=Path(path).name,
        subject="cmu/08" if "test" in path else "cmu/01",
        fps=fps,
        keypoints_2d_TJC=np.stack([x_TJ, y_TJ], axis=-1),
        confidence_TJ=np.ones((frames, 17)),
    )


class ToyReader:
    """Reads nothing: a recording's name says what is in it."""

    name = "toy"

    def find(self, files: Iterable[File]) -> list[Recording]:
        return [recording(file.path) for file in files]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        yield flat_walk(recording.path)
        if "unreadable" in recording.path:
            raise RecordingError(recording.path, where="line 3", expected="a number", found="'x'", fix="Delete it.")
        if "one bad" in recording.path:
            yield replace(flat_walk(recording.path + " bad"), confidence_TJ=np.full((FRAMES, 17), 2.0))


READERS = {"toy": ToyReader()}


def recording(path: str, size: int = 1, source: str = "cmu") -> Recording:
    return Recording(path=path, reader="toy", source=source, size=size)


def run(store: str, recordings: Iterable[Recording]) -> list[Shard]:
    shards = plan(recordings, fps=30.0)
    for shard in unfinished(shards, store):
        extract_shard(shard, store, readers=READERS)
    return shards


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    shards = run(str(tmp_path), [recording("walk"), recording("walk test")])
    manifest = finish(shards, str(tmp_path), command="again")
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


def test_an_unreadable_recording_is_quarantined_as_a_whole_and_the_rest_is_done(tmp_path: Path) -> None:
    shards = run(str(tmp_path), [recording("walk"), recording("unreadable"), recording("one bad")])
    entry = finish(shards, str(tmp_path), command="").sources["cmu"]
    assert (entry.recordings, entry.quarantined, entry.quarantined_sequences) == (3, 1, 1)
    store = open_store(str(tmp_path))
    [(_, rows)] = store.segments("train")
    assert sorted(rows["sequence_id"].to_pylist()) == ["one bad", "walk"]
    lost = {row["path"]: row for row in store.quarantine()}
    assert set(lost) == {"unreadable", "one bad"}
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
    outcome = extract_recording(recording("file"), RaisingReader(error), fps=30.0)
    assert outcome.kept == ()
    assert [row["reason"] for row in outcome.lost] == [f"file: {type(error).__name__}: {error}"]


def test_a_recording_without_a_sequence_is_not_dropped_silently() -> None:
    outcome = extract_recording(recording("file"), RaisingReader(None), fps=30.0)
    assert [row["reason"] for row in outcome.lost] == ["no sequence in it"]


@pytest.mark.parametrize("error", [MemoryError(), KeyError("our bug"), ConnectionResetError(), TimeoutError()])
def test_our_own_faults_and_the_networks_are_no_reason(error: Exception) -> None:
    with pytest.raises(type(error)):
        extract_recording(recording("file"), RaisingReader(error), fps=30.0)


MANY = [recording(f"walk {number}", SHARD_BYTES) for number in range(4)] + [recording("walk unreadable", SHARD_BYTES)]


def test_a_killed_extraction_is_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(run(str(whole), MANY), str(whole), command="again")

    shards = plan(MANY, fps=30.0)
    assert len(shards) == 5
    for shard in shards[:3]:
        extract_shard(shard, str(killed), readers=READERS)
    next(killed.glob("_shards/*.json")).unlink()  # killed between the part and the report
    with pytest.raises(StoreError, match="did not finish"):
        open_store(str(killed))
    assert len(unfinished(shards, str(killed))) == 3
    finish(run(str(killed), MANY), str(killed), command="again")

    assert contents(killed) == contents(whole)


def test_what_is_done_is_not_done_again_and_what_was_deleted_is(tmp_path: Path) -> None:
    shards = run(str(tmp_path), MANY)
    finish(shards, str(tmp_path), command="")
    before = contents(tmp_path)
    assert unfinished(shards, str(tmp_path)) == []
    part = next(tmp_path.glob("source=cmu/split=train/*.parquet"))
    part.unlink()
    assert [shard.id for shard in unfinished(shards, str(tmp_path))] == [part.stem.removeprefix("part-")]
    run(str(tmp_path), MANY)
    assert contents(tmp_path) == before


def test_a_store_of_other_recordings_is_not_mixed_with(tmp_path: Path) -> None:
    run(str(tmp_path), MANY)
    with pytest.raises(StoreError, match="1 shards made from other recordings"):
        unfinished(plan(MANY[1:], fps=30.0), str(tmp_path))


def test_copies_are_reported(tmp_path: Path) -> None:
    twins = [recording("folder/ab", SHARD_BYTES), recording("folder/ba", SHARD_BYTES), recording("folder/c")]
    manifest = finish(run(str(tmp_path), twins), str(tmp_path), command="")
    assert manifest.duplicates == (("cmu/ab", "cmu/ba"),)
    assert manifest.counts("train").sequences == 3


def test_a_name_that_two_recordings_claim_is_reported(tmp_path: Path) -> None:
    manifest = finish(run(str(tmp_path), [recording("one/a"), recording("other/a")]), str(tmp_path), command="")
    assert ("cmu/a", "cmu/a") in manifest.duplicates


def test_a_stated_licence_stands_where_the_catalogue_knows_none(tmp_path: Path) -> None:
    known, unknown = recording("walk"), recording("walk", source="bvh")
    manifest = finish(run(str(tmp_path), [known, unknown]), str(tmp_path), command="", licence="ours")
    assert manifest.sources["bvh"].licence == "ours"
    assert "mocap.cs.cmu.edu" in manifest.sources["cmu"].licence
    assert json.loads((tmp_path / "manifest.json").read_text())["sources"]["bvh"]["licence"] == "ours"


def test_extraction_works_on_any_filesystem(tmp_path: Path) -> None:
    finish(run("memory://store", MANY), "memory://store", command="again")
    finish(run(str(tmp_path), MANY), str(tmp_path), command="again")
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
    shards = plan(MANY, fps=30.0)
    with pytest.raises(StoreError, match=r"found no manifest\.json"):
        open_store(store)
    for shard in shards[:2]:
        extract_shard(shard, store, readers=READERS)
    assert unfinished(shards, store) == shards[2:]
    finish(run(store, MANY), store, command="again")
    finish(run(str(tmp_path), MANY), str(tmp_path), command="again")

    in_bucket, local = open_store(store + "/"), open_store(str(tmp_path))
    in_bucket.verify()
    assert in_bucket.manifest == local.manifest
    assert in_bucket.quarantine() == local.quarantine()
    assert [rows for _, rows in in_bucket.segments("train")] == [rows for _, rows in local.segments("train")]
