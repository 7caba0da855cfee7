"""The published implementation, from a checkout of the user (it is not part of this repository).

The model is built as in the published ``load_backbone``. Before it is compared with ours, its outputs have to agree.

Shapes: B clips, T frames, J joints, C channels in.
"""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from motion_encoder import DSTformer, DSTformerConfig

SAME = 1e-4
"""Largest difference between our outputs and the published ones, for the same weights, that counts as rounding."""


def published_model(checkout: Path, config: DSTformerConfig) -> nn.Module:
    """Return the published model, with initial weights from torch's global generator.

    Raises:
        ValueError: the folder is not a checkout of the published code.
    """
    return published_class(checkout)(
        dim_in=config.in_channels, dim_out=config.out_channels, dim_feat=config.dim_feat, dim_rep=config.dim_rep,
        depth=config.depth, num_heads=config.num_heads, mlp_ratio=config.mlp_ratio,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), maxlen=config.max_frames, num_joints=config.num_joints,
    )  # fmt: skip


def published_class(checkout: Path) -> Callable[..., nn.Module]:
    """Return the published DSTformer; its package ``lib`` can be imported only inside this function.

    Raises:
        ValueError: the folder is not a checkout of the published code.
    """
    file = checkout / "lib" / "model" / "DSTformer.py"
    if not file.is_file():
        raise ValueError(
            f"{checkout}: expected a checkout of the published code, found no lib/model/DSTformer.py in it"
        )
    others = _take_out_lib()
    sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module("lib.model.DSTformer").DSTformer
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ValueError(f"{file}: expected a module with DSTformer in it, found: {error}") from error
    finally:
        sys.path.remove(str(checkout))
        _take_out_lib()
        sys.modules.update(others)


def _take_out_lib() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "lib"]
    return {name: sys.modules.pop(name) for name in names}


def largest_difference(checkout: Path, config: DSTformerConfig, *, frames: int, device: str) -> float:
    """Return the largest difference between the published outputs and ours, for the same random weights, in float32.

    Raises:
        ValueError: the folder is not a checkout of the published code, or the difference is more than rounding.
    """
    torch.manual_seed(0)
    theirs = published_model(checkout, config).to(device).eval()
    with torch.no_grad():
        for parameter in (
            theirs.parameters()
        ):  # initially biases are 0 and both streams have equal weights, which would hide differences
            parameter += 0.02 * torch.randn_like(parameter)
    ours = DSTformer(config, torch.Generator()).to(device).eval()
    ours.load_state_dict(theirs.state_dict())
    x_BTJC = torch.randn(1, frames, config.num_joints, config.in_channels, device=device)
    with torch.inference_mode():
        difference = (theirs(x_BTJC) - ours(x_BTJC)).abs().max().item()
    if not difference <= SAME:
        raise ValueError(
            f"{checkout}: expected equal outputs to {SAME} for the same weights, found a difference of "
            f"{difference:.1e}; use an unchanged checkout"
        )
    return difference
