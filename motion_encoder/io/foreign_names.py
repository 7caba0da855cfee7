"""The names of tensors in published files, and the sizes that can be inferred from them.

Three layouts: the official ``DSTformer`` (our names are these), a task model of the official code (``backbone.*`` and
``head.*``), and MMPose's ``PoseLifter``.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor

from motion_encoder.model.dstformer import DSTformerConfig
from motion_encoder.model.heads import ActionHeadConfig

Format = Literal["official", "mmpose", "ours"]
"""The code whose names the tensors have. "ours": a task model of this library, saved as a raw state dict."""
CheckpointKind = Literal["pose", "action", "one-shot", "mesh"]

_OF_MMPOSE = re.compile(
    r"backbone\.(?:spat_embed$|attn_regress\.|blocks_\w+\.\d+\.mlp_\w\.[02]\.)|head\.(?:fc|pre_logits)\."
)
MESH_HEAD = ("head.smpl.", "head.init_", "head.head_", "head.bn1.", "head.bn2.")
ACTION_HEAD = ("head.bn.", "head.fc2.")
ACTION_HEAD_ORDER = ("bn", "fc1", "fc2")


def detect_format(names: Iterable[str]) -> Format:
    """Return the format of a file from the names of its tensors, without prefix."""
    if any(_OF_MMPOSE.match(name) for name in names):
        return "mmpose"
    return "ours" if any(name.startswith("encoder.") for name in names) else "official"


def detect_kind(names: Iterable[str]) -> CheckpointKind:
    """Return the kind of a model from the names of its tensors, without prefix."""
    if any(_OF_MMPOSE.match(name) for name in names):
        return "pose"
    if not any(name.startswith(("backbone.", "encoder.")) for name in names):
        return "pose"
    head = [name for name in names if name.startswith("head.")]
    if any(name.startswith(MESH_HEAD) for name in head):
        return "mesh"
    return "action" if not head or any(name.startswith(ACTION_HEAD) for name in head) else "one-shot"


def _same_name(name: str) -> str:
    return name


def backbone_name(name: str) -> str:
    """Return the name of an encoder's tensor in a task model of the official code."""
    return "backbone." + name


def official_action_name(name: str) -> str:
    """Return the name of an ``ActionModel``'s tensor in an official action file."""
    return backbone_name(name.removeprefix("encoder.")) if name.startswith("encoder.") else name


def mmpose_name(name: str) -> str:
    """Return a tensor's name in MMPose's ``PoseLifter`` (backbone ``DSTFormer``, head ``MotionRegressionHead``)."""
    for ours, theirs in _MMPOSE_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return "backbone." + re.sub(r"(\.mlp_[st])\.fc([12])\.", _mmpose_layer, name)


def _mmpose_layer(match: re.Match[str]) -> str:
    """Rename a layer of an MLP, which MMPose stores as a sequence: a layer, the GELU, a layer."""
    return f"{match[1]}.{0 if match[2] == '1' else 2}."


_MMPOSE_NAMES = {
    "pos_embed": "backbone.spat_embed",
    "ts_attn.": "backbone.attn_regress.",
    "pre_logits.": "head.pre_logits.",
    "head.": "head.fc.",
}
NAMES: Mapping[tuple[Format, CheckpointKind], Callable[[str], str]] = {
    ("official", "pose"): _same_name,
    ("official", "action"): official_action_name,
    ("ours", "action"): _same_name,
    ("mmpose", "pose"): mmpose_name,
}
"""Functions that map our names to the names in the file."""


def place_in_action_file(name: str) -> int:
    """Return a key to sort our names by: the published head begins with its batch norm; all else is in our order."""
    part, layer = name.split(".")[:2]
    return 1 + ACTION_HEAD_ORDER.index(layer) if part == "head" else 0


