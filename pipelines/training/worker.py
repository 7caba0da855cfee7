"""One training process among the workers of a run."""

from dataclasses import dataclass, field

import ray.train as rt
import torch
import torch.distributed as dist
from ray.train.torch import get_device
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Rank and device of this process among the workers of a run."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls) -> "Worker":
        """Return rank and device as Ray Train assigned them to this process."""
        context = rt.get_context()
        return cls(rank=context.get_world_rank(), world_size=context.get_world_size(), device=get_device())

    @property
    def is_first(self) -> bool:
        """Return whether this is the first worker, which writes logs and checkpoints."""
        return self.rank == 0

    def total(self, local: Tensor) -> Tensor:
        """Sum a tensor over all workers."""
        if self.world_size > 1:
            local = local.clone()
            dist.all_reduce(local)
        return local

    def sync_buffers(self, network: nn.Module) -> None:
        """Copy the first worker's buffers: buffers of a task's own layers may differ between workers."""
        if self.world_size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)
