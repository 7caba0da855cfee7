"""The state of a training run between two steps: weights, optimizer states and step number.

There is no other state: sample order, views, noise, masks, dropout and learning rate are pure functions of (seed,
step). So a resumed run continues exactly as if it had not stopped. The weights are stored once, as the model folder
that is registered at the end, with its SHA-256. All files are safetensors and JSON, never pickles.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion_encoder import ModelCard, MotionModel, save
from motion_encoder.io.checkpoints import read_folder

MODEL = "model"
"""Name of the model folder in a checkpoint, which is ready to be registered."""
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"


def save_state(
    folder: Path, model: MotionModel, optimizer: torch.optim.Optimizer, *, task: str, card: ModelCard, step: int
) -> None:
    """Write the state after ``step`` optimizer steps into ``folder``, which must exist."""
    save(folder / MODEL, model, task=task, card=card)
    save_file(_flat(optimizer.state_dict()["state"]), folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps({"step": step}))


def load_state(folder: Path, model: MotionModel, optimizer: torch.optim.Optimizer) -> int:
    """Restore the state that ``save_state`` wrote; return the number of finished steps.

    Raises:
        ValueError: the weights are missing or damaged.
    """
    model.load_state_dict(read_folder(folder / MODEL).tensors)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": _nested(load_file(folder / OPTIMIZER)), "param_groups": groups})
    return json.loads((folder / PROGRESS).read_text())["step"]


def _flat(state: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    flat = {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}
    return {name: tensor.detach().contiguous() for name, tensor in flat.items()}


def _nested(flat: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return state
