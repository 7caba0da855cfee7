"""DSTformer, the encoder: two streams of spatial and temporal attention, fused at every level.

The published architecture (Zhu et al., "MotionBERT: A Unified Perspective on Learning Human Motion Representations",
ICCV 2023, section 3.2) to 1e-5, with the published parameter names in the published order, so that its tensors load as
they are. Optimiser states, which refer to parameters by their position, can be loaded too. We added three things:

- Attention is fused (the published code keeps 20 attention maps, 32 MB each for a clip of 243 frames), and cheap
  results are recomputed in the backward pass instead of saved (``layers``). ``benchmarks/README.md`` has the figures.
- Clips of different lengths can share a batch, and joints may be absent. A mask excludes both from the attention, so
  the output of the valid part does not depend on the rest.
- An encoder can be stretched to longer clips (``with_max_frames``).

The last layer, ``head``, is the 3D pose head; ``encode`` stops before it, at the representation.

Shapes: B clips, T frames, J joints, C channels, R channels of the representation, O channels out.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from motion_encoder.model.blocks import LAYER_NORM_EPS, Block, Keys, keys_of
from motion_encoder.model.layers import Linear
from motion_encoder.model.motion_model import MotionModel
from motion_encoder.shapes import Bool, Float

MAX_SIZE, MAX_DEPTH = 2**20, 1000
"""Far above any real model. A file that states more is damaged, and building its model would hang."""


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """Size of an encoder; the defaults are the published ones."""

    dim_feat: int = 512
    """Channels C of the tokens inside the network."""
    mlp_ratio: float = 2.0
    """Width of each MLP's hidden layer, as a multiple of the encoder's channels (dim_feat)."""
    depth: int = 5
    """Number of levels. A level has one transformer block for each of the two streams, and fuses their outputs."""
    num_heads: int = 8
    """Number of attention heads; the number of channels (dim_feat) must be divisible by it."""
    dim_rep: int = 512
    """Channels R of the representation: the output that heads for new tasks are built on."""
    max_frames: int = 243
    """Maximum clip length in frames (size of the temporal position embedding)."""
    learned_fusion: bool = True
    """Fuse the two streams with learned weights instead of averaging them (att_fuse in the published code)."""
    init_std: float = 0.02
    """Standard deviation of the initial weights. The published value is 0.02; small encoders learn faster with more."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "learned_fusion" and not 0 < value <= MAX_SIZE:
                raise ValueError(f"encoder.{name}: expected a positive number up to {MAX_SIZE:,}, found {value}")
        if self.depth > MAX_DEPTH:
            raise ValueError(f"encoder.depth: expected at most {MAX_DEPTH} levels, found {self.depth}")
        if self.dim_feat * self.mlp_ratio < 1:
            raise ValueError(f"encoder.mlp_ratio: expected at least one hidden channel, found {self.mlp_ratio}")
        if self.dim_feat % self.num_heads:
            raise ValueError(
                f"encoder.num_heads: expected a divisor of dim_feat {self.dim_feat}, found {self.num_heads}"
            )


@dataclass(frozen=True, kw_only=True)
class DSTformerConfig(EncoderSize):
    """Size of an encoder with its inputs and outputs, which differ from the defaults only in models of other code."""

    num_joints: int = 17
    """Joints J of the skeleton."""
    in_channels: int = 3
    """Input channels: x, y and confidence."""
    out_channels: int = 3
    """Output channels: x, y and depth."""

    @classmethod
    def of(cls, size: EncoderSize) -> "DSTformerConfig":
        """Return the configuration of an encoder of this size on the joints of ``h36m17``."""
        return size if isinstance(size, cls) else cls(**vars(size))


SIZES: Mapping[str, EncoderSize] = MappingProxyType(
    {
        "motionbert": EncoderSize(),  # 42,466,317 parameters
        "motionbert_lite": EncoderSize(dim_feat=256, mlp_ratio=4.0),  # 16,001,549
        "tiny": EncoderSize(dim_feat=32, depth=2, num_heads=4, dim_rep=64, init_std=0.1),  # 79,431: for laptops
    }
)


