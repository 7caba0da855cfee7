"""The Parquet store: canonical motion on disk or in a bucket, with every file checked by its digest when read.

    STORE/manifest.json                                        written last: no manifest, no store
    STORE/source=NAME/split=train|test/part-ID-NNNN.parquet    one row per segment
    STORE/_quarantine/part-ID-NNNN.parquet                     what could not be used, and why
    STORE/_shards/plan-NNNN-HASH.json                          the shards that the store is made of
    STORE/_shards/ID.json, ID.parquet                          report and contents of each finished shard; a restart
    skips it

A sequence is cut into segments of at most 2,000 frames (about 0.8 MB), so that rows are small; each frame is stored
once. A keypoint column is a list over frames of flat fixed-size lists (17 joints x 3 or 2 coordinates, or 17
confidences): plain Arrow types that every Parquet reader supports, with one level of nesting instead of two, and with
all values of a column in one contiguous buffer that can be reshaped without a copy. Extension types are rejected,
because reading them can run code.

The store may be at any fsspec URL. Every file is complete or absent: object stores publish whole objects, and on other
file systems files are written under a temporary name and renamed.
"""

import base64
import errno
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.files import url_to_fs, write_atomically
from datasets.sequences import MotionSequence
from datasets.store.manifest import MANIFEST, FileEntry, Manifest, SplitCounts, StoreError, parse_manifest

SEGMENT_FRAMES = 2000
_GROUP_FRAMES = 16_384
_GROUP_ROWS = (16, 4096)
"""Frames of a row group (7 MB) and its number of rows; a row group is read and compressed as a unit."""
NUM_JOINTS = 17
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _frames_of(width: int) -> pa.ListType:
    values = pa.list_(pa.field("element", pa.float32(), nullable=False), width)
    return pa.list_(pa.field("element", values, nullable=False))


