"""The node-local cache: one split of a store as memory-mapped flat arrays, shared by all workers of the node.

Reading clips directly from Parquet gives 3,000 to 5,000 clips of 243 frames per second and core; a random gather from
mapped arrays gives 55,000 to 68,000, and all processes of the machine share the pages. The first process that needs the
cache fills it from the store, local or remote, while the others wait; every part is checked by its digest. The cache is
named after the store's digest, so it is never out of date. It is complete or absent: it is written to a temporary
folder and then renamed.

Shapes: N segments in the order of (source, sequence, segment), R frames of all segments, J = 17 joints, C coordinates.
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from datasets.files import write_aside
from datasets.store.manifest import StoreError
from datasets.store.parquet import NO_ROOM, NUM_JOINTS, SEGMENTS, Store, frame_values
from motion_encoder.shapes import Float, Int

log = logging.getLogger(__name__)

_ARRAYS = {"keypoints_3d": (NUM_JOINTS, 3), "keypoints_2d": (NUM_JOINTS, 2), "confidence": (NUM_JOINTS,)}
_INDEX = "segments.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """The columns of the N segments, one array each."""

    source: np.ndarray
    """Names [N]."""
    sequence_id: np.ndarray
    segment: Int[np.ndarray, "N"]
    subject: np.ndarray
    action: np.ndarray
    """Action names [N], empty if there is none."""
    label: Int[np.ndarray, "N"]
    """Index into the labels of the segment's source; -1 if there is none."""
    fps: Float[np.ndarray, "N"]
    num_frames: Int[np.ndarray, "N"]
    first_3d: Int[np.ndarray, "N"]
    """First row in ``keypoints_3d``; -1 if the segment has no 3D."""
    first_2d: Int[np.ndarray, "N"]
    """First row in ``keypoints_2d``; -1 if the segment has no 2D."""
    first_confidence: Int[np.ndarray, "N"]
    """First row in ``confidence``."""

    def __len__(self) -> int:
        return len(self.num_frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """One split of a store, mapped read-only."""

    store: Store
    split: str
    segments: Segments
    keypoints_3d_RJC: Float[np.ndarray, "R3 17 3"]
    keypoints_2d_RJC: Float[np.ndarray, "R2 17 2"]
    confidence_RJ: Float[np.ndarray, "R 17"]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Sorted names of the sources with segments in this split."""
        return tuple(np.unique(self.segments.source).tolist())


def fill(store: Store, split: str, folder: Path) -> Cache:
    """Open the cache of a split below ``folder``, filling it first if necessary.

    Raises:
        StoreError: A part of the store does not match its manifest, or the disk is too full for the cache.
    """
    place = folder / f"{store.manifest.digest[:16]}-{split}"
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{place.name}.lock"):
            if not place.is_dir():
                _fill(store, split, place)
    return _open(store, split, place)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold a file lock; the system releases it when the process ends for any reason."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(store: Store, split: str, place: Path) -> None:
    log.info("filling the cache of %s, split %s, in %s", store.url, split, place)
    try:
        with write_aside(place, mark="filling") as aside:
            aside.mkdir()
            segments = _write_arrays(store, split, aside)
            with (aside / _INDEX).open("wb") as file:
                np.savez(file, **asdict(segments))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreError(
            f"{place}: no room for the cache ({error.strerror}). Free some, or pass another folder."
        ) from error


def _write_arrays(store: Store, split: str, folder: Path) -> Segments:
    """Append part after part. Plain writes, not a writable map: a full disk is then an error and not a crash."""
    counts = store.manifest.counts(split)
    rows = {"keypoints_3d": counts.frames_3d, "keypoints_2d": counts.frames_2d, "confidence": counts.frames}
    written = dict.fromkeys(_ARRAYS, 0)
    parts = [_index("", SEGMENTS.empty_table(), written)]  # types the columns of an empty split
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in _ARRAYS}
        for name, file in files.items():
            _write_header(file, (rows[name], *_ARRAYS[name]))
        for source, table in store.segments(split):
            parts.append(_index(source, table, written))
            for name, file in files.items():
                values = frame_values(table[name], *_ARRAYS[name])
                file.write(values.astype("<f4", copy=False).data)
                written[name] += len(values)
    if written != rows:
        raise StoreError(f"{store.url}: split {split}: frames: expected {rows}, found {written}. Extract again.")
    return _in_order(parts)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _index(source: str, table: pa.Table, before: dict[str, int]) -> dict[str, np.ndarray]:
    """Columns of one part's segments; ``before`` has the number of rows of each array written by earlier parts."""
    num_frames = table["num_frames"].to_numpy().astype(np.int64)
    has = {name: ~np.asarray(table[name].is_null()) for name in _ARRAYS}
    return {
        "source": np.full(len(table), source),
        "sequence_id": np.array(table["sequence_id"].to_pylist(), dtype=np.str_),
        "segment": table["segment"].to_numpy().astype(np.int64),
        "subject": np.array(table["subject"].to_pylist(), dtype=np.str_),
        "action": np.array(table["action"].fill_null("").to_pylist(), dtype=np.str_),
        "label": table["label"].fill_null(-1).to_numpy().astype(np.int64),
        "fps": table["fps"].to_numpy(),
        "num_frames": num_frames,
        "first_3d": _first_rows(num_frames, has["keypoints_3d"], before["keypoints_3d"]),
        "first_2d": _first_rows(num_frames, has["keypoints_2d"], before["keypoints_2d"]),
        "first_confidence": _first_rows(num_frames, has["confidence"], before["confidence"]),
    }


def _first_rows(num_frames: np.ndarray, has: np.ndarray, before: int) -> np.ndarray:
    stored = np.where(has, num_frames, 0)
    return np.where(has, before + np.cumsum(stored) - stored, -1)


def _in_order(parts: list[dict[str, np.ndarray]]) -> Segments:
    """Join the parts' columns; the order does not depend on how the store was cut into parts."""
    columns = {field.name: np.concatenate([part[field.name] for part in parts]) for field in fields(Segments)}
    order = np.lexsort((columns["segment"], columns["sequence_id"], columns["source"]))
    return Segments(**{name: column[order] for name, column in columns.items()})


def _open(store: Store, split: str, place: Path) -> Cache:
    try:
        with np.load(place / _INDEX, allow_pickle=False) as index:
            segments = Segments(**index)
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{place}: expected a complete cache, found a damaged one ({error}). Delete it.") from error
    return Cache(
        store=store,
        split=split,
        segments=segments,
        keypoints_3d_RJC=arrays["keypoints_3d"],
        keypoints_2d_RJC=arrays["keypoints_2d"],
        confidence_RJ=arrays["confidence"],
    )
