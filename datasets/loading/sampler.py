"""The order of training samples: a pure function of (seed, step, position in the global batch).

There is no state to save or restore: the clip at a position is computed from the position. So the order is the same for
any number of workers, a resumed run continues exactly, and a late step costs as much as the first one.

- Mixing: sources alternate in a repeating pattern of 1024 slots. Each has slots in proportion to its weight (within
  1/1024, and at least one), spread evenly, so that every batch has nearly the same mix.
- Within a source: every segment of n frames has ceil(n / T) clips per epoch. An epoch visits each once, in its own
  order. A clip starts at a random frame of its own part of the segment, drawn anew in each epoch, so that the clips of
  an epoch are spread over the segment and every offset occurs over the epochs.
- Phases: sources and weights may change at given steps (a curriculum); a source that is in the next phase too continues
  where it was.

The bits are those of numpy's Philox and SeedSequence, whose streams numpy guarantees to keep (NEP 19).

Shapes: B clips of a batch, N sources, S segments of a source, U clips of a source's epoch, P = 1024 slots.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from motion_encoder.shapes import Int

PATTERN = 1024
"""Slots of the pattern in which sources alternate."""


@dataclass(frozen=True, eq=False)
class SourceSpan:
    """The name, weight and segment lengths of a source."""

    name: str
    weight: float | None
    """Weight relative to the other sources; None means the number of its clips, so that all frames have equal
    weight."""
    segment_lengths: Int[np.ndarray, "S"]
    """Number of frames of each segment."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Where the clips of a batch are: frames ``start`` to ``start + length`` of a source's segment."""

    position_B: Int[np.ndarray, "B"]
    """Position in the global batch; with seed and step, it is the key of the clip's random numbers."""
    source_B: Int[np.ndarray, "B"]
    segment_B: Int[np.ndarray, "B"]
    start_B: Int[np.ndarray, "B"]
    length_B: Int[np.ndarray, "B"]
    """Frames of each clip: ``clip_frames``, or the length of the segment if it is shorter."""


Phases = Sequence[tuple[int, Mapping[str, float | None]]]
"""(first step, {source: weight}): from that step on only these sources are used; None means the source's own weight."""


