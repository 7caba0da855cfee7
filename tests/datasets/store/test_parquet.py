"""The store gives back what was put in, and refuses everything else."""

import hashlib
import json
import multiprocessing
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.dataset import dataset

from datasets.quality.resampling import resample
from datasets.sequences import MotionSequence, Source
from datasets.store.manifest import (
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    SourceEntry,
    SplitCounts,
    StoreError,
    parse_manifest,
)
from datasets.store.parquet import Store, frame_values, open_store, partition, segment_rows, write_part, write_whole


def sequence(frames: int, *, seed: int = 0, with_3d: bool = True, with_2d: bool = False) -> MotionSequence:
    random = np.random.default_rng(seed)
    return MotionSequence(
        source=Source(name="lab", kind="mocap", url=""),
        sequence_id=f"walk {seed}",
        subject="ada",
        action="walking",
        label=3,
        fps=29.97,
        keypoints_3d_TJC=random.normal(size=(frames, 17, 3)) if with_3d else None,
        keypoints_2d_TJC=random.normal(size=(frames, 17, 2)).astype(np.float32) if with_2d else None,
        confidence_TJ=random.uniform(size=(frames, 17)).astype(np.float32),
        image_size=(640, 480) if with_2d else None,
        repairs=("frame 0 was a T-pose",),
    )


@pytest.mark.parametrize("view", [None, "54138969"])
def test_the_view_is_stored_and_survives_resampling(tmp_path: Path, view: str | None) -> None:
    resampled = resample(replace(sequence(9, with_2d=True), view=view), 30.0)
    rows = segment_rows(resampled, 4)
    store = build(str(tmp_path), {f"{partition('lab', 'train')}/part-a.parquet": rows})
    [(_, back)] = store.segments("train")
    assert back["view"].to_pylist() == [view] * 3


def build(url: str, tables: dict[str, pa.Table]) -> Store:
    """Make a store of {path: rows} with nothing else in its manifest."""
    files = tuple(write_part(url, path, rows) for path, rows in tables.items())
    manifest = Manifest(fps=30.0, command="python -m pipelines.extract", sources={}, files=files)
    write_whole(f"{url}/manifest.json", manifest.to_json().encode())
    return open_store(url)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build(str(tmp_path), {f"{partition('lab', 'train')}/part-a.parquet": segment_rows(sequence(5))})


@given(frames=st.integers(1, 60), at_most=st.integers(1, 25))
def test_segments_hold_every_frame_once_and_are_no_longer_than_allowed(frames: int, at_most: int) -> None:
    motion = sequence(frames, with_2d=True)
    rows = segment_rows(motion, at_most)
    lengths = rows["num_frames"].to_pylist()
    assert max(lengths) <= at_most
    assert max(lengths) - min(lengths) <= 1
    assert rows["segment"].to_pylist() == list(range(len(lengths)))
    for name, values in (("keypoints_3d", motion.keypoints_3d_TJC), ("keypoints_2d", motion.keypoints_2d_TJC)):
        assert values is not None
        np.testing.assert_array_equal(frame_values(rows[name], *values.shape[1:]), values.astype(np.float32))
    np.testing.assert_array_equal(frame_values(rows["confidence"], 17), motion.confidence_TJ)


def test_a_part_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    both = pa.concat_tables(
        [
            segment_rows(sequence(7, seed=1), 4),
            segment_rows(sequence(3, seed=2, with_3d=False, with_2d=True), 4),
        ]
    )
    store = build(str(tmp_path), {f"{partition('lab', 'test')}/part-a.parquet": both})
    [(source, rows)] = store.segments("test")
    assert source == "lab"
    assert rows.equals(both)
    assert rows["num_frames"].to_pylist() == [3, 4, 3]
    assert rows["keypoints_3d"].is_null().to_pylist() == [False, False, True]
    assert rows["image_size"].to_pylist() == [None, None, [640, 480]]
    assert rows["repairs"].to_pylist()[0] == ["frame 0 was a T-pose"]
    assert list(store.segments("train")) == []


def test_another_parquet_reader_sees_hive_columns_and_plain_lists(store: Store) -> None:
    parts = [str(part) for part in Path(store.url).glob("source=*/split=*/*.parquet")]
    rows = dataset(parts, partitioning="hive").to_table().to_pylist()
    assert [(row["source"], row["split"], row["sequence_id"]) for row in rows] == [("lab", "train", "walk 0")]
    points = sequence(5).keypoints_3d_TJC
    assert points is not None
    np.testing.assert_array_equal(rows[0]["keypoints_3d"], points.astype(np.float32).reshape(5, 51))


def test_a_source_name_with_a_slash_stays_one_folder(tmp_path: Path) -> None:
    path = f"{partition('my lab/2', 'train')}/part-a.parquet"
    store = build(str(tmp_path), {path: segment_rows(sequence(2))})
    assert path.count("/") == 2
    assert [source for source, _ in store.segments("train")] == ["my lab/2"]


def test_a_folder_without_a_manifest_is_an_unfinished_extraction(tmp_path: Path) -> None:
    write_part(str(tmp_path), f"{partition('lab', 'train')}/part-a.parquet", segment_rows(sequence(5)))
    with pytest.raises(StoreError, match=r"did not finish.*resumes where it stopped"):
        open_store(str(tmp_path))


def test_a_newer_schema_version_is_refused(store: Store) -> None:
    manifest = Path(store.url) / "manifest.json"
    newer = json.loads(manifest.read_text()) | {"schema_version": SCHEMA_VERSION + 1}
    manifest.write_text(json.dumps(newer))
    with pytest.raises(StoreError, match=rf"expected {SCHEMA_VERSION}, found {SCHEMA_VERSION + 1}"):
        open_store(store.url)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 2, "digest": "x"}', "\ufffd"]
)
def test_anything_else_in_the_manifests_place_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match=r"^here: expected a store's manifest"):
        parse_manifest(text, "here")


