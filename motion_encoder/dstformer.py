"""DSTformer, the encoder: two streams of spatial and temporal attention, fused at every level.

The published architecture (Zhu et al., "MotionBERT: A Unified Perspective on Learning Human Motion Representations",
ICCV 2023, section 3.2) to 1e-5, with the published parameter names in the published order, so that its tensors load as
they are, and optimiser states, which count parameters, fit too. Two things are ours: attention is fused (the published
code keeps 20 attention maps, 32 MB each for a clip of 243 frames), and clips of unlike length share a batch: padded
frames are masked as keys, so that a clip's output does not depend on its padding.

The last layer, ``head``, is the 3D pose head; ``encode`` stops before it, at the representation.

Shapes: B clips, T frames, J joints, C channels, R channels of the representation, O channels out. Attention takes G
groups of L tokens, each group on its own: the joints of a frame (G = T, L = J) or the frames of a joint (G = J, L = T).
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from motion_encoder.cards import ModelCard
from motion_encoder.shapes import Bool, Float

LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class DSTformerConfig:
    """The size of a DSTformer; the defaults are the published ones."""

    dim_feat: int = 512
    """Channels C inside the network."""
    mlp_ratio: float = 2.0
    """Hidden channels of each MLP over ``dim_feat``."""
    depth: int = 5
    """Levels; each is one block per stream, and their fusion."""
    num_heads: int = 8
    """Attention heads; they share the channels equally."""
    dim_rep: int = 512
    """Channels R of the representation."""
    max_frames: int = 243
    """The longest clip: there are so many temporal positions."""
    num_joints: int = 17
    """Joints J of the skeleton."""
    in_channels: int = 3
    """x, y and confidence."""
    out_channels: int = 3
    """x, y and depth."""
    init_std: float = 0.02
    """Spread of the first weights; the published value is about 1/2 of 1/sqrt(512), and too timid for few channels."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"encoder.{name}: expected a positive number, found {value}")
        if self.dim_feat % self.num_heads:
            raise ValueError(
                f"encoder.num_heads: expected a divisor of dim_feat {self.dim_feat}, found {self.num_heads}"
            )


SIZES: Mapping[str, DSTformerConfig] = MappingProxyType(
    {
        "motionbert": DSTformerConfig(),  # 42,466,317 parameters
        "motionbert_lite": DSTformerConfig(dim_feat=256, mlp_ratio=4.0),  # 16,001,549
        "tiny": DSTformerConfig(dim_feat=32, depth=2, num_heads=4, dim_rep=64, init_std=0.1),  # 79,431: for laptops
    }
)