class ClipSampler:
    """The order of training samples; immutable."""

    def __init__(
        self,
        sources: Sequence[SourceSpan],
        *,
        seed: int,
        global_batch: int,
        clip_frames: int,
        phases: Phases = (),
    ) -> None:
        """Prepare the order.

        Args:
            sources: The sources; ``ClipBatch.source_B`` indexes them.
            seed: Seed of the order.
            global_batch: Clips per step, over all workers.
            clip_frames: Frames T of a clip.
            phases: The sources that are used from given steps on; empty means all of them from step 0.

        Raises:
            ValueError: A source has no segments or frames, a name is duplicate or unknown, a weight is not positive, or
                a phase or a weight has no effect.
        """
        for name, value, least in (
            ("seed", seed, 0),
            ("global_batch", global_batch, 1),
            ("clip_frames", clip_frames, 1),
        ):
            if value < least:
                raise ValueError(f"sampler: {name}: expected at least {least}, found {value}")
        names = [source.name for source in sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"sampler: expected at least one source, each with a unique name, found {names}")
        phases = phases or [(0, dict.fromkeys(names))]
        _check_phases(phases, names)
        _check_weights(phases, sources)
        self.global_batch = global_batch
        self.clip_frames = clip_frames
        self._orders = tuple(_EpochOrder(source, seed, clip_frames) for source in sources)
        self._phases = self._lay_out(phases, sources)

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return one worker's contiguous part of a step's global batch; the parts in rank order form the batch."""
        if not 0 <= rank < world_size <= self.global_batch:
            raise ValueError(
                f"sampler: expected 0 <= rank < world size <= global batch, found rank {rank}, world size {world_size} "
                f"and a global batch of {self.global_batch}"
            )
        if step < 0:
            raise ValueError(f"sampler: expected a step >= 0, found {step}")
        position_B = np.arange(rank * self.global_batch // world_size, (rank + 1) * self.global_batch // world_size)
        phase = next(phase for phase in reversed(self._phases) if phase.first_sample <= step * self.global_batch)
        source_B, index_B = phase.turns(step * self.global_batch + position_B)
        segment_B, start_B, length_B = (np.empty_like(position_B) for _ in range(3))
        for source, order in enumerate(self._orders):
            mine_B = source_B == source
            segment_B[mine_B], start_B[mine_B], length_B[mine_B] = order.clips(index_B[mine_B])
        return ClipBatch(position_B, source_B, segment_B, start_B, length_B)

    def _lay_out(self, phases: Phases, sources: Sequence[SourceSpan]) -> "list[_Phase]":
        laid_out: list[_Phase] = []
        for first_step, weights in phases:
            first_sample = first_step * self.global_batch
            pattern_P = _pattern([self._weight(weights, *pair) for pair in zip(sources, self._orders, strict=True)])
            given_N = laid_out[-1].given_before(first_sample) if laid_out else np.zeros(len(sources), dtype=np.int64)
            if laid_out and np.array_equal(pattern_P, laid_out[-1].pattern_P):
                raise ValueError(f"sampler: the phase from step {first_step} has no effect: same sources, same weights")
            laid_out.append(_Phase(pattern_P, first_sample, given_N))
        return laid_out

    @staticmethod
    def _weight(weights: Mapping[str, float | None], source: SourceSpan, order: "_EpochOrder") -> float:
        """Weight of a source in a phase; 0 means it is not used."""
        own = float(order.num_clips) if source.weight is None else source.weight
        weight = weights.get(source.name, 0.0)
        return own if weight is None else weight


def _check_phases(phases: Phases, known: Sequence[str]) -> None:
    steps = [step for step, _ in phases]
    if steps[0] != 0 or any(after <= before for before, after in pairwise(steps)):
        raise ValueError(f"sampler: expected phases from step 0 on in ascending order, found {steps}")
    for step, weights in phases:
        if not weights:
            raise ValueError(f"sampler: the phase from step {step} names no source")
        if unknown := sorted(set(weights) - set(known)):
            raise ValueError(f"sampler: the phase from step {step} names unknown sources {unknown}, known: {known}")


def _check_weights(phases: Phases, sources: Sequence[SourceSpan]) -> None:
    for source in sources:
        given = [weights[source.name] for _, weights in phases if source.name in weights]
        if not given:
            raise ValueError(f"sampler: source {source.name!r} is in no phase; leave it out or add it to one")
        if source.weight is not None and None not in given:
            raise ValueError(f"sampler: the weight of source {source.name!r} has no effect: every phase gives its own")
        for weight in (source.weight, *given):
            if weight is not None and not 0 < weight < math.inf:
                raise ValueError(f"sampler: weight of source {source.name!r}: expected a number > 0, found {weight}")


def _pattern(weights: Sequence[float]) -> Int[np.ndarray, "P"]:
    """The source of each slot: slots by largest remainder, then each source's slots spread evenly over the pattern."""
    slots = _slots(np.array(weights, dtype=np.float64))
    source_P = np.repeat(np.arange(len(slots)), slots)
    place_P = np.concatenate([(np.arange(count) + 0.5) / count for count in slots if count])
    return source_P[np.argsort(place_P, kind="stable")]


def _slots(weights: np.ndarray) -> np.ndarray:
    """Slots of each source; at least one for each with a weight, taken from the source with the most slots."""
    if np.count_nonzero(weights) > PATTERN:
        raise ValueError(f"sampler: at most {PATTERN} sources fit the pattern, found {np.count_nonzero(weights)}")
    exact = weights / weights.sum() * PATTERN
    slots = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(slots - exact, kind="stable")[: PATTERN - slots.sum()]
    slots[largest_remainders] += 1
    for starved in np.flatnonzero((slots == 0) & (weights > 0)):
        slots[np.argmax(slots)] -= 1
        slots[starved] = 1
    return slots


