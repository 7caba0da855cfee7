"""The held-out people that a task scores a model on.

Every frame of the split is used: segments are cut into consecutive windows, and the last window may be shorter. Each
window is seen from one random view that depends only on the window, so every model is scored on the same views. The
windows are divided among the workers.

Shapes: B clips, N segments, W windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.loading.cache import Cache
from datasets.loading.gather import gather
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Bool
from motion_encoder.tasks.task import SegmentTable, Window
from pipelines.training.clips import every_window, segment_table
from pipelines.training.worker import Worker

EVALUATION_SEED = 20_260
BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOutPeople:
    """One worker's part of a split; see ``motion_encoder.tasks.task.HeldOut``."""

    cache: Cache
    worker: Worker
    table: SegmentTable
    """The segments of the cache."""

    @classmethod
    def of(cls, cache: Cache, worker: Worker) -> "HeldOutPeople":
        """Return a worker's part of a cache."""
        return cls(cache=cache, worker=worker, table=segment_table(cache))

    @property
    def device(self) -> torch.device:
        """Return the worker's device."""
        return self.worker.device

    def windows(self, chosen_N: Bool[np.ndarray, "N"], clip_frames: int) -> Iterator[Window]:
        """Yield this worker's windows, in batches."""
        segment_W, start_W, length_W = every_window(self.table.num_frames_N, chosen_N, clip_frames)
        mine = np.arange(self.worker.rank, len(segment_W), self.worker.world_size)
        for begin in range(0, len(mine), BATCH):
            window_B = mine[begin : begin + BATCH]
            clips = gather(self.cache, segment_W[window_B], start_W[window_B], length_W[window_B], clip_frames)
            random = KeyedRandom.at(EVALUATION_SEED, 0, torch.from_numpy(window_B).to(self.device))
            yield Window(segment_W[window_B], clips.to(self.device), random)

    def total(self, local: Tensor) -> Tensor:
        """Sum a tensor over all workers."""
        return self.worker.total(local)

    def protocol(self, clip_frames: int, source: str | None = None) -> dict[str, Any]:
        """Return the fields of a protocol that describe data, split and clip length."""
        digest = self.cache.store.manifest.split_digest(self.cache.split)[:8]
        data = f"{source}.{digest}" if source else digest
        return {"input": "projected-2d", "clip_frames": clip_frames, "split": self.cache.split, "data": data}
