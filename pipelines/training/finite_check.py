"""Check that loss and gradient are finite, without waiting for the device at every step."""

import torch
from torch import Tensor

from pipelines.training.train_step import StepResult


class FiniteCheck:
    """Records, on the device, the first step whose loss or gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._values: dict[str, Tensor] = {}

    def note(self, done: int, result: StepResult) -> None:
        """Record the result of a step; on a CPU, where it costs nothing, also check it at once."""
        is_new = (self._first < 0) & ~result.is_finite
        self._first = torch.where(is_new, done, self._first)
        known = self._values or result.values
        self._values = {name: torch.where(is_new, value, known[name]) for name, value in result.values.items()}
        if self._first.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Read the recorded result from the device.

        Raises:
            FloatingPointError: a step was not finite. That step did not change the weights.
        """
        if (step := int(self._first)) >= 0:
            values = ", ".join(f"{name} {value.item():g}" for name, value in self._values.items())
            raise FloatingPointError(
                f"step {step}: the loss or its gradient is not finite ({values}). The step did not change the weights. "
                "Try a lower learning rate (optimisation.lr)."
            )
