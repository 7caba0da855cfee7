"""Layers that save time and memory against those of PyTorch that they stand for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from motion_encoder.model import layers
from motion_encoder.model.layers import Linear, recomputed

# oneDNN's switch mentions a device that this build has not.
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def products_of_any_size(monkeypatch):
    monkeypatch.setattr(layers, "MIN_PRODUCT", 0)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def calls_of_onednn(layer: Linear, x: Tensor) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x)
    return sum(event.count for event in profile.key_averages() if event.key == "mkldnn::_linear_pointwise")


class TestLinear:
    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.integers(1, 5), min_size=0, max_size=3),
        st.integers(1, 40),
        st.integers(1, 40),
        st.booleans(),
        st.integers(0, 2**31),
    )
    def test_gives_the_values_and_gradients_of_a_linear_layer(self, lead, channels_in, channels_out, bias, seed):
        layer, x, grad = (
            Linear(channels_in, channels_out, bias),
            draw(*lead, channels_in, seed=seed),
            draw(*lead, channels_out, seed=seed + 1),
        )
        reference, exact = nn.Linear(channels_in, channels_out, bias, dtype=torch.float64), x.double()
        reference.load_state_dict(layer.state_dict())
        layer(x.requires_grad_()).backward(grad)
        reference(exact.requires_grad_()).backward(grad.double())
        torch.testing.assert_close(layer(x).double(), reference(exact), rtol=1e-5, atol=1e-5)
        assert x.grad is not None
        torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)
        for name, parameter in reference.named_parameters():
            found = layer.get_parameter(name).grad
            assert found is not None
            torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-5, atol=1e-5)

    def test_takes_transposed_tensors(self):
        layer, x = Linear(8, 4), draw(8, 3, 5).permute(1, 2, 0).requires_grad_()
        torch.testing.assert_close(layer(x), functional.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
        layer(x).transpose(0, 1).square().sum().backward()
        found = x.grad
        x.grad = None
        functional.linear(x, layer.weight, layer.bias).transpose(0, 1).square().sum().backward()
        torch.testing.assert_close(found, x.grad, rtol=1e-5, atol=1e-5)

    def test_frozen_parts_get_no_gradient(self):
        layer = Linear(8, 4).requires_grad_(False)
        x = draw(3, 8).requires_grad_()
        layer(x).sum().backward()
        assert layer.weight.grad is layer.bias.grad is None
        torch.testing.assert_close(x.grad, layer.weight.sum(dim=0).expand(3, 8), rtol=1e-5, atol=1e-5)
        layer.weight.requires_grad_()
        layer(draw(3, 8)).sum().backward()
        torch.testing.assert_close(layer.weight.grad, draw(3, 8).sum(dim=0).expand(4, 8), rtol=1e-5, atol=1e-5)

    def test_onednn_is_used_where_it_pays_and_nowhere_else(self, monkeypatch):
        layer, x = Linear(8, 4), draw(3, 8)
        assert calls_of_onednn(layer, x) == 1
        with torch.backends.mkldnn.flags(enabled=False):
            assert calls_of_onednn(layer, x) == 0
        with torch.autocast("cpu", torch.bfloat16):
            assert calls_of_onednn(layer, x) == 0
            assert layer(x).dtype == torch.bfloat16
        assert calls_of_onednn(layer.double(), x.double()) == 0
        monkeypatch.setattr(layers, "MIN_PRODUCT", 3 * 8 * 4 + 1)
        assert calls_of_onednn(Linear(8, 4), x) == 0

    def test_second_derivatives_are_refused_rather_than_wrong(self):
        layer, x = Linear(8, 4), draw(3, 8).requires_grad_()
        (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
        with torch.backends.mkldnn.flags(enabled=False):
            (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
            first.sum().backward()


class TestRecomputed:
    def keep_and_differentiate(self, lean: bool) -> tuple[int, list[Tensor]]:
        """How often the function ran, and all gradients."""
        norm, linear, calls = nn.LayerNorm(6), Linear(6, 4), []
        with torch.no_grad():
            for parameter in (*norm.parameters(), *linear.parameters()):
                parameter.copy_(draw(*parameter.shape))

        def counted(x: Tensor) -> Tensor:
            calls.append(x)
            return norm(x)

        x = draw(2, 5, 6).requires_grad_()
        with recomputed(counted, x, lean) as normed:
            output = linear(normed)
        output.square().sum().backward()
        assert x.grad is not None
        found = [parameter.grad for parameter in (*norm.parameters(), *linear.parameters())]
        return len(calls), [x.grad, *(each for each in found if each is not None)]

    def test_gives_the_same_gradients(self):
        once, expected = self.keep_and_differentiate(lean=False)
        twice, found = self.keep_and_differentiate(lean=True)
        assert (once, twice) == (1, 2)
        assert len(found) == len(expected) == 5
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))

    def test_without_gradients_nothing_is_made_twice(self):
        calls = []
        with torch.no_grad(), recomputed(lambda x: calls.append(x) or x + 1, draw(3, 3)) as made:
            assert torch.equal(made, draw(3, 3) + 1)
        assert len(calls) == 1

    def test_what_is_used_beside_it_is_kept_as_ever(self):
        x, other = draw(4, 4).requires_grad_(), draw(4, 4, seed=1).requires_grad_()
        with recomputed(torch.sin, x) as made:
            product = made * other
        product.sum().backward()
        torch.testing.assert_close(other.grad, x.detach().sin())
        torch.testing.assert_close(x.grad, other.detach() * x.detach().cos())
