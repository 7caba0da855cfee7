"""The clips of a cache that a task trains on: their choice, their order, and their copy to the device.

Shapes: B clips, W windows, N segments.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datasets.loading.cache import Cache
from datasets.loading.gather import gather
from datasets.loading.sampler import ClipSampler, SourceSpan
from datasets.store.parquet import Store
from motion_encoder.clips import Clips
from motion_encoder.shapes import Bool, Int
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.task import ClipChoice, SegmentTable
from pipelines.training.worker import Worker


def segment_table(cache: Cache) -> SegmentTable:
    """Return the facts by which a task chooses the clips of a cache."""
    segments = cache.segments
    return SegmentTable(
        where=f"{cache.store.url}, split {cache.split}",
        source_N=segments.source,
        sequence_N=segments.sequence_id,
        num_frames_N=segments.num_frames,
        has_3d_N=segments.first_3d >= 0,
        label_N=segments.label,
        labels=_labels(cache.store),
    )


def manifest_table(store: Store, split: str) -> SegmentTable:
    """Return the facts that the manifest states: for each source, one row for its 3D and one for its 2D segments.

    With this table, a task can check a recipe against a store before a cluster starts.
    """
    labels = _labels(store)
    rows = [
        (name, has_3d, 0 if labels[name] else -1, frames)
        for name, entry in store.manifest.sources.items()
        if split in entry.splits
        for has_3d, frames in ((True, entry.splits[split].frames_3d), (False, entry.splits[split].frames_2d))
        if frames
    ]
    source, has_3d, label, frames = zip(*rows, strict=True) if rows else ((), (), (), ())
    return SegmentTable(
        where=f"{store.url}, split {split}",
        source_N=np.array(source, dtype=np.str_),
        sequence_N=np.array(source, dtype=np.str_),
        num_frames_N=np.array(frames, dtype=np.int64),
        has_3d_N=np.array(has_3d, dtype=bool),
        label_N=np.array(label, dtype=np.int64),
        labels=labels,
    )


def _labels(store: Store) -> dict[str, tuple[str, ...]]:
    return {name: tuple(entry.labels) for name, entry in store.manifest.sources.items()}


def check_choice(choice: ClipChoice, table: SegmentTable) -> tuple[str, ...]:
    """Return the sorted names of the sources with chosen segments.

    Raises:
        ValueError: no segment is chosen, or a weight names a source without chosen segments.
    """
    names = tuple(np.unique(table.source_N[choice.chosen_N]).tolist())
    if unknown := sorted(set(choice.weights) - set(names)):
        raise ValueError(
            f"source_weights: {', '.join(unknown)}: expected sources with clips to train on: {', '.join(names)}"
        )
    if not names:
        raise ValueError(
            f"{table.where}: expected segments to train on, found none of the needed kind among the sources "
            f"{sorted(set(table.source_N.tolist()))}. Extract sources with 3D motion (for action: with labels)."
        )
    return names


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingClips:
    """The order of training clips over the chosen segments of a cache."""

    cache: Cache
    sampler: ClipSampler
    segments: tuple[Int[np.ndarray, "_"], ...]
    """Indices of the segments of each source, in the sampler's order of sources."""

    def at(self, step: int, worker: Worker) -> tuple[Int[np.ndarray, "B"], Clips]:
        """Return this worker's part of the step's global batch: the positions in the batch, and the clips."""
        batch = self.sampler.batch(step, worker.rank, worker.world_size)
        first = np.cumsum([0, *map(len, self.segments)])[:-1]
        segment_B = np.concatenate(self.segments)[first[batch.source_B] + batch.segment_B]
        clips = gather(self.cache, segment_B, batch.start_B, batch.length_B, self.sampler.clip_frames)
        return batch.position_B, clips

    def ahead(self, steps: range, worker: Worker) -> Iterator[tuple[Int[Tensor, "B"], Clips]]:
        """Yield this worker's parts of consecutive batches, on its device; the next part is gathered in a thread.

        Clips are copied to a GPU from pinned memory; other copies would wait until the GPU has finished its work.
        """

        def ready(step: int) -> tuple[Int[Tensor, "B"], Clips]:
            position_B, clips = self.at(step, worker)
            position = torch.from_numpy(position_B)
            return (position.pin_memory(), clips.pin_memory()) if worker.device.type == "cuda" else (position, clips)

        with ThreadPoolExecutor(1, thread_name_prefix="gather") as pool:
            coming = pool.submit(ready, steps.start) if steps else None
            for step in steps:
                assert coming is not None
                position_B, clips = coming.result()
                coming = pool.submit(ready, step + 1) if step + 1 in steps else None
                yield position_B.to(worker.device, non_blocking=True), clips.to(worker.device)


def training_clips(cache: Cache, choice: ClipChoice, recipe: Recipe) -> TrainingClips:
    """Order the chosen segments by the recipe's seed, batch and clip length; errors as in ``check_choice``."""
    names = check_choice(choice, segment_table(cache))
    segments = tuple(np.flatnonzero(choice.chosen_N & (cache.segments.source == name)) for name in names)
    spans = tuple(
        SourceSpan(name=name, weight=choice.weights.get(name), segment_lengths=cache.segments.num_frames[index])
        for name, index in zip(names, segments, strict=True)
    )
    sampler = ClipSampler(
        spans,
        seed=recipe.seed,
        global_batch=recipe.optimisation.global_batch,
        clip_frames=recipe.clip_frames,
        phases=_phases(names, choice.first_step),
    )
    return TrainingClips(cache=cache, sampler=sampler, segments=segments)


def _phases(names: tuple[str, ...], first_step: Mapping[str, int]) -> tuple[tuple[int, dict[str, None]], ...]:
    """Return the sources that take part from each step at which a source joins."""
    steps = sorted({0, *first_step.values()})
    return tuple((step, {name: None for name in names if first_step.get(name, 0) <= step}) for step in steps)


def every_window(
    num_frames_N: Int[np.ndarray, "N"], chosen_N: Bool[np.ndarray, "N"], clip_frames: int
) -> tuple[Int[np.ndarray, "W"], Int[np.ndarray, "W"], Int[np.ndarray, "W"]]:
    """Cut the chosen segments into consecutive clips that cover every frame; return (segment, start, length)."""
    segment_N = np.flatnonzero(chosen_N)
    count_N = -(-num_frames_N[segment_N] // clip_frames)
    segment_W = np.repeat(segment_N, count_N)
    first_W = np.repeat(np.cumsum(count_N) - count_N, count_N)
    start_W = (np.arange(len(segment_W)) - first_W) * clip_frames
    return segment_W, start_W, np.minimum(clip_frames, num_frames_N[segment_W] - start_W)
