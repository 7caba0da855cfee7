"""Recordings without files: a path says what its reader yields. And a store made of them, begun or whole."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.assembly.path_rules import AMC, BVH, CMU, FAIR
from datasets.extraction.finish import finish
from datasets.extraction.plan import extend, find_unfinished
from datasets.extraction.shard import Shard
from datasets.extraction.shard_writer import extract_shard
from datasets.sequences import File, MotionSequence, Reader, Recording, RecordingError
from datasets.store.manifest import Manifest
from tests.datasets.toy_sequences import FRAMES, flat_walk


class ToyReader:
    """Reads nothing: a recording's name says what is in it."""

    name = "toy"
    parses_files = False

    def find(self, files: Iterable[File]) -> list[Recording]:
        return [recording(file.path) for file in files]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        if "unreadable" not in recording.path:
            yield flat_walk(recording.path)
        if "unreadable" in recording.path or "broken off" in recording.path:
            raise RecordingError(recording.path, where="line 3", expected="a number", found="'x'", fix="Delete it.")
        if "one bad" in recording.path:
            yield replace(flat_walk(recording.path + " bad"), confidence_TJ=np.full((FRAMES, 17), 2.0))


class BrokenReader(ToyReader):
    """Cannot read what has a "b" in its name."""

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        if "b" in recording.path:
            raise RecordingError(recording.path, where="models", expected="some", found="none", fix="Install them.")
        yield from super().read(recording)


READERS: dict[str, Reader] = {"toy": ToyReader()}
SOURCES = {source.name: source for source in (CMU, FAIR, BVH, AMC)}


def recording(path: str, size: int = 1, source: str = "cmu") -> Recording:
    return Recording(path=path, reader="toy", source=SOURCES[source], size=size)


def begin(store: str, recordings: Iterable[Recording], *, retry: bool = False, **stated: str) -> list[Shard]:
    plans = extend(store, recordings, fps=30.0, retry=retry, **{"command": "again", **stated})
    return find_unfinished([shard for each in plans for shard in each.shards], store)


def run(
    store: str, recordings: Iterable[Recording], *, reader: Reader = READERS["toy"], retry: bool = False, **stated: str
) -> Manifest:
    for shard in begin(store, recordings, retry=retry, **stated):
        extract_shard(shard, store, readers={"toy": reader})
    return finish(store)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
