"""The check that a thing with state can be stopped and taken up again anywhere.

One assertion for all of them: run to the end, then restore at every step, into a fresh object and into a used one, and
compare the whole tail with the uninterrupted run. States are kept while the run goes on, so a state that shares memory
with the living object is found out, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import numpy as np
import torch


class Restorable(Protocol):
    """A sequence of results with a state."""

    def step(self) -> Any:
        """Make the next result."""
        ...

    def state(self) -> Any:
        """Return what the next results depend on."""
        ...

    def restore(self, state: Any) -> None:
        """Go to where ``state`` was taken."""
        ...


def assert_restores_at_every_step(make: Callable[[], Restorable], num_steps: int) -> None:
    """Assert that from every one of ``num_steps`` steps the restored tail equals the uninterrupted one, bit by bit."""
    uninterrupted = make()
    states, results = [], []
    for _ in range(num_steps):
        states.append(uninterrupted.state())
        results.append(uninterrupted.step())
    for start, state in enumerate(states):
        for who, restored in (("a fresh object", make()), ("a used object", uninterrupted)):
            restored.restore(state)
            for step in range(start, num_steps):
                assert same(restored.step(), results[step]), f"{who} restored at step {start} differs at step {step}"


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal bit by bit: arrays, tensors, and what is built of them."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and not isinstance(a, str | bytes):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
