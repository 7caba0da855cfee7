"""The state of a training run between two steps: weights, optimizer, step. Nothing else is state.

The order of samples, views, noise, masks, dropout and the learning rate are pure functions of (seed, step), so a run
resumed from here goes on exactly as if it had not stopped. Files are safetensors and JSON; there are no pickles.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MODEL = "model"
"""The model folder of a checkpoint, ready to be registered."""
NETWORK = "network.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"


def save_state(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    """Write the state after ``step`` optimizer steps into ``folder`` (which must exist)."""
    save_file(_contiguous(network.state_dict()), folder / NETWORK)
    save_file(_flat(optimizer.state_dict()["state"]), folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps({"step": step}))


def load_state(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore what ``save_state`` wrote; return how many steps were done."""
    network.load_state_dict(load_file(folder / NETWORK))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": _nested(load_file(folder / OPTIMIZER)), "param_groups": groups})
    return json.loads((folder / PROGRESS).read_text())["step"]


def _flat(state: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return _contiguous({f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()})


def _nested(flat: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return state


def _contiguous(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