def test_a_flipped_byte_is_found_on_reading_and_by_verify(store: Store) -> None:
    part = Path(store.url) / store.files()[0].path
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(StoreError, match="SHA-256"):
        store.verify()
    with pytest.raises(StoreError, match="SHA-256"):
        list(store.segments("train"))


def test_a_missing_part_is_found_by_verify(store: Store) -> None:
    store.verify()
    (Path(store.url) / store.files()[0].path).unlink()
    with pytest.raises(StoreError, match="not there"):
        store.verify()


def test_a_manifest_that_lists_other_files_than_it_was_made_for_is_refused(store: Store) -> None:
    text = store.manifest.to_json().replace(store.files()[0].sha256, "0" * 64)
    with pytest.raises(StoreError, match="list of files was edited"):
        parse_manifest(text, "here")


class _Running(pa.ExtensionType):
    """An extension type that must not be built."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.running")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "_Running":
        raise AssertionError("code of a file was run")


@pytest.fixture
def extension_type() -> Iterator[pa.ExtensionType]:
    kind = _Running()
    pa.register_extension_type(kind)
    yield kind
    pa.unregister_extension_type("tests.running")


def test_extension_types_are_refused_before_they_are_built(tmp_path: Path, extension_type: pa.ExtensionType) -> None:
    rows = pa.table({"x": pa.ExtensionArray.from_storage(extension_type, pa.array([1]))})
    store = build(str(tmp_path), {f"{partition('lab', 'train')}/part-a.parquet": rows})
    with pytest.raises(StoreError, match="extension type"):
        list(store.segments("train"))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    store = build(str(tmp_path), {f"{partition('lab', 'train')}/part-a.parquet": pa.table({"x": [1]})})
    with pytest.raises(StoreError, match="expected the columns"):
        list(store.segments("train"))


def test_the_digest_follows_the_contents_and_not_the_names_of_parts() -> None:
    def digest(*files: tuple[str, str]) -> str:
        entries = tuple(FileEntry(path=path, bytes=1, sha256=sha256) for path, sha256 in files)
        return Manifest(fps=30.0, command="", sources={}, files=entries).digest

    lines = "schema 2\nsource=a/split=train 11\nsource=a/split=train 22"
    one = digest(("source=a/split=train/part-1.parquet", "11"), ("source=a/split=train/part-2.parquet", "22"))
    assert one == hashlib.sha256(lines.encode()).hexdigest()
    assert one == digest(("source=a/split=train/part-8.parquet", "22"), ("source=a/split=train/part-9.parquet", "11"))
    assert one != digest(("source=a/split=test/part-1.parquet", "11"), ("source=a/split=train/part-2.parquet", "22"))


def test_a_manifest_survives_json() -> None:
    manifest = Manifest(
        fps=25.0,
        command="python -m pipelines.extract --input 'my folder'",
        sources={
            "lab": SourceEntry(
                kind="action",
                licence="CC BY 4.0 – © the lab",
                url="https://example.org",
                labels=("walk", "run"),
                recordings=3,
                quarantined=1,
                quarantined_sequences=2,
                splits={"train": SplitCounts(sequences=2, segments=3, frames=40, frames_3d=40, hours=0.5)},
            )
        },
        files=(FileEntry(path="source=lab/split=train/part-a.parquet", bytes=9, sha256="ab"),),
        duplicates=(("lab/a", "lab/b"),),
    )
    assert parse_manifest(manifest.to_json(), "here") == manifest


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fps": "30"}, "fps: .*number, found '30'"),
        ({"files": [{"path": "a", "bytes": 1.5, "sha256": "x"}]}, "files.0.bytes: .*integer, found 1.5"),
        ({"files": [{"path": "a", "bytes": 1}]}, "files.0.sha256: Field required"),
        ({"duplicates": [["a", 2]]}, "duplicates.0.1: .*string, found 2"),
        ({"speed": 1}, "speed: Unexpected keyword argument, found 1"),
    ],
)
def test_a_field_of_a_manifest_that_is_wrong_is_named(store: Store, change: dict, field: str) -> None:
    wrong = json.loads(store.manifest.to_json()) | change
    with pytest.raises(StoreError, match=rf"^here: expected a store's manifest, found something else \({field}"):
        parse_manifest(json.dumps(wrong), "here")


def test_an_older_manifest_is_read_by_its_new_names() -> None:
    entry = SourceEntry(
        kind="detections", licence="", url="", recordings=1, quarantined=0, quarantined_sequences=0, duplicates=3,
        splits={},
    )  # fmt: skip
    manifest = Manifest(fps=30.0, command="", sources={"street": entry}, files=(), name_collisions=("street/a",))
    older = json.loads(manifest.to_json()) | {"schema_version": 2}
    older["namesakes"] = older.pop("name_collisions")
    older["sources"]["street"] |= {"kind": "wild", "copies": older["sources"]["street"].pop("duplicates")}
    assert parse_manifest(json.dumps(older), "here") == manifest


def _write_much(path: str, limit: int, answers: "multiprocessing.Queue[str]") -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_whole(path, b"new" * limit)
    except StoreError as error:
        answers.put(str(error))


def test_no_room_is_a_clear_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "part.parquet"
    target.write_bytes(b"old")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_write_much, args=(str(target), 1000, answers))
    process.start()
    message = answers.get(timeout=60)
    process.join()
    assert "no room for 3,000 bytes" in message
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]
