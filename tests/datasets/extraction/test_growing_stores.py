"""Stores that grow, lose copies and are merged: whatever the way, the same motions end up in them, once."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.extraction import duplicates
from datasets.extraction.finish import finish
from datasets.extraction.merge import merge
from datasets.extraction.shard import SHARD_BYTES
from datasets.extraction.shard_writer import extract_shard
from datasets.files import write_aside
from datasets.sequences import Recording
from datasets.store.manifest import StoreError
from datasets.store.parquet import open_store
from tests.datasets.toy_recordings import READERS, BrokenReader, begin, contents, recording, run

WALKS = [recording(f"walk {name}", SHARD_BYTES) for name in "abc"]
TWINS = [recording("one/ab"), recording("one/ba"), recording("other/ab test"), recording("other/c")]


def stored(store: Path | str) -> list[str]:
    """``source/sequence_id`` of every row, in both splits."""
    opened = open_store(str(store))
    opened.verify()
    tables = [(source, rows) for split in ("train", "test") for source, rows in opened.segments(split)]
    return sorted(f"{source}/{name}" for source, rows in tables for name in rows["sequence_id"].to_pylist())


def test_new_recordings_extend_a_store_and_what_is_in_it_stays_untouched(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS[:2])
    before = contents(tmp_path)
    shards = begin(str(tmp_path), [*WALKS, recording("squat", source="fair")], command="more")
    assert [each.path for shard in shards for each in shard.recordings] == ["walk c", "squat"]
    manifest = run(str(tmp_path), [*WALKS, recording("squat", source="fair")], command="more")
    after = contents(tmp_path)
    assert {path for path in before if after[path] != before[path]} == {"manifest.json"}
    assert stored(tmp_path) == ["cmu/walk a", "cmu/walk b", "cmu/walk c", "fair/squat"]
    assert manifest.command == "again\nmore"


def test_other_inputs_alone_extend_a_store_too_and_finish_what_was_begun(tmp_path: Path) -> None:
    begin(str(tmp_path), WALKS[:2])
    run(str(tmp_path), WALKS[2:])
    assert stored(tmp_path) == ["cmu/walk a", "cmu/walk b", "cmu/walk c"]


def test_a_store_in_a_folder_with_two_colons_is_resumed_and_extended(tmp_path: Path) -> None:
    store = str(tmp_path / "take 3::retake" / "store")
    to_do = begin(store, WALKS[:2])
    extract_shard(to_do[0], store, readers=READERS)
    assert [shard.id for shard in begin(store, WALKS[:2])] == [shard.id for shard in to_do[1:]]
    run(store, WALKS[:2])
    assert begin(store, WALKS[:2]) == []
    run(store, WALKS, command="more")
    assert stored(store) == ["cmu/walk a", "cmu/walk b", "cmu/walk c"]


def test_a_recording_that_changed_is_refused(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    with pytest.raises(StoreError, match="found 1 changed: walk b had 67,108,864 bytes, has 5"):
        begin(str(tmp_path), [WALKS[0], recording("walk b", 5)])


def test_another_frame_rate_is_refused(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    [plan] = tmp_path.glob("_shards/plan-*")
    plan.write_text(json.dumps(json.loads(plan.read_text())).replace('"fps": 30.0', '"fps": 25.0'))
    with pytest.raises(StoreError, match=r"expected sequences at 30.0 Hz, found 25.0 Hz"):
        begin(str(tmp_path), WALKS)


@pytest.mark.parametrize(
    ("written", "instead", "field"),
    [
        (".*", "", "text: Invalid JSON"),
        (".*", "[]", "text: "),
        (".*", "{}", "command: Field required"),
        ('"size": \\d+', '"size": "1"', "shards.0.recordings.0.size: .*found '1'"),
        ('"recordings": .*?}\\]', '"recordings": []', "recordings: a shard without any"),
        ('"source": {.*?}, ', "", r"the source \w+ is not known to this version"),
    ],
)
def test_a_damaged_plan_is_named(written: str, instead: str, field: str, tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    [plan] = tmp_path.glob("_shards/plan-*")
    text = re.sub(written, instead, plan.read_text(), count=1).replace('"source": "cmu"', '"source": "nobody"')
    plan.write_text(text)
    with pytest.raises(StoreError, match=rf"{plan.name}: expected a store's plan, found something else \({field}"):
        begin(str(tmp_path), WALKS)


def test_a_store_without_plans_is_of_an_older_version(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    [plan] = tmp_path.glob("_shards/plan-*")
    plan.unlink()
    with pytest.raises(StoreError, match="found an older one"):
        begin(str(tmp_path), WALKS)


def test_two_extractions_that_begin_at_once_lose_nothing(tmp_path: Path) -> None:
    """Neither knows of the other's plan when it writes its own."""
    for name, recordings in {"a": WALKS[:2], "b": WALKS[1:]}.items():
        begin(str(tmp_path / name), recordings)
    shutil.copytree(tmp_path / "b/_shards", tmp_path / "a/_shards", dirs_exist_ok=True)
    assert len(list(tmp_path.glob("a/_shards/plan-0000-*"))) == 2
    shards = begin(str(tmp_path / "a"), [])
    extract_shard(shards[0], str(tmp_path / "a"), readers=READERS)
    with pytest.raises(StoreError, match=f"found {len(shards) - 1} that are not"):
        finish(str(tmp_path / "a"))
    run(str(tmp_path / "a"), WALKS)
    assert stored(tmp_path / "a") == ["cmu/walk a", "cmu/walk b", "cmu/walk c"]