class DSTformer(MotionModel):
    """Maps 2D keypoints with confidence to 3D motion, or to its representation.

    All initial weights are drawn from ``generator``. Built under ``torch.device("meta")``, the model has no weights
    yet: they have to be loaded.
    """

    output_names = ("motion", "representation")
    prediction_shape = (-1, -1, 17, 3)
    activation_checkpointing = False
    """Activation checkpointing: save only the input of each block, and run the block again in the backward pass.

    A step takes about 1.3 times as long, and several times the batch size or clip length fit into memory.
    """

    def __init__(self, size: EncoderSize, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config = DSTformerConfig.of(size)
        channels = config.dim_feat
        self.temp_embed = nn.Parameter(torch.zeros(1, config.max_frames, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_joints, channels))
        self.joints_embed = nn.Linear(config.in_channels, channels)
        sizes = (channels, int(channels * config.mlp_ratio), config.num_heads)
        self.blocks_st = nn.ModuleList(Block(*sizes, spatial_first=True) for _ in range(config.depth))
        self.blocks_ts = nn.ModuleList(Block(*sizes, spatial_first=False) for _ in range(config.depth))
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pre_logits = nn.Sequential(OrderedDict(fc=Linear(channels, config.dim_rep), act=nn.Tanh()))
        self.head = nn.Linear(config.dim_rep, config.out_channels)
        if config.learned_fusion:
            self.ts_attn = nn.ModuleList(nn.Linear(2 * channels, 2) for _ in range(config.depth))
        if not self.temp_embed.is_meta:
            self._initialise(generator)

    def _initialise(self, generator: torch.Generator) -> None:
        """Initialise as published: truncated normals, zero biases, and equal weights of the two streams."""
        for embedding in (self.temp_embed, self.pos_embed):
            nn.init.trunc_normal_(embedding, std=self.config.init_std, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.init_std, generator=generator)
                nn.init.zeros_(module.bias)
        for weigh in self._weighers():
            nn.init.zeros_(weigh.weight)
            nn.init.constant_(weigh.bias, 0.5)

    def _weighers(self) -> list[nn.Linear]:
        return [each for each in self.ts_attn if isinstance(each, nn.Linear)] if self.config.learned_fusion else []

    def forward(
        self,
        x_BTJC: Float[Tensor, "B T J C"],
        valid: Bool[Tensor, "B T"] | Bool[Tensor, "B T J"] | None = None,
    ) -> Float[Tensor, "B T J O"]:
        """Return 3D motion in window units; arguments and errors as in ``encode``."""
        return self.head(self.encode(x_BTJC, valid))

    def encode(
        self,
        x_BTJC: Float[Tensor, "B T J C"],
        valid: Bool[Tensor, "B T"] | Bool[Tensor, "B T J"] | None = None,
    ) -> Float[Tensor, "B T J R"]:
        """Return the representation, each value in (-1, 1).

        Args:
            x_BTJC: x and y in window units, and confidence; zeros where a joint was not observed.
            valid: the frames [B, T], or the joints of each frame [B, T, J], that take part; all of them by default. The
                others are padding, or joints that the source does not have: nothing attends to them, and their outputs
                have no meaning. (A joint that was only not observed takes part, as zeros: the network has learned to
                fill it in.)

        Raises:
            ValueError: a clip that is empty or longer than ``max_frames``, a wrong number of joints or channels, or a
                mask of the wrong shape.
        """
        self._check(x_BTJC, valid)
        if valid is not None:  # many sources write NaN where a joint is missing, and NaN * 0 is NaN
            x_BTJC = x_BTJC.masked_fill(~(valid[..., None, None] if valid.ndim == 2 else valid[..., None]), 0)
        keys = keys_of(valid, self.config.num_joints)
        x_BTJC = self.joints_embed(x_BTJC) + self.pos_embed + self.temp_embed[:, : x_BTJC.shape[1]]
        for level in range(self.config.depth):
            st_BTJC, ts_BTJC = (self._run(blocks[level], x_BTJC, keys) for blocks in (self.blocks_st, self.blocks_ts))
            x_BTJC = self._fuse(level, st_BTJC, ts_BTJC)
        return self.pre_logits(self.norm(x_BTJC))

    @property
    def encoder(self) -> "DSTformer":  # pyright: ignore[reportIncompatibleVariableOverride]  # not a child of itself
        """Return the model itself: it is the encoder, including the 3D pose head."""
        return self

    def head_settings(self) -> dict[str, Any]:
        """Return nothing: the pose head's size is part of the encoder's."""
        return {}

    @classmethod
    def from_settings(cls, encoder: "DSTformer", settings: Mapping[str, Any]) -> "DSTformer":
        """Return the encoder; see ``MotionModel.from_settings``."""
        if settings:
            raise ValueError(f"head: expected no settings for a DSTformer, found {', '.join(settings)}")
        return encoder

    def outputs(self, keypoints: Tensor, valid: Bool[Tensor, "B T"] | None = None) -> dict[str, Tensor]:
        """Return the motion and the representation; see ``MotionModel.outputs``."""
        representation = self.encode(keypoints, valid)
        return {"motion": self.head(representation), "representation": representation}

    def predict(self, x_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B T J O"]:
        """Return 3D motion in window units."""
        return self(x_BTJC)

    def with_max_frames(self, max_frames: int) -> "DSTformer":
        """Return this encoder for longer clips: its temporal embedding is stretched, all other weights are shared.

        The embeddings of the first and the last position are kept and those in between are interpolated, so a clip of
        ``max_frames`` frames looks to the network like slow motion of the longest clip that it took before. The encoder
        was not trained for this: score it before you rely on it.

        Raises:
            ValueError: ``max_frames`` is not larger than the encoder's present limit.
        """
        if max_frames <= self.config.max_frames:
            raise ValueError(
                f"with_max_frames: expected more than the {self.config.max_frames} frames that the encoder takes "
                f"already, found {max_frames}. Shorter clips need no change."
            )
        with torch.device("meta"):
            longer = DSTformer(replace(self.config, max_frames=max_frames), torch.Generator())
        embed_1CT = self.temp_embed.detach()[:, :, 0].mT
        stretched_1CT = functional.interpolate(embed_1CT, size=max_frames, mode="linear", align_corners=True)
        for name, parameter in longer.named_parameters():  # load_state_dict(assign=True) keeps this flag
            parameter.requires_grad_(self.get_parameter(name).requires_grad)
        state = {
            **self.state_dict(keep_vars=True),
            "temp_embed": nn.Parameter(stretched_1CT.mT[:, :, None].contiguous()),
        }
        longer.load_state_dict(state, assign=True)
        longer.card, longer.activation_checkpointing = self.card, self.activation_checkpointing
        return longer.train(self.training)

    def _check(self, x_BTJC: Tensor, valid: Tensor | None) -> None:
        joints_and_channels = [self.config.num_joints, self.config.in_channels]
        if x_BTJC.ndim != 4 or list(x_BTJC.shape[2:]) != joints_and_channels:
            expected = f"[clips, frames, {joints_and_channels[0]}, {joints_and_channels[1]}]"
            raise ValueError(f"DSTformer: expected {expected}, found {list(x_BTJC.shape)}")
        num_frames = x_BTJC.shape[1]
        if not 1 <= num_frames <= self.config.max_frames:
            raise ValueError(
                f"DSTformer: expected clips of 1 to {self.config.max_frames} frames, found {num_frames}. "
                "Cut longer motion into overlapping windows (`lift` does), stretch the encoder "
                "(`with_max_frames`), or train one with a larger max_frames."
            )
        if valid is None:
            return
        if valid.shape not in (x_BTJC.shape[:2], x_BTJC.shape[:3]) or valid.dtype is not torch.bool:
            expected = f"{list(x_BTJC.shape[:2])} or {list(x_BTJC.shape[:3])}"
            found = f"{valid.dtype} {list(valid.shape)}"
            raise ValueError(f"DSTformer: expected a mask of torch.bool {expected}, found {found}")

    def _run(self, block: nn.Module, x_BTJC: Tensor, keys: Keys) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x_BTJC, keys, lean=False, use_reentrant=False, preserve_rng_state=False)
        return block(x_BTJC, keys, lean=True)

    def _fuse(self, level: int, st_BTJC: Tensor, ts_BTJC: Tensor) -> Tensor:
        """Fuse the streams: each joint of each frame has two weights of its own, which sum to 1."""
        if not self.config.learned_fusion:
            return (st_BTJC + ts_BTJC) / 2
        weigh = self._weighers()[level]
        of_st_2C, of_ts_2C = weigh.weight.chunk(2, dim=1)
        logits_BTJ2 = functional.linear(st_BTJC, of_st_2C, weigh.bias) + functional.linear(ts_BTJC, of_ts_2C)
        alpha_BTJ2 = logits_BTJ2.softmax(dim=-1)
        return st_BTJC * alpha_BTJ2[..., :1] + ts_BTJC * alpha_BTJ2[..., 1:]