SEGMENTS = pa.schema(
    [
        pa.field("sequence_id", pa.string(), nullable=False),
        pa.field("segment", pa.int32(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("action", pa.string()),
        pa.field("label", pa.int32()),
        pa.field("view", pa.string()),  # the camera; null if a recording has only one
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("keypoints_3d", _frames_of(NUM_JOINTS * 3)),
        pa.field("keypoints_2d", _frames_of(NUM_JOINTS * 2)),
        pa.field("confidence", _frames_of(NUM_JOINTS), nullable=False),
        # Not fixed-size: Arrow cannot read nulls of fixed-size lists from Parquet.
        pa.field("image_size", pa.list_(pa.field("element", pa.int32(), nullable=False))),
        pa.field("repairs", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
    ]
)
QUARANTINE = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("reader", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sequence_id", pa.string()),  # null: the rest of the recording
        pa.field("reason", pa.string(), nullable=False),
    ]
)


def segment_rows(sequence: MotionSequence, segment_frames: int = SEGMENT_FRAMES) -> pa.Table:
    """Cut a sequence into segments of nearly equal length, at most ``segment_frames`` each; one row per segment."""
    cuts = _cuts(sequence.num_frames, segment_frames)
    count = len(cuts) - 1
    same_everywhere = {
        "sequence_id": sequence.sequence_id,
        "subject": sequence.subject,
        "action": sequence.action,
        "label": sequence.label,
        "view": sequence.view,
        "fps": sequence.fps,
        "image_size": sequence.image_size,
        "repairs": sequence.repairs,
    }
    columns = {name: [value] * count for name, value in same_everywhere.items()} | {
        "segment": np.arange(count, dtype=np.int32),
        "num_frames": np.diff(cuts),
        "keypoints_3d": _per_segment(sequence.keypoints_3d_TJC, cuts, SEGMENTS.field("keypoints_3d").type),
        "keypoints_2d": _per_segment(sequence.keypoints_2d_TJC, cuts, SEGMENTS.field("keypoints_2d").type),
        "confidence": _per_segment(sequence.confidence_TJ, cuts, SEGMENTS.field("confidence").type),
    }
    return pa.table({field.name: columns[field.name] for field in SEGMENTS}, schema=SEGMENTS)


def _cuts(frames: int, at_most: int) -> np.ndarray:
    return np.linspace(0, frames, -(-frames // at_most) + 1).astype(np.int32)


def _per_segment(values: np.ndarray | None, cuts: np.ndarray, kind: pa.ListType) -> pa.Array:
    if values is None:
        return pa.nulls(len(cuts) - 1, kind)
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    frames = pa.FixedSizeListArray.from_arrays(flat, type=kind.value_type)
    return pa.ListArray.from_arrays(pa.array(cuts), frames, type=kind)


def frame_values(column: pa.ChunkedArray, *shape: int) -> np.ndarray:
    """Return the frames of a keypoint column in row order, float32 [frames, *shape]; null rows have none."""
    chunks = [chunk.flatten().flatten().to_numpy().reshape(-1, *shape) for chunk in column.chunks]
    return np.concatenate([np.zeros((0, *shape), np.float32), *chunks])


def partition(source: str, split: str) -> str:
    """Return the folder of a source's split inside the store, in Hive's spelling."""
    return f"source={quote(source, safe='')}/split={split}"


_FLOATS = [f"{name}.list.element.list.element" for name in ("keypoints_3d", "keypoints_2d", "confidence")]
_REPEATED = ["sequence_id", "subject", "action", "view", "repairs.list.element", "path", "reader", "source", "reason"]


def write_part(url: str, path: str, table: pa.Table) -> FileEntry:
    """Write one Parquet file of the store atomically; the same table always gives the same bytes.

    Keypoints use byte-stream splitting, since the high bytes of the numbers change little from frame to frame: half the
    size of dictionary encoding, which is for words.
    """
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        row_group_size=_rows_together(table),
        use_dictionary=_REPEATED,  # pyright: ignore[reportArgumentType]: its stubs know no lists
        use_byte_stream_split=_FLOATS,  # pyright: ignore[reportArgumentType]
    )
    data = buffer.getvalue()
    write_whole(f"{url}/{path}", data)
    return FileEntry(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _rows_together(table: pa.Table) -> int:
    frames = table["num_frames"].to_numpy().sum() if "num_frames" in table.column_names else len(table)
    return int(np.clip(_GROUP_FRAMES * len(table) // max(1, frames), *_GROUP_ROWS))


def write_whole(url: str, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, even if the process is killed.

    Raises:
        StoreError: The disk is full. The previous file is unchanged.
    """
    try:
        write_atomically(url, data)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreError(
            f"{url}: no room for {len(data):,} bytes: {error.strerror}. "
            "Free some and run the same command again: what is finished is kept."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Store:
    """A finished store. Each read first checks size, digest and schema."""

    url: str
    manifest: Manifest

    def files(self, split: str | None = None) -> list[FileEntry]:
        """Return the parts of one split in a stable order, or all files including the quarantine table."""
        return [entry for entry in self.manifest.files if split is None or f"/split={split}/" in entry.path]

    def segments(self, split: str) -> Iterator[tuple[str, pa.Table]]:
        """Yield (source, rows) per part of a split; the rows follow ``SEGMENTS``."""
        for entry in self.files(split):
            yield _source_of(entry), read_part(self.url, entry, SEGMENTS)

    def pieces(self, split: str) -> Iterator[tuple[str, pa.Table]]:
        """Yield (source, rows) per row group, a few megabytes; a sequence may continue in the part's next row group."""
        for entry in self.files(split):
            part = _opened(read_file(self.url, entry), f"{self.url}/{entry.path}", SEGMENTS)
            for group in range(part.num_row_groups):
                yield _source_of(entry), part.read_row_group(group)

    def quarantine(self) -> Iterator[dict[str, Any]]:
        """Yield the quarantine table's rows: path, reader, source, sequence_id (null: rest of recording) and reason."""
        for entry in self.manifest.files:
            if entry.path.startswith("_quarantine/"):
                yield from read_part(self.url, entry, QUARANTINE).to_pylist()

    def verify(self) -> None:
        """Read every file and compare its digest.

        Raises:
            StoreError: A file is missing, or differs from what was written; the message names it.
        """
        for entry in self.manifest.files:
            read_file(self.url, entry)


def read_part(url: str, entry: FileEntry, schema: pa.Schema) -> pa.Table:
    """Read one part of a store, and check its digest and schema.

    Raises:
        StoreError: The file is missing, or differs from what was written.
    """
    return _opened(read_file(url, entry), f"{url}/{entry.path}", schema).read()


def read_file(url: str, entry: FileEntry) -> bytes:
    """Read one file of a store, and check its digest.

    Raises:
        StoreError: The file is missing, or differs from what was written.
    """
    where = f"{url}/{entry.path}"
    filesystem, path = url_to_fs(where)
    try:
        data = filesystem.cat_file(path)
    except FileNotFoundError as error:
        raise StoreError(f"{where}: listed in {MANIFEST}, but not there. Extract again.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise StoreError(
            f"{where}: expected {entry.bytes} bytes with SHA-256 {entry.sha256}, "
            f"found {len(data)} with {found}. Delete it and extract again."
        )
    return data


def open_store(url: str) -> Store:
    """Open a finished store at a path or any fsspec URL.

    Raises:
        StoreError: There is no manifest (unfinished extraction, or not a store), or it cannot be read.
    """
    url = str(url).rstrip("/")
    where = f"{url}/{MANIFEST}"
    filesystem, path = url_to_fs(where)
    try:
        text = filesystem.cat_file(path).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{url}: expected a store, found no {MANIFEST}: the extraction did not finish, or wrote to another folder. "
            "Run the same `python -m pipelines.extract --store` command again: it resumes where it stopped."
        ) from error
    return Store(url=url, manifest=parse_manifest(text, where))


def _source_of(entry: FileEntry) -> str:
    return unquote(entry.path.partition("/")[0].removeprefix("source="))


def _opened(data: bytes, where: str, schema: pa.Schema) -> pq.ParquetFile:
    """Open one part. Its types are checked before Arrow builds them: building an extension type can run code."""
    if b"ARROW:extension:name" in _arrow_schema(data, where):
        raise StoreError(f"{where}: expected plain Arrow types, found an extension type. Extract again.")
    try:
        part = pq.ParquetFile(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{where}: expected Parquet, found something else ({error}). Extract again.") from error
    if not part.schema_arrow.equals(schema):
        raise StoreError(f"{where}: expected the columns\n{schema}\nfound\n{part.schema_arrow}\nExtract again.")
    return part


def _arrow_schema(data: bytes, where: str) -> bytes:
    """Find the Arrow schema in a Parquet file; empty if it has none.

    pyarrow builds it when it opens the file, so it is read from the footer by hand (Parquet format: the footer comes
    before its 4-byte length and "PAR1"; in Thrift's compact form a string is 0x18, a varint length, the bytes). Any
    other encoding is rejected, so that an extension type cannot be hidden.
    """
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    if b"ARROW:schema" not in footer:
        return b""
    key = b"\x18\x0cARROW:schema\x18"
    if footer.count(b"ARROW:schema") != 1 or key not in footer:
        raise StoreError(f"{where}: expected one Arrow schema in the footer, found something else. Extract again.")
    return base64.b64decode(_thrift_string(footer.partition(key)[2]), validate=True)


def _thrift_string(data: bytes) -> bytes:
    length = size = 0
    for size, byte in enumerate(data, start=1):
        length |= (byte & 0x7F) << (7 * (size - 1))
        if byte < 0x80:
            break
    return data[size : size + length]


def count_rows(rows: pa.Table) -> SplitCounts:
    """Count the frames and sequences in the rows of whole sequences, which follow ``SEGMENTS``."""
    frames = rows["num_frames"].to_numpy()
    seconds = frames / rows["fps"].to_numpy()
    return SplitCounts(
        sequences=int((rows["segment"].to_numpy() == 0).sum()),
        segments=len(rows),
        frames=int(frames.sum()),
        frames_3d=int(frames[rows["keypoints_3d"].is_valid().to_numpy()].sum()),
        frames_2d=int(frames[rows["keypoints_2d"].is_valid().to_numpy()].sum()),
        hours=float(seconds.sum()) / 3600,
    )
