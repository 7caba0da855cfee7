"""The blocks of a DSTformer: attention and MLP over the joints and over the frames.

The residual has the shape [B, T, J, C] throughout; only temporal attention uses a transposed view of it. Normalised and
activated copies are recomputed in the backward pass instead of saved (``layers.recomputed``).

Shapes: B clips, T frames, J joints, C channels, E = 3C, H heads of D channels (in an MLP: H hidden channels). Attention
runs within groups, G of L tokens: the joints of each frame (G = T, L = J) or the frames of each joint (G = J, L = T);
N = B × G.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from motion_encoder.model.layers import Linear, recomputed
from motion_encoder.shapes import Bool, Float

LAYER_NORM_EPS = 1e-6


class Keys(NamedTuple):
    """Masks of the tokens that may be attended to in each group; None for all tokens."""

    joints_N11J: Tensor | None
    frames_N11T: Tensor | None


def keys_of(valid: Tensor | None, num_joints: int) -> Keys:
    """Return the attention masks for a mask [B, T] or [B, T, J] of valid tokens."""
    if valid is None:
        return Keys(None, None)
    if valid.ndim == 2:
        return Keys(None, _allowed(valid.repeat_interleave(num_joints, dim=0)))
    return Keys(_allowed(valid.flatten(0, 1)), _allowed(valid.transpose(1, 2).flatten(0, 1)))


def _allowed(valid_NL: Tensor) -> Tensor:
    """Let a group without valid tokens attend to all its tokens: the output has no meaning, but it is not NaN."""
    return (valid_NL | ~valid_NL.any(dim=1, keepdim=True))[:, None, None, :]


class Block(nn.Module):
    """One level of one stream: attention and MLP over the joints and over the frames, in either order."""

    def __init__(self, channels: int, hidden: int, num_heads: int, *, spatial_first: bool) -> None:
        super().__init__()
        self.spatial_first = spatial_first
        self.norm1_s = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.norm1_t = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attn_s = Attention(channels, num_heads)
        self.attn_t = Attention(channels, num_heads)
        self.norm2_s = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.norm2_t = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp_s = Mlp(channels, hidden)
        self.mlp_t = Mlp(channels, hidden)

    def forward(self, x_BTJC: Float[Tensor, "B T J C"], keys: Keys, *, lean: bool) -> Float[Tensor, "B T J C"]:
        """Apply spatial, then temporal attention, or the reverse order. For ``lean`` see ``layers.recomputed``."""
        if self.spatial_first:
            return self._temporal(self._spatial(x_BTJC, keys, lean), keys, lean)
        return self._spatial(self._temporal(x_BTJC, keys, lean), keys, lean)

    def _spatial(self, x_BTJC: Tensor, keys: Keys, lean: bool) -> Tensor:
        x_BTJC = x_BTJC + self.attn_s(x_BTJC, self.norm1_s, keys.joints_N11J, lean)
        return x_BTJC + self.mlp_s(x_BTJC, self.norm2_s, lean)

    def _temporal(self, x_BTJC: Tensor, keys: Keys, lean: bool) -> Tensor:
        x_BTJC = x_BTJC + self.attn_t(x_BTJC.transpose(1, 2), self.norm1_t, keys.frames_N11T, lean).transpose(1, 2)
        return x_BTJC + self.mlp_t(x_BTJC, self.norm2_t, lean)


class Attention(nn.Module):
    """Multi-head self-attention within each group of tokens."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.proj = Linear(channels, channels)
        self.qkv = Linear(channels, 3 * channels)

    def forward(
        self, x_BGLC: Float[Tensor, "B G L C"], norm: nn.Module, keys_N11L: Bool[Tensor, "N 1 1 L"] | None, lean: bool
    ) -> Float[Tensor, "B G L C"]:
        """Return what is added to the residual; without ``keys_N11L`` a token attends to all tokens of its group."""
        with recomputed(norm, x_BGLC, lean) as normed_BGLC:
            qkv_BGLE = self.qkv(normed_BGLC)
        qkv_NL3HD = qkv_BGLE.flatten(0, 1).unflatten(-1, (3, self.num_heads, -1))
        query_NHLD, key_NHLD, value_NHLD = qkv_NL3HD.permute(2, 0, 3, 1, 4).unbind()
        mixed_NHLD = functional.scaled_dot_product_attention(query_NHLD, key_NHLD, value_NHLD, attn_mask=keys_N11L)
        return self.proj(mixed_NHLD.transpose(1, 2).flatten(2)).view(x_BGLC.shape)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU in between, applied to each token separately."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, hidden)
        self.fc2 = Linear(hidden, channels)

    def forward(self, x_BTJC: Float[Tensor, "B T J C"], norm: nn.Module, lean: bool) -> Float[Tensor, "B T J C"]:
        """Return what is added to the residual."""
        with recomputed(norm, x_BTJC, lean) as normed_BTJC:
            hidden_BTJH = self.fc1(normed_BTJC)
        with recomputed(functional.gelu, hidden_BTJH, lean) as active_BTJH:
            return self.fc2(active_BTJH)