def test_what_could_not_be_used_is_tried_again_when_asked(tmp_path: Path) -> None:
    once = run(str(tmp_path), WALKS, reader=BrokenReader(), licence="ours")
    assert begin(str(tmp_path), WALKS) == []
    assert run(str(tmp_path), WALKS) == once
    again = run(str(tmp_path), [*WALKS, recording("squat")], retry=True)
    assert again.digest == run(str(tmp_path / "at once"), [*WALKS, recording("squat")]).digest
    assert stored(tmp_path) == ["cmu/squat", "cmu/walk a", "cmu/walk b", "cmu/walk c"]
    assert again.sources["cmu"].quarantined == 0
    assert not (tmp_path / "_quarantine").exists() or not list((tmp_path / "_quarantine").iterdir())
    assert len(list(tmp_path.glob("_shards/[!p]*.json"))) == 4
    assert begin(str(tmp_path), WALKS, retry=True) == []


def test_a_recording_that_changed_is_extracted_again_when_asked(tmp_path: Path) -> None:
    run(str(tmp_path), [*WALKS, recording("squat", source="bvh")], licence="ours")
    changed = [WALKS[0], recording("walk b", 5)]
    [shard] = begin(str(tmp_path), changed, retry=True)
    assert (shard.recordings, shard.attempt) == ((changed[1],), 1)
    manifest = run(str(tmp_path), changed)
    assert stored(tmp_path) == ["bvh/squat", "cmu/walk a", "cmu/walk b", "cmu/walk c"]
    assert manifest.sources["bvh"].licence == "ours"


def test_a_shard_of_which_a_recording_is_not_given_is_not_tried_again(tmp_path: Path) -> None:
    small = [recording("walk a"), recording("walk b")]
    run(str(tmp_path), small, reader=BrokenReader())
    assert begin(str(tmp_path), small[1:], retry=True) == []
    assert stored(tmp_path) == ["cmu/walk a"]


def test_copies_of_what_is_tried_again_are_tried_too(tmp_path: Path) -> None:
    """Of a copy nothing is stored: were the original not to come back, the motion would be gone."""
    first = [recording("x/ac", SHARD_BYTES - 1), recording("x/b")]
    run(str(tmp_path), [*first, recording("x/ca", SHARD_BYTES)], reader=BrokenReader())
    assert stored(tmp_path) == ["cmu/ac"]
    shards = begin(str(tmp_path), [*first, recording("x/ca", SHARD_BYTES)], retry=True)
    assert sorted(each.path for shard in shards for each in shard.recordings) == ["x/ac", "x/b", "x/ca"]


