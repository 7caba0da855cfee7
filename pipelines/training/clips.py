"""Which clips of a cache a task trains on and is scored on.

Shapes: B clips, W windows, N segments.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datasets.loading.cache import Cache
from datasets.loading.gather import Clips, gather
from datasets.loading.sampler import ClipSampler, SourceSpan
from motion_encoder.shapes import Bool, Int
from pipelines.training.recipes import Recipe
from pipelines.training.worker import Worker


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingClips:
    """The order of training clips over the chosen segments of a cache."""

    cache: Cache
    sampler: ClipSampler
    segments: tuple[Int[np.ndarray, "_"], ...]
    """Segments of the cache by source, in the sampler's order of sources."""

    def at(self, step: int, worker: Worker) -> tuple[Int[np.ndarray, "B"], Clips]:
        """Return this worker's slice of the step's global batch: places in it, and the clips."""
        batch = self.sampler.batch(step, worker.rank, worker.world_size)
        first = np.cumsum([0, *map(len, self.segments)])[:-1]
        segment_B = np.concatenate(self.segments)[first[batch.source_B] + batch.segment_B]
        clips = gather(self.cache, segment_B, batch.start_B, batch.length_B, self.sampler.clip_frames)
        return batch.position_B, clips


def training_clips(
    cache: Cache,
    chosen_N: Bool[np.ndarray, "N"],
    recipe: Recipe,
    *,
    weights: Mapping[str, float],
    joins_at: Mapping[str, int],
) -> TrainingClips:
    """Order the chosen segments by the recipe's seed, batch and clip length.

    Args:
        cache: where the segments are.
        chosen_N: which of them to train on.
        recipe: seed, global batch and clip length.
        weights: of sources; those left out weigh as much as they hold clips.
        joins_at: first step of the sources that are not there from the start.

    Raises:
        ValueError: nothing is chosen, or a weight names a source that has no chosen segment.
    """
    names = [name for name in cache.sources if (chosen_N & (cache.segments.source == name)).any()]
    if unknown := sorted(set(weights) - set(names)):
        raise ValueError(f"source_weights: {', '.join(unknown)}: expected sources with clips to train on: {names}")
    if not names:
        raise ValueError(
            f"{cache.store.url}: expected segments to train on in split {cache.split}, found none of the needed kind "
            f"among the sources {list(cache.sources)}. Extract sources with 3D motion (for action: with labels)."
        )
    segments = tuple(np.flatnonzero(chosen_N & (cache.segments.source == name)) for name in names)
    spans = tuple(
        SourceSpan(name=name, weight=weights.get(name), segment_lengths=cache.segments.num_frames[index])
        for name, index in zip(names, segments, strict=True)
    )
    sampler = ClipSampler(
        spans,
        seed=recipe.seed,
        global_batch=recipe.optimisation.global_batch,
        clip_frames=recipe.clip_frames,
        phases=_phases(names, joins_at),
    )
    return TrainingClips(cache=cache, sampler=sampler, segments=segments)


def _phases(names: list[str], joins_at: Mapping[str, int]) -> tuple[tuple[int, dict[str, None]], ...]:
    """One phase from each step at which sources join."""
    steps = sorted({0, *joins_at.values()})
    return tuple((step, {name: None for name in names if joins_at.get(name, 0) <= step}) for step in steps)


def every_window(
    num_frames_N: Int[np.ndarray, "N"], chosen_N: Bool[np.ndarray, "N"], clip_frames: int
) -> tuple[Int[np.ndarray, "W"], Int[np.ndarray, "W"], Int[np.ndarray, "W"]]:
    """Cut the chosen segments into clips end to end, tails included; return (segment, start, length)."""
    segment_N = np.flatnonzero(chosen_N)
    count_N = -(-num_frames_N[segment_N] // clip_frames)
    segment_W = np.repeat(segment_N, count_N)
    first_W = np.repeat(np.cumsum(count_N) - count_N, count_N)
    start_W = (np.arange(len(segment_W)) - first_W) * clip_frames
    return segment_W, start_W, np.minimum(clip_frames, num_frames_N[segment_W] - start_W)
