"""What a training run takes of the cluster, and how its workers compute."""

import os
import shutil
from dataclasses import dataclass

import ray
import ray.train as rt
import torch
from torch import nn

from motion_encoder import DSTformer


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What a training run takes of the cluster, and how its workers compute; none of it changes what is computed."""

    workers: int = 1
    """Number of DDP workers. Results do not depend on it, up to rounding."""
    cpus_per_worker: int = 1
    """CPU cores of each worker."""
    gpus_per_worker: int = 0
    """GPUs of each worker, 0 or 1 (nccl); with 0, CPU (gloo)."""
    max_failures: int = 3
    """Number of restarts from the last checkpoint after a worker or node is lost."""
    compile: bool = False
    """Compile the network (torch.compile): for GPUs. On CPUs it needs a C++ compiler and gains nothing."""
    activation_checkpointing: bool = False
    """Activation checkpointing: about 1.3x the time for several times the batch size."""
    deterministic: bool = False
    """Use only GPU operations that give the same bits each time; slower. CPUs always do."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus_per_worker", 1), ("gpus_per_worker", 0), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, found {getattr(self, name)}")
        if self.gpus_per_worker > 1:
            raise ValueError(f"gpus_per_worker: expected 0 or 1, found {self.gpus_per_worker}; add workers")
        if self.deterministic and not self.gpus_per_worker:
            raise ValueError(
                "deterministic: has no effect on CPU workers, which always give the same bits; leave it out"
            )

    def scaling(self) -> rt.ScalingConfig:
        """Return Ray Train's form of it."""
        resources = {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})}
        return rt.ScalingConfig(
            num_workers=self.workers, use_gpu=self.gpus_per_worker > 0, resources_per_worker=resources
        )

    def check_batch(self, global_batch: int) -> None:
        """Check that every worker gets a clip of each step.

        Raises:
            ValueError: there are more workers than clips in a batch.
        """
        if self.workers > global_batch:
            raise ValueError(
                f"workers: expected at most the recipe's global_batch of {global_batch} clips, found {self.workers}"
            )

    def check_cluster(self) -> None:
        """Fail at once, instead of waiting forever, when the cluster can never hold the run.

        Raises:
            ValueError: the cluster as it is now is too small.
        """
        have = ray.cluster_resources()
        for resource, need in (
            ("CPU", self.workers * self.cpus_per_worker),
            ("GPU", self.workers * self.gpus_per_worker),
        ):
            if need > have.get(resource, 0):
                raise ValueError(
                    f"{self.workers} workers need {need} {resource}, the cluster has "
                    f"{have.get(resource, 0):g}. Ask for fewer workers or a larger cluster."
                )

    def prepare(self, network: nn.Module, encoder: DSTformer) -> None:
        """Make a worker's network, and the encoder in it, compute as asked; before anything runs on a GPU.

        Raises:
            ValueError: it is to be compiled and there is no compiler.
        """
        encoder.activation_checkpointing = self.activation_checkpointing
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        if self.compile:
            compiler = os.environ.get("CXX", "g++")
            if not self.gpus_per_worker and shutil.which(compiler) is None:
                raise ValueError(f"compile: CPU workers need the C++ compiler {compiler} on every node; leave it out")
            network.compile()