def test_one_that_was_left_out_does_not_stand_for_others(tmp_path: Path) -> None:
    """Its original is gone, since that recording changed: a copy that comes now is the only one that is stored."""
    place = str(tmp_path)
    run(place, [recording("x/ab", SHARD_BYTES), recording("x/ba"), recording("x/c", SHARD_BYTES - 1)])
    assert stored(place) == ["cmu/ab", "cmu/c"]
    run(place, [recording("x/ab", 5)], retry=True, reader=BrokenReader())
    assert stored(place) == ["cmu/c"]
    manifest = run(place, [recording("b/xa")])
    assert stored(place) == ["cmu/c", "cmu/xa"]
    assert manifest.duplicates == (("cmu/xa", "cmu/ba"),)
    assert run(place, []) == manifest


def test_at_any_moment_there_is_a_whole_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just before the manifest, an extension that brings copies leaves the store that was there."""
    before = run(str(tmp_path), TWINS[1:])
    for shard in begin(str(tmp_path), TWINS):
        extract_shard(shard, str(tmp_path), readers=READERS)
    with monkeypatch.context() as patch:
        patch.setattr("datasets.extraction.finish.Manifest.to_json", killed)
        with pytest.raises(KeyboardInterrupt):
            finish(str(tmp_path))
    assert open_store(str(tmp_path)).manifest == before
    assert stored(tmp_path) == ["cmu/ab test", "cmu/ba", "cmu/c"]


def killed(_: object) -> str:
    raise KeyboardInterrupt


def test_files_that_a_kill_left_half_written_are_swept(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    before = contents(tmp_path)
    for name in ("source=cmu/split=train/part-1.parquet", "_quarantine/part-2", "_shards/plan-1.json", "manifest.json"):
        with contextlib.suppress(KeyError), write_aside(tmp_path / name) as aside:
            raise KeyError
        aside.write_text("half")
    (tmp_path / "notes.txt").write_text("the user's own")
    run(str(tmp_path), WALKS)
    assert contents(tmp_path) == {**before, "notes.txt": b"the user's own"}


def test_brackets_in_the_store_s_name_are_no_pattern(tmp_path: Path) -> None:
    run(str(tmp_path / "store[1]"), WALKS[:1])
    run(str(tmp_path / "store[1]"), WALKS)
    assert stored(tmp_path / "store[1]") == ["cmu/walk a", "cmu/walk b", "cmu/walk c"]


def test_a_damaged_report_is_named(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    report = next(tmp_path.glob("_shards/[!p]*.json"))
    report.write_text('{"source": "cmu"}')
    with pytest.raises(StoreError, match=rf"{report.name}: expected a shard's report"):
        begin(str(tmp_path), WALKS)


def test_a_companion_that_changed_is_noticed(tmp_path: Path) -> None:
    run(str(tmp_path), WALKS)
    edited = replace(WALKS[1], companions_digest="other")
    with pytest.raises(StoreError, match=r"found 1 changed: walk b: a companion file changed"):
        begin(str(tmp_path), [edited])
    with pytest.raises(StoreError, match=r"found 1 changed: walk b: the companion file video.json was added"):
        begin(str(tmp_path), [replace(edited, companions=("video.json",))])
    [shard] = begin(str(tmp_path), [edited], retry=True)
    assert shard.recordings == (edited,)


def test_a_licence_may_be_stated_afterwards(tmp_path: Path) -> None:
    made = [recording("a", source="bvh"), recording("b")]
    assert "unknown" in run(str(tmp_path), made).sources["bvh"].licence
    stated = run(str(tmp_path), made, licence="ours")
    assert stated.sources["bvh"].licence == "ours"
    assert "mocap.cs.cmu.edu" in stated.sources["cmu"].licence
    before = contents(tmp_path)
    run(str(tmp_path), made, licence="ours")
    assert contents(tmp_path) == before
    merged = merge([str(tmp_path), store_of(tmp_path / "other", [recording("c")])], str(tmp_path / "merged"))
    assert merged.sources["bvh"].licence == "ours"


def store_of(place: Path, recordings: list[Recording]) -> str:
    run(str(place), recordings)
    return str(place)


def test_a_store_is_not_merged_into_itself(tmp_path: Path) -> None:
    stores = [store_of(tmp_path / name, [recording(name)]) for name in "ab"]
    with pytest.raises(StoreError, match="expected another folder than the stores themselves"):
        merge(stores, stores[0])


def test_a_licence_stated_for_an_extension_is_the_extensions(tmp_path: Path) -> None:
    run(str(tmp_path), [recording("a", source="bvh")], licence="ours")
    manifest = run(str(tmp_path), [recording("b", source="bvh"), recording("c", source="amc")], licence="theirs")
    assert (manifest.sources["bvh"].licence, manifest.sources["amc"].licence) == ("ours; theirs", "theirs")


def test_of_copies_the_first_name_is_stored_and_the_others_are_told(tmp_path: Path) -> None:
    manifest = run(str(tmp_path), TWINS)
    assert stored(tmp_path) == ["cmu/ab", "cmu/ab test", "cmu/c"]
    assert manifest.duplicates == (("cmu/ab", "cmu/ba"),)
    entry = manifest.sources["cmu"]
    assert (entry.duplicates, entry.quarantined, entry.quarantined_sequences) == (1, 0, 0)
    assert (entry.total.sequences, entry.total.segments, entry.total.frames, entry.total.frames_2d) == (3, 3, 93, 93)
    assert entry.total.hours == pytest.approx(93 / 30 / 3600)
    [row] = open_store(str(tmp_path)).quarantine()
    assert (row["path"], row["sequence_id"]) == ("one/ba", "ba")
    assert row["reason"] == "one/ba: ba: the same motion as cmu/ab, which is stored"


def test_copies_in_other_shards_and_whole_parts_of_copies_are_found(tmp_path: Path) -> None:
    big = [recording("x/ab", SHARD_BYTES), recording("x/ba", SHARD_BYTES), recording("x/c", SHARD_BYTES)]
    manifest = run(str(tmp_path), big)
    assert stored(tmp_path) == ["cmu/ab", "cmu/c"]
    assert len(list(tmp_path.glob("source=*/split=*/*.parquet"))) == 2
    assert manifest.counts("train").sequences == 2


def test_two_copies_of_one_name_become_one(tmp_path: Path) -> None:
    manifest = run(str(tmp_path), [recording("one/a"), recording("other/a")])
    assert stored(tmp_path) == ["cmu/a", "cmu/a"]  # their paths differ, so does their motion
    assert manifest.name_collisions == ("cmu/a",)


def test_a_store_with_copies_is_left_alone_when_the_same_command_runs_again(tmp_path: Path) -> None:
    run(str(tmp_path), TWINS)
    before = contents(tmp_path)
    assert begin(str(tmp_path), TWINS) == []
    run(str(tmp_path), TWINS)
    assert contents(tmp_path) == before


def test_an_extension_brings_the_copy_that_stays(tmp_path: Path) -> None:
    """Whatever came first, what is stored is what would be stored if all had come at once."""
    run(str(tmp_path / "grown"), TWINS[1:])
    assert stored(tmp_path / "grown") == ["cmu/ab test", "cmu/ba", "cmu/c"]
    grown = run(str(tmp_path / "grown"), TWINS)
    at_once = run(str(tmp_path / "at_once"), TWINS)
    assert stored(tmp_path / "grown") == stored(tmp_path / "at_once") == ["cmu/ab", "cmu/ab test", "cmu/c"]
    assert grown.duplicates == at_once.duplicates
    assert grown.sources["cmu"].total.frames == at_once.sources["cmu"].total.frames
    assert grown.sources["cmu"].duplicates == 1


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("steps", range(6))
def test_killed_while_copies_are_left_out_the_next_run_ends_with_the_same_bytes(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(str(tmp_path / "whole"), TWINS)
    store = str(tmp_path / "killed")
    for shard in begin(store, TWINS):
        extract_shard(shard, store, readers=READERS)
    left = [steps]

    def until_killed(work: Callable[..., object]) -> Callable[..., object]:
        def limited(*args: object) -> object:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return work(*args)

        return limited

    with monkeypatch.context() as patched:
        for name in ("write_part", "write_report"):
            patched.setattr(duplicates, name, until_killed(getattr(duplicates, name)))
        try:
            finish(store)
        except KilledError:
            assert steps < 3  # a part, the quarantine table, the report
    run(store, TWINS)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_a_killed_shard_left_behind_is_swept(tmp_path: Path) -> None:
    run(str(tmp_path / "whole"), WALKS)
    run(str(tmp_path / "swept"), WALKS)
    for left in ("source=cmu/split=train/part-0-0007.parquet", "_quarantine/part-0-0000.parquet"):
        (tmp_path / "swept" / left).parent.mkdir(exist_ok=True)
        (tmp_path / "swept" / left).write_bytes(b"half")
    (tmp_path / "swept/notes.txt").write_text("mine")
    run(str(tmp_path / "swept"), WALKS)
    assert contents(tmp_path / "swept").keys() - contents(tmp_path / "whole").keys() == {"notes.txt"}


def test_merged_stores_hold_what_one_extraction_would(tmp_path: Path) -> None:
    for name, recordings in {"a": TWINS[:1], "b": TWINS[1:], "all": TWINS}.items():
        run(str(tmp_path / name), recordings)
    a, b, merged = (str(tmp_path / name) for name in ("a", "b", "merged"))
    manifest = merge([a, b], merged)
    assert stored(merged) == stored(tmp_path / "all")
    assert manifest.duplicates == open_store(str(tmp_path / "all")).manifest.duplicates
    assert manifest.sources["cmu"].recordings == 4
    before = contents(tmp_path / "merged")
    merge([a, b], merged)
    assert contents(tmp_path / "merged") == before
    assert begin(merged, TWINS) == []  # a merged store can be extended, and knows what is in it


def test_a_shard_that_two_stores_share_is_merged_once(tmp_path: Path) -> None:
    run(str(tmp_path / "a"), WALKS[:2])
    run(str(tmp_path / "b"), WALKS[1:])
    manifest = merge([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "merged"))
    assert stored(tmp_path / "merged") == ["cmu/walk a", "cmu/walk b", "cmu/walk c"]
    assert (manifest.sources["cmu"].recordings, manifest.sources["cmu"].duplicates) == (3, 0)


def test_stores_that_cannot_be_merged_are_refused(tmp_path: Path) -> None:
    a, b, other = (str(tmp_path / name) for name in "abo")
    run(a, WALKS[:1])
    run(b, WALKS[1:])
    run(other, [recording("else")])
    with pytest.raises(StoreError, match="at least two stores, found 1"):
        merge([a], str(tmp_path / "merged"))
    with pytest.raises(StoreError, match=r"found no manifest\.json"):
        merge([a, str(tmp_path / "none")], str(tmp_path / "merged"))
    with pytest.raises(StoreError, match="expected an empty folder"):
        merge([a, b], other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    with pytest.raises(StoreError, match="found other files"):
        merge([a, b], str(tmp_path / "mine"))


def test_a_damaged_store_is_not_merged(tmp_path: Path) -> None:
    run(str(tmp_path / "a"), WALKS[:1])
    run(str(tmp_path / "b"), WALKS[1:])
    part = next((tmp_path / "b").glob("source=*/split=*/*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=part.name):
        merge([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "merged"))
    assert not (tmp_path / "merged/manifest.json").exists()


def test_a_store_whose_shards_name_their_source_alone_can_be_extended(tmp_path: Path) -> None:
    """As older versions wrote them: the source's name, and nothing about it."""
    expected = run(str(tmp_path / "new"), [*WALKS, recording("squat", source="fair")])
    old = run(str(tmp_path / "old"), WALKS)
    for path in (tmp_path / "old" / "_shards").glob("*.json"):
        raw = json.loads(path.read_text())
        for shard in raw.get("shards", ()):
            assert shard.pop("source")["name"] == "cmu"
        if "source" in raw:
            raw |= {"source": raw["source"]["name"], "copies": raw.pop("duplicates")}
        path.write_text(json.dumps(raw))
    assert run(str(tmp_path / "old"), WALKS) == old
    extended = run(str(tmp_path / "old"), [*WALKS, recording("squat", source="fair")])
    assert (extended.sources, extended.digest) == (expected.sources, expected.digest)
