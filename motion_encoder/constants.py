"""Small constant tensors, made once per device.

A tensor that is made from Python numbers is copied from the host, which waits for the copy. Done in every training
step, that stalls the device; so joint orders and the noise table are made once and kept.
"""

from typing import Any

import torch
from torch import Tensor

_KEPT: dict[tuple[Any, torch.dtype, torch.device], Tensor] = {}


def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers, or tuples of numbers, as a tensor on ``device``. It is shared: do not change it in place."""
    if torch.compiler.is_compiling():  # the compiled graph keeps it
        return torch.tensor(values, dtype=dtype, device=device)
    key = (values, dtype, device)
    if key not in _KEPT:
        with torch.inference_mode(False):  # made in inference mode, it could not take part in training later
            _KEPT[key] = torch.tensor(values, dtype=dtype, device=device)
    return _KEPT[key]


def indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return whole numbers to index a tensor with, as in ``constant``."""
    return constant(values, device, torch.int64)