Places = tuple[tuple[str, int], ...]
"""Tensors and axes that show a size. The majority decides, so that one wrong tensor does not change the size."""
_CHANNELS: Places = (
    ("norm.weight", 0),
    ("norm.bias", 0),
    ("joints_embed.bias", 0),
    ("pos_embed", 2),
    ("temp_embed", 3),
)
_HIDDEN: Places = tuple(
    (f"blocks_{stream}.0.mlp_s.fc1.{kind}", 0) for stream in ("st", "ts") for kind in ("weight", "bias")
)
_REPRESENTATION: Places = (("pre_logits.fc.weight", 0), ("pre_logits.fc.bias", 0), ("head.weight", 1))
_FRAMES: Places = (("temp_embed", 1),)
_JOINTS: Places = (("pos_embed", 1),)
_IN: Places = (("joints_embed.weight", 1),)
_OUT: Places = (("head.weight", 0), ("head.bias", 0))
_LEVEL = re.compile(r"(?:backbone\.|encoder\.)?blocks_(?:st|ts)\.(\d+)\.")
_HIDDEN_OF_HEAD: Places = (("head.fc1.bias", 0), ("head.bn.weight", 0), ("head.fc2.weight", 1))
_CLASSES: Places = (("head.fc2.weight", 0), ("head.fc2.bias", 0))


def infer_encoder(
    tensors: Mapping[str, Tensor], rename: Callable[[str], str], num_heads: int | None
) -> DSTformerConfig:
    """Infer the size of an encoder from its tensors.

    If the tensors that show a size are missing, the published size is used; the missing tensors are reported later.

    Args:
        tensors: the tensors of the file.
        rename: maps our names to those of the file.
        num_heads: number of attention heads, which the tensors do not show; 8 by default.

    Raises:
        ValueError: the sizes are impossible, or the number of heads does not divide the number of channels.
    """

    def size(places: Places, published: int) -> int:
        return _size(tensors, tuple((rename(name), axis) for name, axis in places), published)

    published = DSTformerConfig()
    channels = size(_CHANNELS, published.dim_feat)
    levels = {match[1] for name in tensors if (match := _LEVEL.match(name))}
    config = DSTformerConfig(
        dim_feat=channels,
        mlp_ratio=_ratio(size(_HIDDEN, int(channels * published.mlp_ratio)), channels),
        depth=len(levels) or published.depth,
        num_heads=1,
        dim_rep=size(_REPRESENTATION, published.dim_rep),
        max_frames=size(_FRAMES, published.max_frames),
        num_joints=size(_JOINTS, published.num_joints),
        in_channels=size(_IN, published.in_channels),
        out_channels=size(_OUT, published.out_channels),
        learned_fusion=any(name.startswith(rename("ts_attn.")) for name in tensors),
    )
    heads = published.num_heads if num_heads is None else num_heads
    if heads < 1 or channels % heads:
        raise ValueError(
            f"the tensors do not show the number of attention heads; expected a divisor of the {channels} channels, "
            f"found {heads}{' (as in published models)' if num_heads is None else ''}. Pass num_heads (--num-heads N)."
        )
    return replace(config, num_heads=heads)


def infer_action_head(tensors: Mapping[str, Tensor], *, published_means: bool) -> tuple[ActionHeadConfig, int]:
    """Infer the size of an action head and its number of classes from its tensors."""
    config = ActionHeadConfig(hidden=_size(tensors, _HIDDEN_OF_HEAD, 1), published_means=published_means)
    return config, _size(tensors, _CLASSES, 1)


def _size(tensors: Mapping[str, Tensor], places: Places, published: int) -> int:
    sizes = Counter(tensors[name].shape[axis] for name, axis in places if name in tensors and tensors[name].ndim > axis)
    return sizes.most_common(1)[0][0] if sizes else published


def _ratio(hidden: int, channels: int) -> float:
    """Return a ratio with ``int(channels * ratio) == hidden``: the plain quotient may be rounded down too far."""
    ratio = hidden / max(channels, 1)
    return ratio if int(channels * ratio) == hidden else math.nextafter(ratio, math.inf)
