"""Measure complete extraction: scaling with processes, and bytes per frame in the store.

Scaling is compared with that of a loop that uses no memory: two processors that are threads of one core, or that are
shared with others, cannot give twice the speed, and the loop shows how much is possible.

The published system stores clips of 243 frames, cut every 81, one pickle each, in float32 (MotionBERT,
tools/convert_h36m.py and convert_amass.py): ``data_input`` (2D and confidence, or None for AMASS) and ``data_label``.
The benchmark writes such clips from the same sequences as the store. The end of a recording that does not fill a clip,
which the published system drops, counts neither in bytes nor in frames.

Shapes: T frames, J = 17 joints, C channels.
"""

import multiprocessing
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from benchmarks.measure import Spread, interleave
from datasets.extraction.examine import examine_recording
from datasets.extraction.shard import Shard
from datasets.extraction.shard_writer import extract_shard
from datasets.readers.registry import READERS
from datasets.sequences import MotionSequence, Recording, Source
from datasets.store.parquet import segment_rows, write_part

CLIP_FRAMES, CLIP_STRIDE = 243, 81
FPS = 60.0
"""Frame rate of the published AMASS clips, and of the store here."""
_SHARDS_PER_PROCESS = 4
_LOOPS = 3_000_000


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Frames per second for reading, checking, resampling and storing, with one process and with several."""

    format: str
    processes: int
    frames: int
    one: Spread
    several: Spread
    gain: Spread
    """Speed of several processes relative to one, in alternating runs, like the next field."""
    gain_of_loop: Spread
    """Number of loops of several processes relative to one."""


def measure_scaling(name: str, recordings: Sequence[Recording], frames: int, processes: int, seconds: float) -> Scaling:
    """Extract the same shards with one process and with several, alternately. Runs in a new process.

    ``frames`` is the number of frames of the recordings.
    """
    shards = balanced(recordings, _SHARDS_PER_PROCESS * processes)
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="benchmark_") as store, context.Pool(1) as one, context.Pool(processes) as several:
        work = [(shard, store) for shard in shards]
        steps = {
            "one": lambda: one.starmap(_extract, work, chunksize=1),
            "several": lambda: several.starmap(_extract, work, chunksize=1),
            "loop of one": lambda: _loops(one, 1),
            "loops of several": lambda: _loops(several, processes),
        }
        times = interleave(steps, device="cpu", seconds=seconds, at_least=5)
    pairs = zip(times["one"], times["several"], strict=True)
    loops = zip(times["loop of one"], times["loops of several"], strict=True)
    return Scaling(
        format=name,
        processes=processes,
        frames=frames,
        one=Spread.of([frames / each for each in times["one"]]),
        several=Spread.of([frames / each for each in times["several"]]),
        gain=Spread.of([one / several for one, several in pairs]),
        gain_of_loop=Spread.of([processes * one / several for one, several in loops]),
    )


def balanced(recordings: Sequence[Recording], count: int) -> list[Shard]:
    """Return at most ``count`` shards of one source and reader each, of about the same size."""
    groups: dict[tuple[Source, str], list[Recording]] = {}
    for recording in recordings:
        groups.setdefault((recording.source, recording.reader), []).append(recording)
    shards = []
    for members in groups.values():
        bins: list[list[Recording]] = [[] for _ in range(min(count, len(members)))]
        for recording in sorted(members, key=lambda each: -each.size):
            min(bins, key=lambda held: sum(each.size for each in held)).append(recording)
        shards += [Shard(recordings=tuple(held), fps=FPS) for held in bins]
    return shards


def _extract(shard: Shard, store: str) -> None:
    extract_shard(shard, store, readers=READERS)


def _loops(pool: Pool, count: int) -> None:
    pool.map(_loop, range(count), chunksize=1)


def _loop(_: int) -> int:
    total = 0
    for number in range(_LOOPS):
        total ^= number
    return total


@dataclass(frozen=True, kw_only=True)
class Size:
    """Bytes per distinct frame."""

    content: str
    format: str
    frames: int
    store: float
    clips: float


def measure_sizes(name: str, recordings: Sequence[Recording]) -> list[Size]:
    """Store 3D motion with and without a 2D view, resampled as in the store, and write the published clips of it.

    Raises:
        ValueError: No recording is long enough for a clip.
    """
    sequences = [
        outcome
        for recording in recordings
        for outcome in examine_recording(recording, READERS[name], fps=FPS)
        if isinstance(outcome, MotionSequence)
    ]
    if not any(map(published_clips, sequences)):
        raise ValueError(f"expected recordings of {CLIP_FRAMES} frames or more at {FPS:g} Hz, found none")
    return [
        _size("3D only (clips as for AMASS)", name, sequences),
        _size("3D, 2D and confidence (clips as for Human3.6M)", name, [_with_view(sequence) for sequence in sequences]),
    ]


def _size(content: str, name: str, sequences: Sequence[MotionSequence]) -> Size:
    with TemporaryDirectory(prefix="benchmark_") as folder:
        table = pa.concat_tables([segment_rows(sequence) for sequence in sequences])
        stored = write_part(folder, "part.parquet", table).bytes
        covered, clip_bytes = 0, 0
        for number, sequence in enumerate(sequences):
            clips = published_clips(sequence)
            covered += CLIP_FRAMES + CLIP_STRIDE * (len(clips) - 1) if clips else 0
            clip_bytes += sum(_write_clip(Path(folder) / f"{number}_{n:08}.pkl", clip) for n, clip in enumerate(clips))
    frames = sum(sequence.num_frames for sequence in sequences)
    return Size(content=content, format=name, frames=frames, store=stored / frames, clips=clip_bytes / covered)


def published_clips(sequence: MotionSequence) -> list[dict[str, np.ndarray | None]]:
    """Cut a sequence as the published preparation does; an end that does not fill a clip is dropped."""
    label_TJC = sequence.keypoints_3d_TJC
    assert label_TJC is not None
    input_TJC = None
    if sequence.keypoints_2d_TJC is not None:
        input_TJC = np.concatenate([sequence.keypoints_2d_TJC, sequence.confidence_TJ[..., None]], axis=-1)
    starts = range(0, sequence.num_frames - CLIP_FRAMES + 1, CLIP_STRIDE)
    cuts = [slice(start, start + CLIP_FRAMES) for start in starts]
    return [
        {
            "data_input": None if input_TJC is None else input_TJC[cut].astype(np.float32),
            "data_label": label_TJC[cut].astype(np.float32),
        }
        for cut in cuts
    ]


def _write_clip(path: Path, clip: dict[str, np.ndarray | None]) -> int:
    path.write_bytes(pickle.dumps(clip))
    return path.stat().st_size


def _with_view(sequence: MotionSequence) -> MotionSequence:
    """Project to a camera of 1000 pixels width at four metres that looks along -Z."""
    points_TJC = sequence.keypoints_3d_TJC
    assert points_TJC is not None
    depth_TJ1 = np.abs(points_TJC[..., 2:] - 4) + 1
    pixels_TJ2 = 500 + 800 * points_TJC[..., :2] * np.array([1, -1], np.float32) / depth_TJ1
    return replace(sequence, keypoints_2d_TJC=pixels_TJ2.astype(np.float32), image_size=(1000, 1000))