class _Phase:
    """A phase in closed form: the source of each sample of the run, and the sample's index within that source."""

    def __init__(self, pattern_P: Int[np.ndarray, "P"], first_sample: int, given_N: Int[np.ndarray, "N"]) -> None:
        self.pattern_P = pattern_P
        self.first_sample = first_sample
        self._given_N = given_N  # samples of each source in earlier phases
        is_turn_PN = pattern_P[:, None] == np.arange(len(given_N))
        self._before_PN = np.vstack([np.zeros_like(given_N), is_turn_PN.cumsum(axis=0)])  # last row: a complete pattern

    def turns(self, sample_B: Int[np.ndarray, "B"]) -> tuple[Int[np.ndarray, "B"], Int[np.ndarray, "B"]]:
        rounds_B, slot_B = np.divmod(sample_B - self.first_sample, PATTERN)
        source_B = self.pattern_P[slot_B]
        within_B = rounds_B * self._before_PN[PATTERN, source_B] + self._before_PN[slot_B, source_B]
        return source_B, self._given_N[source_B] + within_B

    def given_before(self, sample: int) -> Int[np.ndarray, "N"]:
        """Return the number of samples of each source before ``sample``."""
        rounds, slot = divmod(sample - self.first_sample, PATTERN)
        return self._given_N + rounds * self._before_PN[PATTERN] + self._before_PN[slot]


class _EpochOrder:
    """The endless sequence of a source's clips: epoch after epoch, each a permutation of all its clips."""

    def __init__(self, source: SourceSpan, seed: int, clip_frames: int) -> None:
        lengths_S = np.asarray(source.segment_lengths, dtype=np.int64)
        if len(lengths_S) == 0 or lengths_S.min() < 1:
            raise ValueError(
                f"sampler: source {source.name!r}: expected segments of at least 1 frame, found {lengths_S}"
            )
        self._lengths_S = lengths_S
        self._clips_S = -(-lengths_S // clip_frames)
        self._end_S = self._clips_S.cumsum()
        self._clip_frames = clip_frames
        self._entropy = (seed, *source.name.encode())
        self._recent: tuple[tuple[int, np.ndarray], ...] = ()

    @property
    def num_clips(self) -> int:
        return int(self._end_S[-1])

    def clips(self, index_B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return segment, start and length of the clips at these positions of the sequence."""
        epoch_B, place_B = np.divmod(index_B, self.num_clips)
        unit_B, draw_B = np.empty_like(index_B), np.empty(len(index_B), dtype=np.uint64)
        for epoch in np.unique(epoch_B):
            here_B = epoch_B == epoch
            order_U, draw_U = self._epoch(int(epoch))
            unit_B[here_B] = order_U[place_B[here_B]]
            draw_B[here_B] = draw_U[unit_B[here_B]]
        return self._place(unit_B, draw_B)

    def _place(self, unit_B: np.ndarray, draw_B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Divide the possible starts of a segment evenly among its clips; each draws a start from its part."""
        segment_B = np.searchsorted(self._end_S, unit_B, side="right")
        clips_B = self._clips_S[segment_B]
        which_B = unit_B - (self._end_S[segment_B] - clips_B)
        length_B = np.minimum(self._lengths_S[segment_B], self._clip_frames)
        starts_B = self._lengths_S[segment_B] - length_B + 1
        low_B, high_B = which_B * starts_B // clips_B, (which_B + 1) * starts_B // clips_B
        return segment_B, low_B + (draw_B % (high_B - low_B).astype(np.uint64)).astype(np.int64), length_B

    def _epoch(self, epoch: int) -> np.ndarray:
        """Order of the clips and a random number for each; the last two epochs are cached: a batch may span two."""
        for known, table_2U in self._recent:
            if known == epoch:
                return table_2U
        philox = np.random.Philox(np.random.SeedSequence((epoch, *self._entropy)))
        bits_2U = philox.random_raw(2 * self.num_clips).reshape(2, -1)
        bits_2U[0] = np.argsort(bits_2U[0], kind="stable")
        self._recent = (*self._recent[-1:], (epoch, bits_2U))
        return bits_2U
