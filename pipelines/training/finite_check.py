"""Whether training is still finite, found out without waiting for the device at every step."""

import torch
from torch import Tensor

from pipelines.training.train_step import StepResult


class FiniteCheck:
    """Remembers on the device the first step whose loss or gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._values: dict[str, Tensor] = {}

    def note(self, done: int, result: StepResult) -> None:
        """Look at a step; on a CPU, where asking costs nothing, check it at once."""
        is_new = (self._first < 0) & ~result.is_finite
        self._first = torch.where(is_new, done, self._first)
        known = self._values or result.values
        self._values = {name: torch.where(is_new, value, known[name]) for name, value in result.values.items()}
        if self._first.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Ask the device.

        Raises:
            FloatingPointError: a step was not finite. The weights are those before it.
        """
        if (step := int(self._first)) >= 0:
            values = ", ".join(f"{name} {value.item():g}" for name, value in self._values.items())
            raise FloatingPointError(
                f"step {step}: the loss or its gradient is no longer finite ({values}); no weight was moved by it. "
                "Try a lower optimisation.lr."
            )
