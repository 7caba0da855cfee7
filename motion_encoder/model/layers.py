"""Layers that are faster and need less memory in eager mode, with the same results.

- ``Linear`` computes float32 products on the CPU with oneDNN. PyTorch uses MKL, which runs at half that speed on AMD
  processors (``benchmarks/README.md``); both libraries are in every x86 build of PyTorch.
- ``recomputed`` does not save the result of a cheap function for the backward pass, but recomputes it there. Without
  it, the input of every linear layer is saved, including normalised and activated copies: a third of all saved memory.

Both do nothing under a compiler (``torch.compile``, ``torch.export``), which makes such choices itself, and under
``torch.func``. Under autocast, the copies in lower precision are saved as usual.

Shapes: N tokens, C channels in, D channels out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

MIN_PRODUCT = 2**23
"""Number of multiplications (N × C × D) below which oneDNN's overhead, about 20 µs per call, exceeds its gain."""


class Linear(nn.Linear):
    """``nn.Linear`` that uses oneDNN for float32 on the CPU.

    ``torch.backends.mkldnn.flags(enabled=False)`` switches back to PyTorch's own products.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input @ weight.T + bias``."""
        if _onednn_pays(input, self.weight):
            return _OneDNNLinear.apply(input, self.weight, self.bias)
        return super().forward(input)


def _onednn_pays(x: Tensor, weight: Tensor) -> bool:
    return bool(
        not _traced()
        and x.device.type == "cpu"
        and x.dtype is weight.dtype is torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() * weight.shape[0] >= MIN_PRODUCT
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def _traced() -> bool:
    """Return whether a compiler or ``torch.func`` traces the code, with tensors that have no memory."""
    functional = torch._C._functorch.peek_interpreter_stack()  # pyright: ignore[reportAttributeAccessIssue]
    return torch.compiler.is_compiling() or functional is not None


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer whose forward and backward pass are three matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator loses the names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        grad_ND, x_NC = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(grad_ND, weight.t()).view(x.shape) if needs_x else None,
            _transposed_product(grad_ND, x_NC) if needs_weight else None,
            grad_ND.sum(dim=0) if needs_bias else None,
        )


def _product(a_NC: Tensor, b_DC: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a bᵀ + bias."""
    return torch.ops.mkldnn._linear_pointwise(a_NC, b_DC, bias, "none", [], "")


def _transposed_product(a_ND: Tensor, b_NC: Tensor) -> Tensor:
    """Return aᵀ b. oneDNN copies a transposed first operand, so the smaller operand is put first."""
    if a_ND.shape[1] > b_NC.shape[1]:
        return _product(b_NC.t(), a_ND.t()).t()
    return _product(a_ND.t(), b_NC.t())


@contextmanager
def recomputed(function: Callable[[Tensor], Tensor], x: Tensor, lean: bool = True) -> Iterator[Tensor]:
    """Yield ``function(x)``. Inside the ``with`` block, operations save ``x`` for the backward pass instead of it.

    Args:
        function: a cheap function with a contiguous result that depends only on ``x`` and weights.
        x: the argument, which another operation saves in any case.
        lean: recompute the result in the backward pass instead of saving it. Must be False inside
            ``torch.utils.checkpoint``, because PyTorch only uses the innermost saved-tensor hooks.
    """
    made = function(x)
    if not lean or _traced() or not made.requires_grad:
        yield made
        return
    pointer, size = made.data_ptr(), made.numel()

    def pack(tensor: Tensor) -> Tensor | torch.Size:
        is_made = tensor.data_ptr() == pointer and tensor.numel() == size and tensor.is_contiguous()
        return tensor.shape if is_made else tensor

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad():
            return function(x.detach()).view(kept)

    with saved_tensors_hooks(pack, unpack):
        yield made