class DSTformer(nn.Module):
    """Maps 2D keypoints with confidence to 3D motion, or to its representation.

    Weights are drawn from ``generator`` alone. Built under ``torch.device("meta")`` they are left to be loaded.
    """

    card = ModelCard()
    """Where the weights come from and what they are worth; empty until they are loaded."""

    def __init__(self, config: DSTformerConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        channels = config.dim_feat
        self.temp_embed = nn.Parameter(torch.zeros(1, config.max_frames, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_joints, channels))
        self.joints_embed = nn.Linear(config.in_channels, channels)
        self.blocks_st = nn.ModuleList(Block(config, spatial_first=True) for _ in range(config.depth))
        self.blocks_ts = nn.ModuleList(Block(config, spatial_first=False) for _ in range(config.depth))
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pre_logits = nn.Sequential(OrderedDict(fc=nn.Linear(channels, config.dim_rep), act=nn.Tanh()))
        self.head = nn.Linear(config.dim_rep, config.out_channels)
        self.ts_attn = nn.ModuleList(nn.Linear(2 * channels, 2) for _ in range(config.depth))
        if not self.temp_embed.is_meta:
            self._initialise(generator)

    def _initialise(self, generator: torch.Generator) -> None:
        """As published: truncated normals and zero biases; both streams weigh the same at the start."""
        for embedding in (self.temp_embed, self.pos_embed):
            nn.init.trunc_normal_(embedding, std=self.config.init_std, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.init_std, generator=generator)
                nn.init.zeros_(module.bias)
        for weigh in self.ts_attn.children():
            nn.init.zeros_(weigh.get_parameter("weight"))
            nn.init.constant_(weigh.get_parameter("bias"), 0.5)

    def forward(
        self, x_BTJC: Float[Tensor, "B T J C"], valid_BT: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T J O"]:
        """Return 3D motion in window units; arguments and errors as in ``encode``."""
        return self.head(self.encode(x_BTJC, valid_BT))

    def encode(
        self, x_BTJC: Float[Tensor, "B T J C"], valid_BT: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T J R"]:
        """Return the representation, each value in (-1, 1).

        Args:
            x_BTJC: x and y in window units, and confidence; zeros where a joint was not observed.
            valid_BT: the frames that belong to the clip; the others are padding, and what comes out there means
                nothing. All frames if it is left out.

        Raises:
            ValueError: a clip that is longer than ``max_frames`` or empty, or another number of joints or channels.
        """
        self._check(x_BTJC)
        keys_N11T = None if valid_BT is None else self._temporal_keys(valid_BT)
        x_BTJC = self.joints_embed(x_BTJC) + self.pos_embed + self.temp_embed[:, : x_BTJC.shape[1]]
        for block_st, block_ts, weigh in zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True):
            x_BTJC = _fuse(weigh, block_st(x_BTJC, keys_N11T), block_ts(x_BTJC, keys_N11T))
        return self.pre_logits(self.norm(x_BTJC))

    def _check(self, x_BTJC: Tensor) -> None:
        joints_and_channels = [self.config.num_joints, self.config.in_channels]
        if x_BTJC.ndim != 4 or list(x_BTJC.shape[2:]) != joints_and_channels:
            expected = f"[clips, frames, {joints_and_channels[0]}, {joints_and_channels[1]}]"
            raise ValueError(f"DSTformer: expected {expected}, found {list(x_BTJC.shape)}")
        num_frames = x_BTJC.shape[1]
        if not 1 <= num_frames <= self.config.max_frames:
            raise ValueError(
                f"DSTformer: expected clips of 1 to {self.config.max_frames} frames, found {num_frames}. "
                "Cut longer motion into overlapping windows, or train an encoder with a larger max_frames."
            )

    def _temporal_keys(self, valid_BT: Tensor) -> Tensor:
        """The frames that may be attended to, per clip and joint. All padding attends to itself: nothing is NaN."""
        keys_BT = valid_BT | ~valid_BT.any(dim=1, keepdim=True)
        return keys_BT.repeat_interleave(self.config.num_joints, dim=0)[:, None, None, :]


def _fuse(weigh: nn.Module, st_BTJC: Tensor, ts_BTJC: Tensor) -> Tensor:
    """Mix the streams, each joint of each frame by its own two weights that sum to 1."""
    alpha_BTJ2 = weigh(torch.cat([st_BTJC, ts_BTJC], dim=-1)).softmax(dim=-1)
    return st_BTJC * alpha_BTJ2[..., :1] + ts_BTJC * alpha_BTJ2[..., 1:]


class Block(nn.Module):
    """One level of one stream: attention and MLP over the joints, and over the frames, in either order.

    The residual stays in [B, T, J, C] throughout; only temporal attention looks at it transposed.
    """

    def __init__(self, config: DSTformerConfig, *, spatial_first: bool) -> None:
        super().__init__()
        channels, hidden = config.dim_feat, int(config.dim_feat * config.mlp_ratio)
        self.spatial_first = spatial_first
        self.norm1_s = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.norm1_t = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attn_s = Attention(channels, config.num_heads)
        self.attn_t = Attention(channels, config.num_heads)
        self.norm2_s = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.norm2_t = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp_s = Mlp(channels, hidden)
        self.mlp_t = Mlp(channels, hidden)

    def forward(
        self, x_BTJC: Float[Tensor, "B T J C"], keys_N11T: Bool[Tensor, "N 1 1 T"] | None
    ) -> Float[Tensor, "B T J C"]:
        """Mix within frames, then over time; or the other way round. ``keys_N11T``: N = B × J."""
        if self.spatial_first:
            return self._temporal(self._spatial(x_BTJC), keys_N11T)
        return self._spatial(self._temporal(x_BTJC, keys_N11T))

    def _spatial(self, x_BTJC: Tensor) -> Tensor:
        x_BTJC = x_BTJC + self.attn_s(self.norm1_s(x_BTJC), None)
        return x_BTJC + self.mlp_s(self.norm2_s(x_BTJC))

    def _temporal(self, x_BTJC: Tensor, keys_N11T: Tensor | None) -> Tensor:
        x_BTJC = x_BTJC + self.attn_t(self.norm1_t(x_BTJC).transpose(1, 2), keys_N11T).transpose(1, 2)
        return x_BTJC + self.mlp_t(self.norm2_t(x_BTJC))


class Attention(nn.Module):
    """Multi-head self-attention within each group of tokens."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.proj = nn.Linear(channels, channels)
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(
        self, x_BGLC: Float[Tensor, "B G L C"], keys_N11L: Bool[Tensor, "N 1 1 L"] | None
    ) -> Float[Tensor, "B G L C"]:
        """Attend to the tokens that ``keys_N11L`` (N = B × G) allows; to all of the group without it."""
        x_NLC = x_BGLC.flatten(0, 1)
        qkv_NL3HD = self.qkv(x_NLC).unflatten(-1, (3, self.num_heads, -1))
        query_NHLD, key_NHLD, value_NHLD = qkv_NL3HD.permute(2, 0, 3, 1, 4).unbind()
        mixed_NHLD = functional.scaled_dot_product_attention(query_NHLD, key_NHLD, value_NHLD, attn_mask=keys_N11L)
        return self.proj(mixed_NHLD.transpose(1, 2).flatten(2)).view(x_BGLC.shape)


class Mlp(nn.Module):
    """Two layers with the exact GELU between them, on each token alone."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B T J C"]:
        """Return what is added to the residual."""
        return self.fc2(functional.gelu(self.fc1(x_BTJC)))
