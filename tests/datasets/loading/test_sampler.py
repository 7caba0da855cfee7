"""The order of training samples: a pure function of (seed, step, position), whatever the workers do."""

import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.loading.sampler import PATTERN, ClipBatch, ClipSampler, SourceSpan
from tests.restore import assert_restores_at_every_step, same

T = 81


def source(name: str, *lengths: int, weight: float | None = None) -> SourceSpan:
    return SourceSpan(name, weight, np.array(lengths))


WALKS = source("walks", 1000, 81, 82, 10, 300)  # 13 + 1 + 2 + 1 + 4 = 21 clips
DANCES = source("dances", 400, 160)  # 5 + 2 = 7 clips
WILD = source("wild", 30, 90, 81)  # 1 + 2 + 1 = 4 clips
EQUAL = {"walks": 1.0, "dances": 1.0, "wild": 1.0}


def sampler(*sources: SourceSpan, **changes) -> ClipSampler:
    options = {"seed": 3, "global_batch": 16, "clip_frames": T, **changes}
    return ClipSampler(sources or (WALKS, DANCES, WILD), **options)


def run(order: ClipSampler, steps: int, first: int = 0) -> list[tuple[int, int, int, int]]:
    """(source, segment, start, length) of every sample of some steps, in order."""
    batches = [order.batch(step) for step in range(first, first + steps)]
    return [row for batch in batches for row in rows(batch)]


def rows(batch: ClipBatch) -> list[tuple[int, int, int, int]]:
    columns = (batch.source_B, batch.segment_B, batch.start_B, batch.length_B)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def of_source(samples: list[tuple[int, int, int, int]], index: int) -> list[tuple[int, int, int]]:
    return [sample[1:] for sample in samples if sample[0] == index]


