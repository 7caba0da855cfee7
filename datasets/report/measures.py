"""Measure the content of a store: counts, observed joints, lengths, speeds, confidences, quarantine reasons.

Parts are read one after the other, about 16,000 frames at a time, so that memory does not grow with the store; the
digest of each part is checked. Histograms are counts between fixed edges (1, 1.5, 2, 3, 5, 7, 10 ... for lengths and
speeds). The counts must agree with the manifest, otherwise the store is rejected. The result only depends on the
store's contents.

Shapes: F frames of several sequences, R rows, S sequences, J = 17 joints of ``h36m17``.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from datasets.quality.repairs import sizes
from datasets.report.messages import MessageGroup, MessageGroups, summarise_reason
from datasets.report.samples import Sample, Samples
from datasets.store.manifest import Manifest, SourceEntry, SplitCounts, StoreError
from datasets.store.parquet import NUM_JOINTS, Store, count_rows, frame_values
from motion_encoder.shapes import Bool, Float, Int
from motion_encoder.skeletons import H36M17

_STEPS = tuple(float(f"{digit}e{power}") for power in range(-2, 4) for digit in (1, 1.5, 2, 3, 5, 7))
EDGES: Mapping[str, tuple[float, ...]] = {
    "length_s": tuple(edge for edge in _STEPS if 0.1 <= edge <= 1000),
    "root_speed_m_s": tuple(edge for edge in _STEPS if edge <= 20),
    "root_speed_sizes_s": tuple(edge for edge in _STEPS if edge <= 20),
    "confidence": tuple(step / 20 for step in range(1, 20)),
}
"""Inner edges of the histograms: length of sequences in seconds; speed from frame to frame in metres, or sizes of the
person in the image, per second; confidence of observed joints."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """``counts[i]`` values are from ``edges[i - 1]`` to below ``edges[i]``; the first and the last bin are open."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """One source: what the manifest states, and what was measured."""

    entry: SourceEntry
    observed: Mapping[str, float]
    """Share of the frames in which each joint was observed; 0 if there are no frames."""
    histograms: Mapping[str, Histogram]
    """Histograms by the names of ``EDGES``."""
    repaired: int
    """Number of sequences with repairs or assumptions."""
    repairs: tuple[MessageGroup, ...]
    quarantine: tuple[MessageGroup, ...]
    """Reasons why recordings or sequences were left out; their counts sum up to the rows of the quarantine table."""
    duplicates: tuple[tuple[str, ...], ...]
    """Groups of duplicates with a sequence of this source. The first of each is stored."""
    name_collisions: tuple[str, ...]
    """Names that several stored sequences share."""
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class StoreReport:
    """All content of the report."""

    digest: str
    fps: float
    command: str
    sources: Mapping[str, SourceReport]


def measure(store: Store) -> StoreReport:
    """Read all of a store, once.

    Raises:
        StoreError: A part is missing or damaged, or its counts differ from the manifest's.
    """
    manifest = store.manifest
    tallies = {source: _Tally() for source in manifest.sources}
    for split in sorted({split for entry in manifest.sources.values() for split in entry.splits}):
        for source, rows in _whole_sequences(store.pieces(split)):
            if source not in tallies:
                raise StoreError(f"{store.url}: sources: expected {', '.join(tallies)}, found {source}. Extract again.")
            tallies[source].add(rows, split)
    for row in store.quarantine():
        if (source := str(row["source"])) in tallies:
            tallies[source].quarantine.add(summarise_reason(row), str(row["reason"]))
    for source, tally in tallies.items():
        _agree(manifest.sources[source], tally, f"{store.url}: {source}")
    return StoreReport(
        digest=manifest.digest,
        fps=manifest.fps,
        command=manifest.command,
        sources={source: tally.report(manifest, source) for source, tally in tallies.items()},
    )


def _whole_sequences(pieces: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
    """Regroup the pieces of a store, so that each contains whole sequences."""
    for source, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
        rest = None
        for _, rows in group:
            together = rows if rest is None else pa.concat_tables([rest, rows])
            last = int(_starts(together).max(initial=0))
            if last:
                yield source, together.slice(0, last)
            rest = together.slice(last)
        assert rest is not None, "groups have at least one piece"
        yield source, rest


def _starts(rows: pa.Table) -> Int[np.ndarray, "S"]:
    """Indices of the rows at which sequences begin."""
    return np.flatnonzero(rows["segment"].to_numpy() == 0)


class _Tally:
    """Running counts of one source."""

    def __init__(self) -> None:
        self.splits: dict[str, SplitCounts] = {}
        self.observed_J = np.zeros(NUM_JOINTS, dtype=np.int64)
        self.histograms = {name: np.zeros(len(edges) + 1, dtype=np.int64) for name, edges in EDGES.items()}
        self.repaired, self.repairs, self.quarantine = 0, MessageGroups(), MessageGroups()
        self.samples = Samples()

    def add(self, rows: pa.Table, split: str) -> None:
        """Count the rows of whole sequences."""
        starts = _starts(rows)
        self.splits[split] = self.splits.get(split, SplitCounts()) + count_rows(rows)
        confidence_FJ = frame_values(rows["confidence"], NUM_JOINTS)
        self.observed_J += (confidence_FJ > 0).sum(axis=0)
        frames_S = np.add.reduceat(rows["num_frames"].to_numpy(), starts)
        self._count("length_s", frames_S / rows["fps"].to_numpy()[starts])
        self._count("confidence", confidence_FJ[confidence_FJ > 0])
        self._count("root_speed_m_s", _speeds_3d(rows.filter(rows["keypoints_3d"].is_valid())))
        self._count("root_speed_sizes_s", _speeds_2d(rows.filter(rows["keypoints_2d"].is_valid())))
        self._note_repairs(rows.take(starts))
        self.samples.offer(rows, starts, split)

    def _count(self, name: str, values: np.ndarray) -> None:
        # Confidences are float32: an edge such as 0.7 has to be the nearest float32, otherwise 0.7 is below it.
        edges = np.array(EDGES[name], dtype=values.dtype)
        bins = np.searchsorted(edges, values, side="right")
        self.histograms[name] += np.bincount(bins, minlength=len(edges) + 1)

    def _note_repairs(self, first_rows: pa.Table) -> None:
        for sequence_id, repairs in zip(
            first_rows["sequence_id"].to_pylist(), first_rows["repairs"].to_pylist(), strict=True
        ):
            self.repaired += bool(repairs)
            for repair in repairs:
                self.repairs.add(repair, f"{sequence_id}: {repair}")

    def report(self, manifest: Manifest, source: str) -> SourceReport:
        """Return the counts, together with the manifest's entry of the source."""
        sources = list(manifest.sources)
        share_J = self.observed_J / max(1, sum(self.splits.values(), SplitCounts()).frames)
        return SourceReport(
            entry=manifest.sources[source],
            observed=dict(zip(H36M17.joints, share_J.tolist(), strict=True)),
            histograms={
                name: Histogram(edges=EDGES[name], counts=tuple(counts.tolist()))
                for name, counts in self.histograms.items()
            },
            repaired=self.repaired,
            repairs=self.repairs.sorted(),
            quarantine=self.quarantine.sorted(),
            duplicates=tuple(
                group for group in manifest.duplicates if any(_owner(name, sources) == source for name in group)
            ),
            name_collisions=tuple(name for name in manifest.name_collisions if _owner(name, sources) == source),
            samples=self.samples.chosen(),
        )


