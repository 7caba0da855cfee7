"""The cache holds every frame of a split where its index says, is filled once, and is whole or absent."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasets.loading.cache import Cache, fill
from datasets.sequences import MotionSequence, Source
from datasets.store.manifest import FileEntry, Manifest, SourceEntry, SplitCounts, StoreError
from datasets.store.parquet import Store, open_store, partition, segment_rows, write_part, write_whole


def sequence(sequence_id: str, frames: int, *, with_3d: bool = True, with_2d: bool = False) -> MotionSequence:
    random = np.random.default_rng(frames)
    return MotionSequence(
        source=Source(name="set by the folder", kind="mocap", url=""),
        sequence_id=sequence_id,
        subject=f"subject of {sequence_id}",
        action="walking" if with_3d else None,
        label=2 if with_3d else None,
        fps=30.0,
        keypoints_3d_TJC=random.normal(size=(frames, 17, 3)).astype(np.float32) if with_3d else None,
        keypoints_2d_TJC=random.normal(size=(frames, 17, 2)).astype(np.float32) if with_2d else None,
        confidence_TJ=random.uniform(0.1, 1, size=(frames, 17)).astype(np.float32),
    )


LAB = {"b": sequence("b", 7), "a": sequence("a", 3, with_2d=True)}
STREET = {"z": sequence("z", 4, with_3d=False, with_2d=True)}


def build(url: str, parts: dict[str, tuple[str, list[MotionSequence]]]) -> Store:
    """Make a store of {part name: (source, train sequences)}, cut into segments of at most 4 frames."""
    files: list[FileEntry] = []
    counts: dict[str, SplitCounts] = {}
    for name, (source, members) in parts.items():
        rows = pa.concat_tables([segment_rows(each, 4) for each in members])
        files.append(write_part(url, f"{partition(source, 'train')}/{name}.parquet", rows))
        for each in members:
            frames = each.num_frames
            counts[source] = counts.get(source, SplitCounts()) + SplitCounts(
                frames=frames,
                frames_3d=0 if each.keypoints_3d_TJC is None else frames,
                frames_2d=0 if each.keypoints_2d_TJC is None else frames,
            )
    empty = SourceEntry(
        kind="mocap", licence="MIT", url="", recordings=1, quarantined=0, quarantined_sequences=0, splits={}
    )
    sources = {source: replace(empty, splits={"train": count}) for source, count in counts.items()}
    manifest = Manifest(fps=30.0, command="", sources=sources, files=tuple(files))
    write_whole(f"{url}/manifest.json", manifest.to_json().encode())
    return open_store(url)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    parts = {"part-1": ("street", list(STREET.values())), "part-2": ("lab", list(LAB.values()))}
    return build(str(tmp_path / "store"), parts)


def frames_of(cache: Cache, name: str, sequence_id: str) -> np.ndarray:
    """Put a sequence together again from its segments."""
    array = {"3d": cache.keypoints_3d_RJC, "2d": cache.keypoints_2d_RJC, "confidence": cache.confidence_RJ}[name]
    first_N = getattr(cache.segments, f"first_{name}")
    rows = np.flatnonzero(cache.segments.sequence_id == sequence_id)
    return np.concatenate([array[first_N[row] : first_N[row] + cache.segments.num_frames[row]] for row in rows])


def test_every_frame_is_where_the_index_says(store: Store, tmp_path: Path) -> None:
    cache = fill(store, "train", tmp_path / "cache")
    for motion in (*LAB.values(), *STREET.values()):
        np.testing.assert_array_equal(frames_of(cache, "confidence", motion.sequence_id), motion.confidence_TJ)
        for name, values in (("3d", motion.keypoints_3d_TJC), ("2d", motion.keypoints_2d_TJC)):
            if values is None:
                rows = cache.segments.sequence_id == motion.sequence_id
                assert (getattr(cache.segments, f"first_{name}")[rows] == -1).all()
            else:
                np.testing.assert_array_equal(frames_of(cache, name, motion.sequence_id), values)
    assert (len(cache.keypoints_3d_RJC), len(cache.keypoints_2d_RJC), len(cache.confidence_RJ)) == (10, 7, 14)


def test_segments_stand_in_the_order_of_source_sequence_and_segment(store: Store, tmp_path: Path) -> None:
    cache = fill(store, "train", tmp_path / "cache")
    segments = cache.segments
    assert segments.source.tolist() == ["lab", "lab", "lab", "street"]
    assert segments.sequence_id.tolist() == ["a", "b", "b", "z"]
    assert segments.segment.tolist() == [0, 0, 1, 0]
    assert segments.num_frames.tolist() == [3, 3, 4, 4]
    assert segments.label.tolist() == [2, 2, 2, -1]
    assert segments.action.tolist() == ["walking", "walking", "walking", ""]
    assert segments.subject.tolist() == ["subject of a", "subject of b", "subject of b", "subject of z"]
    assert cache.sources == ("lab", "street")
    assert len(segments) == 4


def test_the_order_does_not_depend_on_how_the_store_was_cut_into_parts(store: Store, tmp_path: Path) -> None:
    parts = {"p1": ("lab", [LAB["a"]]), "p2": ("lab", [LAB["b"]]), "p3": ("street", [STREET["z"]])}
    other = fill(build(str(tmp_path / "other"), parts), "train", tmp_path / "cache")
    cache = fill(store, "train", tmp_path / "cache")
    assert cache.store.manifest.digest != other.store.manifest.digest
    assert cache.segments.sequence_id.tolist() == other.segments.sequence_id.tolist()
    np.testing.assert_array_equal(frames_of(cache, "3d", "b"), frames_of(other, "3d", "b"))


def test_the_arrays_are_mapped_read_only(store: Store, tmp_path: Path) -> None:
    cache = fill(store, "train", tmp_path / "cache")
    for array in (cache.keypoints_3d_RJC, cache.keypoints_2d_RJC, cache.confidence_RJ):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_an_empty_split_gives_an_empty_cache(store: Store, tmp_path: Path) -> None:
    cache = fill(store, "test", tmp_path / "cache")
    assert len(cache.segments) == 0
    assert cache.sources == ()
    assert cache.keypoints_3d_RJC.shape == (0, 17, 3)


def test_a_filled_cache_is_used_again_without_the_store(store: Store, tmp_path: Path) -> None:
    fill(store, "train", tmp_path / "cache")
    for entry in store.files():
        (Path(store.url) / entry.path).unlink()
    assert fill(store, "train", tmp_path / "cache").segments.num_frames.sum() == 14


def test_a_damaged_store_leaves_no_cache(store: Store, tmp_path: Path) -> None:
    part = Path(store.url) / store.files()[1].path
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="SHA-256"):
        fill(store, "train", tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_manifest_that_counts_other_frames_than_there_are_is_refused(store: Store, tmp_path: Path) -> None:
    entry = store.manifest.sources["lab"]
    more = replace(entry, splits={"train": replace(entry.splits["train"], frames=11)})
    wrong = replace(store, manifest=replace(store.manifest, sources={**store.manifest.sources, "lab": more}))
    with pytest.raises(StoreError, match=r"expected .*'confidence': 15.*found .*'confidence': 14"):
        fill(wrong, "train", tmp_path / "cache")


def test_what_a_killed_process_left_is_cleared_away(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "cache" / f"{store.manifest.digest[:16]}-train"
    left = place.with_name(f".filling.{place.name}")
    left.mkdir(parents=True)
    (left / "keypoints_3d.npy").write_bytes(b"half")
    fill(store, "train", tmp_path / "cache")
    assert place.is_dir()
    assert not left.exists()


def test_a_truncated_cache_is_refused(store: Store, tmp_path: Path) -> None:
    fill(store, "train", tmp_path / "cache")
    array = tmp_path / "cache" / f"{store.manifest.digest[:16]}-train" / "keypoints_3d.npy"
    array.write_bytes(array.read_bytes()[:-4])
    with pytest.raises(StoreError, match="damaged"):
        fill(store, "train", tmp_path / "cache")


def _fill_at_once(url: str, folder: str, barrier: object, answers: "multiprocessing.Queue[tuple[int, int]]") -> None:
    barrier.wait()  # pyright: ignore[reportAttributeAccessIssue]
    cache = fill(open_store(url), "train", Path(folder))
    inode = (Path(folder) / f"{cache.store.manifest.digest[:16]}-train").stat().st_ino
    answers.put((inode, int(cache.segments.num_frames.sum())))


def test_two_processes_that_come_at_once_share_one_cache(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    arguments = (store.url, str(tmp_path / "cache"), barrier, answers)
    processes = [context.Process(target=_fill_at_once, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = answers.get(timeout=60), answers.get(timeout=60)
    for process in processes:
        process.join()
    assert first == second
    assert first[1] == 14
