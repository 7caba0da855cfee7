"""Small constant tensors, made once per device.

Making a tensor on a GPU from Python numbers copies it from the host, and the host waits for the copy. In every training
step this would stall the GPU, so joint orders and the noise table are made once and kept.
"""

from typing import Any

import torch
from torch import Tensor

_KEPT: dict[tuple[Any, torch.dtype, torch.device], Tensor] = {}


def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers, or tuples of numbers, as a tensor on ``device``. It is shared, so do not change it in place."""
    if torch.compiler.is_compiling():  # the compiled graph keeps the tensor itself
        return torch.tensor(values, dtype=dtype, device=device)
    key = (values, dtype, device)
    if key not in _KEPT:
        with torch.inference_mode(False):  # a tensor made in inference mode cannot be used in training later
            _KEPT[key] = torch.tensor(values, dtype=dtype, device=device)
    return _KEPT[key]


def indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return integers as a tensor of indices on ``device``; like ``constant``, it is shared."""
    return constant(values, device, torch.int64)
