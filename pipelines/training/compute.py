"""The resources of a training run, and how its workers compute."""

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
    """The resources of a training run, and how its workers compute. None of it changes the result, up to rounding."""

    workers: int = 1
    """Number of DDP workers. Results do not depend on it, up to rounding."""
    cpus_per_worker: int = 1
    """Number of CPU cores that each worker reserves and uses."""
    gpus_per_worker: int = 0
    """Number of GPUs of each worker: 1 to train on GPUs (nccl), 0 to train on CPUs (gloo)."""
    max_failures: int = 3
    """Number of times the run restarts from its last checkpoint after a worker or a node is lost."""
    compile: bool = False
    """Compile the network with torch.compile. Faster on GPUs; on CPUs it needs a C++ compiler and is not faster."""
    activation_checkpointing: bool = False
    """Activation checkpointing: recompute activations in the backward pass. Use it if a batch does not fit into memory:
    a step takes about 1.3 times as long, and several times the batch size fits."""
    deterministic: bool = False
    """Use only deterministic GPU operations: two runs are then bitwise equal, but slower. CPUs are always
    deterministic."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus_per_worker", 1), ("gpus_per_worker", 0), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, found {getattr(self, name)}")
        if self.gpus_per_worker > 1:
            raise ValueError(
                f"gpus_per_worker: expected 0 or 1, found {self.gpus_per_worker}; for more GPUs, use more workers"
            )
        if self.deterministic and not self.gpus_per_worker:
            raise ValueError(
                "deterministic: has no effect on CPU workers, which are always deterministic; leave it out"
            )

    def scaling(self) -> rt.ScalingConfig:
        """Return the resources as Ray Train's ``ScalingConfig``."""
        resources = {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})}
        return rt.ScalingConfig(
            num_workers=self.workers, use_gpu=self.gpus_per_worker > 0, resources_per_worker=resources
        )

    def check_batch(self, global_batch: int) -> None:
        """Check that every worker gets at least one clip of each step.

        Raises:
            ValueError: there are more workers than clips in a batch.
        """
        if self.workers > global_batch:
            raise ValueError(
                f"workers: expected at most the recipe's global_batch of {global_batch} clips, found {self.workers}"
            )

    def check_cluster(self) -> None:
        """Fail at once if the cluster is too small for the run; Ray Train would wait forever.

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
        """Apply these options to a worker's network and its encoder; call it before anything runs on a GPU.

        Raises:
            ValueError: ``compile`` is set, and there is no compiler.
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