def clip_of(start: int, frames: int) -> int:
    """Which of a segment's clips starts here: its starts are shared out evenly among its clips."""
    clips, starts = math.ceil(frames / T), max(frames - T, 0) + 1
    return next(which for which in range(clips) if start < (which + 1) * starts // clips)


def epochs(samples: list[tuple[int, int, int]], span: SourceSpan) -> list[list[tuple[int, int]]]:
    """The (segment, clip) pairs of each whole epoch of a source."""
    size = sum(math.ceil(frames / T) for frames in span.segment_lengths.tolist())
    units = [(segment, clip_of(start, int(span.segment_lengths[segment]))) for segment, start, _ in samples]
    return [units[i : i + size] for i in range(0, len(units) - size + 1, size)]


def all_units(span: SourceSpan) -> list[tuple[int, int]]:
    lengths = enumerate(span.segment_lengths.tolist())
    return [(segment, clip) for segment, frames in lengths for clip in range(math.ceil(frames / T))]


def test_a_batch_depends_on_nothing_that_was_asked_before():
    asked, fresh = sampler(), sampler()
    for step in (7, 0, 2000, 7, 3):
        assert same(asked.batch(step), sampler().batch(step))
    assert same(asked.batch(11), fresh.batch(11))


def test_another_seed_is_another_order():
    assert run(sampler(), 4) != run(sampler(seed=4), 4)


@pytest.mark.parametrize("world_size", range(1, 17))
def test_the_parts_of_all_workers_are_the_global_batch(world_size):
    order = sampler()
    for step in (0, 1, 37, 1000):
        parts = [sampler().batch(step, rank, world_size) for rank in range(world_size)]
        joined = [row for part in parts for row in rows(part)]
        assert joined == rows(order.batch(step))
        assert np.concatenate([part.position_B for part in parts]).tolist() == list(range(16))
        assert {len(part.position_B) for part in parts} <= {16 // world_size, -(-16 // world_size)}


def test_every_epoch_visits_every_clip_once():
    samples = run(sampler(), 200)
    for index, span in enumerate((WALKS, DANCES, WILD)):
        whole = epochs(of_source(samples, index), span)
        assert len(whole) > 50
        assert all(sorted(epoch) == all_units(span) for epoch in whole)


def test_every_epoch_has_its_own_order_and_so_has_every_source():
    twin = replace(WALKS, name="twin")
    samples = run(sampler(WALKS, twin), 200)
    first, second = (epochs(of_source(samples, index), WALKS) for index in (0, 1))
    assert len({tuple(epoch) for epoch in first + second}) == len(first + second)


def test_the_order_within_an_epoch_has_no_bias():
    """21 clips, n epochs: a clip stands first in Binomial(n, 1 / 21) of them; bound of 5 standard errors."""
    whole = epochs(of_source(run(sampler(WALKS, global_batch=210), 300), 0), WALKS)
    firsts = Counter(epoch[0] for epoch in whole)
    assert len(whole) == 3000
    bound = 5 * math.sqrt(len(whole) / 21 * 20 / 21)
    assert all(abs(firsts[unit] - len(whole) / 21) < bound for unit in all_units(WALKS))


def test_clips_lie_inside_their_segments_and_every_start_occurs():
    starts = defaultdict(set)
    for segment, start, length in of_source(run(sampler(WALKS), 2000), 0):
        frames = int(WALKS.segment_lengths[segment])
        assert length == min(frames, T)
        assert 0 <= start <= frames - length
        starts[segment].add(start)
    expected = {0: 1000 - T + 1, 1: 1, 2: 2, 3: 1, 4: 300 - T + 1}
    assert {segment: len(found) for segment, found in starts.items()} == expected


def test_clips_of_an_epoch_are_spread_over_the_segment():
    """820 starts shared out among 10 clips: one start in each 82."""
    order = sampler(source("one", 900 - T + T), global_batch=12)
    for step in range(20):
        starts = sorted(row[2] for row in rows(order.batch(step)))
        shares = [which * 820 // 12 for which in range(13)]
        assert all(low <= start < high for start, low, high in zip(starts, shares, shares[1:], strict=False))


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_weights_are_met_within_a_slot_and_evenly(weights):
    """Where sources stand at their ideal places, each within half a slot, no place is off by more than N / 2 slots."""
    spans = [source(f"s{index}", PATTERN * T, weight=weight) for index, weight in enumerate(weights)]
    order = ClipSampler(spans, seed=0, global_batch=PATTERN, clip_frames=T)
    drawn = order.batch(5).source_B
    slots = np.bincount(drawn, minlength=len(weights))
    shares = np.array(weights) / sum(weights)
    assert slots.min() >= 1
    bound = 1 if (shares * PATTERN >= 1).all() else len(weights)
    assert np.abs(slots - shares * PATTERN).max() < bound + 1e-6
    drawn_so_far = (drawn[:, None] == np.arange(len(weights))).cumsum(axis=0)
    evenly = np.arange(1, PATTERN + 1)[:, None] / PATTERN * slots
    assert np.abs(drawn_so_far - evenly).max() <= (1 + len(weights)) / 2


def test_default_weights_let_every_clip_be_seen_equally_often():
    counts = Counter(row[0] for row in run(sampler(), 64))
    assert all(abs(counts[index] - clips / 32 * PATTERN) <= 1 for index, clips in enumerate((21, 7, 4)))


def test_explicit_weights_override():
    counts = Counter(row[0] for row in run(sampler(replace(WALKS, weight=1.0), replace(DANCES, weight=3.0)), 64))
    assert counts == {0: PATTERN // 4, 1: PATTERN * 3 // 4}


def test_a_tiny_source_is_never_starved():
    counts = Counter(row[0] for row in run(sampler(source("huge", 10_000_000), WILD), 64))
    assert counts[1] == 1


def test_a_source_joins_and_nothing_is_lost_or_repeated():
    joined = sampler(phases=((0, {"walks": None, "dances": None}), (33, {"walks": 2.0, "wild": 1.0, "dances": 1.0})))
    samples = run(joined, 120)
    assert not of_source(samples[: 33 * 16], 2)
    later = Counter(row[0] for row in samples[33 * 16 : 97 * 16])
    assert later == {0: PATTERN // 2, 1: PATTERN // 4, 2: PATTERN // 4}
    for index, span in enumerate((WALKS, DANCES, WILD)):
        alone = of_source(run(sampler(span), 120), 0)
        mixed = of_source(samples, index)
        assert mixed == alone[: len(mixed)]


def test_a_source_that_rests_goes_on_where_it_was():
    phases = ((0, {"walks": 1.0, "dances": 1.0}), (5, {"dances": None}), (9, {"walks": 1.0, "dances": 3.0}))
    samples = run(sampler(WALKS, DANCES, phases=phases), 40)
    assert not of_source(samples[5 * 16 : 9 * 16], 0)
    walked = of_source(samples, 0)
    assert walked == of_source(run(sampler(WALKS), 40), 0)[: len(walked)]


class Walk:
    """A run over the batches whose state is its step, on a number of workers that changes with every restart."""

    def __init__(self) -> None:
        self.order, self.next_step, self.world_size = sampler(), 0, 1

    def step(self) -> list[list[int]]:
        parts = [self.order.batch(self.next_step, rank, self.world_size) for rank in range(self.world_size)]
        self.next_step += 1
        return [list(row) for part in parts for row in rows(part)]

    def state(self) -> int:
        return self.next_step

    def restore(self, state: int) -> None:
        self.next_step, self.world_size = state, state % 5 + 1


def test_a_run_restored_at_any_step_on_any_number_of_workers_goes_on_exactly():
    assert_restores_at_every_step(Walk, num_steps=25)


def test_the_restore_check_finds_a_state_that_forgets():
    class Forgetful(Walk):
        def state(self) -> int:
            return self.next_step // 2 * 2

    with pytest.raises(AssertionError, match="restored at step 1 differs at step 1"):
        assert_restores_at_every_step(Forgetful, num_steps=4)


def test_one_clip_only():
    assert run(sampler(source("one", 5), global_batch=3), 2) == [(0, 0, 0, 5)] * 6


def test_clips_of_one_frame():
    order = sampler(source("one", 3), global_batch=3, clip_frames=1)
    assert sorted(rows(order.batch(9))) == [(0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 2, 1)]


def test_a_million_segments():
    order = sampler(SourceSpan("many", None, np.full(1_000_000, 100)), global_batch=1024)
    batch = order.batch(10_000)
    assert len(set(batch.segment_B.tolist())) > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "at least one source"),
        ({"sources": [source("a", 9), source("a", 9)]}, "a unique name"),
        ({"sources": [SourceSpan("a", None, np.array([], dtype=np.int64))]}, "'a'.*at least 1 frame"),
        ({"sources": [source("a", 9, 0)]}, "'a'.*at least 1 frame"),
        ({"sources": [source("a", 9, weight=0.0)]}, "'a'.*> 0"),
        ({"sources": [source("a", 9, weight=math.nan)]}, "'a'.*> 0"),
        ({"phases": ((0, {"walks": -1.0, "dances": None, "wild": None}),)}, "'walks'.*> 0"),
        ({"phases": ((0, {"walks": None, "dances": None, "wold": None}),)}, "unknown sources.*'wold'"),
        ({"phases": ((0, {"walks": None, "dances": None}),)}, "'wild' is in no phase"),
        ({"phases": ((0, {}),)}, "names no source"),
        ({"phases": ((5, {"walks": None, "dances": None, "wild": None}),)}, "expected phases from step 0 on"),
        ({"phases": ((0, EQUAL), (5, dict.fromkeys(EQUAL, 2.0)))}, "from step 5 has no effect"),
        ({"sources": [source("a", 9, weight=2.0)], "phases": ((0, {"a": 1.0}),)}, "'a' has no effect"),
        ({"global_batch": 0}, "global_batch"),
        ({"clip_frames": 0}, "clip_frames"),
        ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes, message):
    options = {"sources": [WALKS, DANCES, WILD], "seed": 0, "global_batch": 16, "clip_frames": T, **changes}
    with pytest.raises(ValueError, match=message):
        ClipSampler(**options)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 17)])
def test_a_worker_that_cannot_be_is_refused(rank, world_size):
    with pytest.raises(ValueError, match="rank"):
        sampler().batch(0, rank, world_size)