def _speeds_3d(rows: pa.Table) -> Float[np.ndarray, "N"]:
    """Speed of the root, in m/s, between neighbouring frames of a sequence in which it was observed."""
    root_F3 = frame_values(rows["keypoints_3d"], NUM_JOINTS, 3)[:, 0].astype(np.float64)
    seen_F = frame_values(rows["confidence"], NUM_JOINTS)[:, 0] > 0
    fps_F, goes_on_F = _clock(rows)
    both = seen_F[1:] & seen_F[:-1] & goes_on_F[1:]
    return (np.linalg.norm(np.diff(root_F3, axis=0), axis=-1) * fps_F[1:])[both]


def _speeds_2d(rows: pa.Table) -> Float[np.ndarray, "N"]:
    """Speed of the root in the image, in sizes of the person (diagonal around the observed joints) per second."""
    points_FJ2 = frame_values(rows["keypoints_2d"], NUM_JOINTS, 2)
    seen_FJ = frame_values(rows["confidence"], NUM_JOINTS) > 0
    fps_F, goes_on_F = _clock(rows)
    size_F = sizes(points_FJ2, seen_FJ).astype(np.float64)
    size = np.maximum(size_F[1:], size_F[:-1])
    both = seen_FJ[1:, 0] & seen_FJ[:-1, 0] & goes_on_F[1:] & (size > 0)
    moved = np.linalg.norm(np.diff(points_FJ2[:, 0].astype(np.float64), axis=0), axis=-1)
    return (moved * fps_F[1:])[both] / size[both]


def _clock(rows: pa.Table) -> tuple[Float[np.ndarray, "F"], Bool[np.ndarray, "F"]]:
    """Frame rate of each frame, and whether it follows another frame of its sequence."""
    frames_R = rows["num_frames"].to_numpy()
    goes_on_F = np.ones(frames_R.sum(), dtype=bool)
    goes_on_F[(np.cumsum(frames_R) - frames_R)[_starts(rows)]] = False
    return np.repeat(rows["fps"].to_numpy(), frames_R), goes_on_F


def _agree(entry: SourceEntry, tally: _Tally, where: str) -> None:
    for split in sorted({*entry.splits, *tally.splits}):
        stated, counted = entry.splits.get(split, SplitCounts()), tally.splits.get(split, SplitCounts())
        if math.isclose(stated.hours, counted.hours, rel_tol=1e-9, abs_tol=1e-9):
            counted = replace(counted, hours=stated.hours)  # a sum depends on its order
        for field in fields(SplitCounts):
            expected, got = getattr(stated, field.name), getattr(counted, field.name)
            if expected != got:
                raise StoreError(
                    f"{where}: {field.name} in split {split}: expected {expected:,} as the manifest states, "
                    f"found {got:,}. Extract again."
                )
    lost = sum(group.count for group in tally.quarantine.sorted())
    least = entry.quarantined + entry.quarantined_sequences + entry.duplicates
    if lost < least:
        raise StoreError(
            f"{where}: rows of the quarantine table: expected at least {least:,} as the manifest states, "
            f"found {lost:,}. Extract again."
        )


def _owner(name: str, sources: Iterable[str]) -> str:
    """Source of a ``source/sequence_id``. Both may contain slashes: the longest source that matches is used."""
    return max((source for source in sources if name.startswith(f"{source}/")), key=len, default="")
