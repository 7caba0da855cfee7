"""DSTformer against the published numbers, and the laws of the architecture."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from motion_encoder import SIZES, DSTformer, DSTformerConfig
from motion_encoder.model import layers

DATA = Path(__file__).parents[2] / "data"
SMALL = DSTformerConfig(dim_feat=16, depth=2, num_heads=2, dim_rep=8, max_frames=12)


def small_model(seed: int = 0) -> DSTformer:
    """Random in every parameter, so that no part is an identity or symmetric."""
    generator = torch.Generator().manual_seed(seed)
    model = DSTformer(SMALL, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def clips(num_clips: int, num_frames: int, seed: int = 1) -> Tensor:
    return torch.randn(num_clips, num_frames, 17, 3, generator=torch.Generator().manual_seed(seed))


def gradients(model: DSTformer) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
    }


class Allocations(TorchDispatchMode):
    """Notes the memory that each operator's results lie in."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, Tensor):
                self.sizes[StorageWeakRef(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        return results

    def alive(self) -> int:
        """Bytes that are still held."""
        return sum(size for storage, size in self.sizes.items() if not storage.expired())


def published(name: str) -> tuple[DSTformer, dict[str, Tensor], dict[str, Any]]:
    """The model of a fixture with its published weights loaded, those weights, and the fixture's arrays."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    sizes = json.loads(str(arrays.pop("config")))
    sizes |= {"mlp_ratio": float(sizes["mlp_ratio"]), "max_frames": sizes.pop("maxlen")}
    model = DSTformer(DSTformerConfig(**sizes), torch.Generator())
    checkpoint = torch.load(DATA / f"{name}.bin", weights_only=True)["model_pos"]
    weights = {key.removeprefix("module."): value for key, value in checkpoint.items()}
    model.load_state_dict(weights)
    return model, weights, {key: torch.from_numpy(value) for key, value in arrays.items()}


class TestPublished:
    @pytest.mark.parametrize("products", ["PyTorch's", "oneDNN's"])
    @pytest.mark.parametrize("name", ["small", "small_lite"])
    def test_outputs_and_representations(self, name, products, monkeypatch):
        monkeypatch.setattr(layers, "MIN_PRODUCT", 0 if products == "oneDNN's" else 2**60)
        model, _, arrays = published(name)
        lengths = [key.removeprefix("x_") for key in arrays if key.startswith("x_")]
        assert len(lengths) == 3
        for length in lengths:
            with torch.no_grad():
                output, representation = model(arrays[f"x_{length}"]), model.encode(arrays[f"x_{length}"])
            torch.testing.assert_close(output, arrays[f"y_{length}"], rtol=0, atol=1e-5)
            torch.testing.assert_close(representation, arrays[f"rep_{length}"], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["small", "small_lite"])
    def test_parameters_have_the_published_names_in_the_published_order(self, name):
        model, weights, _ = published(name)
        assert list(model.state_dict()) == list(weights)
        assert [key for key, _ in model.named_parameters()] == list(weights)

    @pytest.mark.parametrize(("name", "count"), [("motionbert", 42_466_317), ("motionbert_lite", 16_001_549)])
    def test_sizes(self, name, count):
        with torch.device("meta"):
            model = DSTformer(SIZES[name], torch.Generator())
        assert sum(parameter.numel() for parameter in model.parameters()) == count
        assert len(model.state_dict()) == 260

    def test_tiny_is_for_laptops(self):
        model = DSTformer(SIZES["tiny"], torch.Generator())
        assert sum(parameter.numel() for parameter in model.parameters()) == 79_431
        assert model.config.max_frames == 243


class TestInitialisation:
    @pytest.mark.parametrize("std", [0.02, 0.1])
    def test_is_as_published_with_the_spread_that_is_asked_for(self, std):
        config = DSTformerConfig(dim_feat=64, depth=2, num_heads=4, init_std=std)
        weights = DSTformer(config, torch.Generator().manual_seed(0)).state_dict()
        for name, tensor in weights.items():
            if name.startswith("ts_attn"):
                assert (tensor == (0.5 if name.endswith("bias") else 0)).all(), name
            elif "norm" in name:
                assert (tensor == (0 if name.endswith("bias") else 1)).all(), name
            elif name.endswith("bias"):
                assert (tensor == 0).all(), name
            else:  # the standard error of a standard deviation of n draws is about std / sqrt(2 n)
                assert abs(tensor.std().item() - std) < 5 * std / (2 * tensor.numel()) ** 0.5, name
                assert abs(tensor.mean().item()) < 5 * std / tensor.numel() ** 0.5, name

    def test_the_default_spread_is_the_published_one(self):
        assert DSTformerConfig().init_std == 0.02

    def test_only_the_generator_decides(self):
        torch.manual_seed(1)
        one = DSTformer(SMALL, torch.Generator().manual_seed(7)).state_dict()
        torch.manual_seed(2)
        same = DSTformer(SMALL, torch.Generator().manual_seed(7)).state_dict()
        other = DSTformer(SMALL, torch.Generator().manual_seed(8)).state_dict()
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["head.weight"], other["head.weight"])


class TestLaws:
    """Where many cases are tried, in float64: a law is exact, and rounding is not what is in question."""

    def test_gradient_reaches_every_parameter(self):
        model = small_model()
        model(clips(2, 5)).square().sum().backward()
        assert {name for name, gradient in gradients(model).items() if not gradient.abs().sum() > 0} == set()

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.integers(1, 12), min_size=1, max_size=4),
        st.integers(0, 2**31),
        st.sampled_from([0.0, 1e4, 1e30, float("inf"), float("nan")]),
    )
    def test_padding_does_not_matter(self, lengths, seed, filler):
        model, longest = small_model().double(), max(lengths)
        x_BTJC = clips(len(lengths), longest, seed).double()
        valid_BT = torch.arange(longest) < torch.tensor(lengths)[:, None]
        padded_BTJC = torch.where(valid_BT[..., None, None], x_BTJC, filler)
        with torch.no_grad():
            batch_BTJ3 = model(padded_BTJC, valid_BT)
            for clip, length in enumerate(lengths):
                alone_1TJ3 = model(x_BTJC[clip : clip + 1, :length])
                torch.testing.assert_close(batch_BTJ3[clip, :length], alone_1TJ3[0], rtol=0, atol=1e-5)

    def test_a_gap_is_not_attended_to(self):
        model, x_BTJC = small_model(), clips(1, 8)
        valid_BT = torch.tensor([[True, True, False, False, True, True, True, False]])
        changed_BTJC = torch.where(valid_BT[..., None, None], x_BTJC, 5.0)
        with torch.no_grad():
            one, other = model(x_BTJC, valid_BT), model(changed_BTJC, valid_BT)
        torch.testing.assert_close(one[valid_BT], other[valid_BT], rtol=0, atol=1e-5)
        assert not torch.allclose(one[valid_BT], model(x_BTJC)[valid_BT], atol=1e-3)

    def test_all_frames_valid_is_no_mask(self):
        model, x_BTJC = small_model(), clips(2, 6)
        with torch.no_grad():
            masked = model(x_BTJC, torch.ones(2, 6, dtype=torch.bool))
            torch.testing.assert_close(masked, model(x_BTJC), rtol=0, atol=1e-5)

    def test_no_gradient_comes_out_of_padding(self):
        model, x_BTJC = small_model(), clips(1, 6)
        valid_BT = torch.tensor([[True] * 4 + [False] * 2])
        model(torch.where(valid_BT[..., None, None], x_BTJC, torch.nan), valid_BT)[valid_BT].sum().backward()
        assert all(gradient.isfinite().all() for gradient in gradients(model).values())

    def test_a_clip_of_padding_alone_stays_finite(self):
        model, x_BTJC = small_model(), clips(2, 4)
        output = model(x_BTJC, torch.tensor([[True] * 4, [False] * 4]))
        output[0].sum().backward()
        assert output[1].isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients(model).values())

    @settings(max_examples=25, deadline=None)
    @given(st.data(), st.integers(0, 2**31), st.sampled_from([0.0, 1e4, 1e30, float("inf"), float("nan")]))
    def test_a_skeleton_of_fewer_joints_is_as_if_the_others_were_not(self, data, seed, filler):
        joints = data.draw(st.lists(st.integers(0, 16), min_size=1, max_size=16, unique=True).map(sorted))
        frames = data.draw(st.integers(1, 6))
        model, x_BTJC = small_model().double(), clips(1, 6, seed).double()
        valid_BTJ = torch.zeros(1, 6, 17, dtype=torch.bool)
        valid_BTJ[:, :frames, joints] = True
        fewer = DSTformer(replace(SMALL, num_joints=len(joints)), torch.Generator()).double()
        fewer.load_state_dict({**model.state_dict(), "pos_embed": model.pos_embed.detach()[:, joints]})
        with torch.no_grad():
            masked_BTJ3 = model(torch.where(valid_BTJ[..., None], x_BTJC, filler), valid_BTJ)
            alone_BTJ3 = fewer(x_BTJC[:, :frames, joints])
        torch.testing.assert_close(masked_BTJ3[:, :frames, joints], alone_BTJ3, rtol=0, atol=1e-5)

    def test_joints_may_come_and_go(self):
        model, x_BTJC = small_model(), clips(2, 6)
        valid_BTJ = torch.rand(2, 6, 17, generator=torch.Generator().manual_seed(2)) < 0.6
        changed_BTJC = torch.where(valid_BTJ[..., None], x_BTJC, 5.0)
        with torch.no_grad():
            one, other = model(x_BTJC, valid_BTJ), model(changed_BTJC, valid_BTJ)
        torch.testing.assert_close(one[valid_BTJ], other[valid_BTJ], rtol=0, atol=1e-5)
        assert one.isfinite().all()

    def test_a_mask_of_joints_says_what_a_mask_of_frames_says(self):
        model, x_BTJC = small_model(), clips(2, 6)
        valid_BT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        with torch.no_grad():
            by_frame, by_joint = model(x_BTJC, valid_BT), model(x_BTJC, valid_BT[..., None].expand(-1, -1, 17))
        torch.testing.assert_close(by_frame[valid_BT], by_joint[valid_BT], rtol=0, atol=1e-5)

    def test_without_learned_fusion_the_streams_count_alike(self):
        """As published with ``att_fuse`` False: a learned fusion at its start is that mean."""
        learned = small_model()
        for weigh in learned.ts_attn:
            assert isinstance(weigh, torch.nn.Linear)
            torch.nn.init.zeros_(weigh.weight)
            torch.nn.init.constant_(weigh.bias, 0.5)
        mean = DSTformer(replace(SMALL, learned_fusion=False), torch.Generator())
        mean.load_state_dict({k: v for k, v in learned.state_dict().items() if not k.startswith("ts_attn")})
        with torch.no_grad():
            torch.testing.assert_close(mean(clips(2, 5)), learned(clips(2, 5)), rtol=0, atol=1e-6)

    def test_clips_do_not_see_each_other(self):
        model, x_BTJC = small_model(), clips(4, 6)
        order = [2, 0, 3, 1]
        with torch.no_grad():
            torch.testing.assert_close(model(x_BTJC)[order], model(x_BTJC[order]), rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("axis", "embedding"), [(1, "temp_embed"), (2, "pos_embed")])
    def test_only_embeddings_tell_frames_and_joints_apart(self, axis, embedding):
        model, x_BTJC = small_model(), clips(2, 6)
        order = torch.randperm(x_BTJC.shape[axis], generator=torch.Generator().manual_seed(3))
        shuffled_BTJC = x_BTJC.index_select(axis, order)
        with torch.no_grad():
            assert not torch.allclose(model(shuffled_BTJC), model(x_BTJC).index_select(axis, order), atol=1e-3)
            model.get_parameter(embedding).zero_()
            torch.testing.assert_close(model(shuffled_BTJC), model(x_BTJC).index_select(axis, order), rtol=0, atol=1e-5)

    def test_representation_is_bounded_and_feeds_the_head(self):
        model, x_BTJC = small_model(), 100 * clips(2, 1)
        with torch.no_grad():
            rep_BTJR = model.encode(x_BTJC)
            assert rep_BTJR.shape == (2, 1, 17, SMALL.dim_rep)
            assert rep_BTJR.abs().max() <= 1
            torch.testing.assert_close(model.head(rep_BTJR), model(x_BTJC))

    def test_bfloat16(self):
        model, x_BTJC = small_model(), clips(2, 6)
        with torch.no_grad():
            exact = model(x_BTJC)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = model(x_BTJC, torch.ones(2, 6, dtype=torch.bool))
        assert rounded.dtype == torch.bfloat16
        assert (rounded - exact).square().mean().sqrt() < 0.05 * exact.std()


class TestLongerClips:
    def test_the_embedding_is_stretched(self):
        model = small_model()
        longer = model.with_max_frames(23)  # twice as many steps between positions: each second one is an old one
        assert longer.config == replace(SMALL, max_frames=23)
        torch.testing.assert_close(longer.temp_embed[:, ::2], model.temp_embed, rtol=0, atol=1e-6)
        halfway = (model.temp_embed[:, :-1] + model.temp_embed[:, 1:]) / 2
        torch.testing.assert_close(longer.temp_embed[:, 1::2], halfway, rtol=0, atol=1e-6)

    def test_all_else_is_shared_and_it_runs(self):
        model = small_model()
        longer = model.with_max_frames(30)
        assert longer(clips(1, 30)).shape == (1, 30, 17, 3)
        assert not longer.training
        for name, parameter in model.named_parameters():
            assert (longer.get_parameter(name) is parameter) == (name != "temp_embed")

    def test_what_was_frozen_stays_frozen(self):
        model = small_model()
        frozen = {"temp_embed", "head.weight"}
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)
        for each in (model.with_max_frames(20), model):
            assert {name for name, weight in each.named_parameters() if not weight.requires_grad} == frozen

    def test_fewer_frames_are_no_stretch(self):
        with pytest.raises(ValueError, match=r"more than the 12 frames .* found 12"):
            small_model().with_max_frames(12)


class TestMemory:
    @pytest.mark.parametrize("learned_fusion", [True, False])
    def test_recomputed_blocks_give_the_same_gradients(self, learned_fusion):
        model = DSTformer(replace(SMALL, learned_fusion=learned_fusion), torch.Generator().manual_seed(0))
        x_BTJC, valid_BT = clips(2, 6), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        model(x_BTJC, valid_BT)[valid_BT].square().sum().backward()
        expected = {name: gradient.clone() for name, gradient in gradients(model).items()}
        model.zero_grad()
        model.activation_checkpointing = True
        model(x_BTJC, valid_BT)[valid_BT].square().sum().backward()
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7, msg=name)

    def test_what_is_kept_for_the_backward_pass(self):
        """Per token: 8 C for each attention and its MLP (ratio 2), 2 C and 2 for each fusion, and little else."""
        config = DSTformerConfig(dim_feat=64, depth=3, num_heads=4, dim_rep=64, max_frames=32)
        model = DSTformer(config, torch.Generator().manual_seed(0))
        unit = 4 * 32 * 17 * 64  # numbers in one residual of 4 clips

        def kept(activation_checkpointing: bool) -> float:
            model.activation_checkpointing = activation_checkpointing
            x_BTJC = clips(4, 32)
            with Allocations() as allocations:
                output = model(x_BTJC)
            assert output.requires_grad
            return allocations.alive() / 4 / unit / config.depth

        assert 4 * 8 + 2 <= kept(activation_checkpointing=False) < 4 * 8 + 4
        assert 3 <= kept(activation_checkpointing=True) < 5


COMPILED = """
import sys, torch
from motion_encoder import DSTformer, DSTformerConfig

graphs = []
model = DSTformer(DSTformerConfig(dim_feat=16, depth=2, num_heads=2, dim_rep=8, max_frames=12), torch.Generator())
model.activation_checkpointing = sys.argv[1] == "activation_checkpointing"
count = lambda graph, inputs: graphs.append(graph) or graph
compiled = torch.compile(model, backend=count, dynamic=True, fullgraph=True)
for clips, frames in ((2, 4), (2, 5), (3, 12), (4, 7)):
    x_BTJC = torch.randn(clips, frames, 17, 3)
    torch.testing.assert_close(compiled(x_BTJC), model(x_BTJC), rtol=0, atol=1e-5)
assert len(graphs) == 1, len(graphs)
for clips, frames in ((2, 6), (3, 8)):
    x_BTJC, valid_BT = torch.randn(clips, frames, 17, 3), torch.rand(clips, frames) < 0.8
    torch.testing.assert_close(compiled(x_BTJC, valid_BT), model(x_BTJC, valid_BT), rtol=0, atol=1e-5)
    compiled(x_BTJC, valid_BT).sum().backward()
assert len(graphs) == 2, len(graphs)
"""


@pytest.mark.parametrize("option", ["plain", "activation_checkpointing"])
def test_one_compiled_graph_serves_every_length(option):
    """In a process of its own: the checks of types in these tests cannot be traced."""
    child = subprocess.run([sys.executable, "-c", COMPILED, option], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


def test_two_runs_give_the_same_bits_where_determinism_is_asked_for():
    def trained() -> list[Tensor]:
        model = small_model()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for step in range(3):
            model(clips(3, 9, step)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return list(model.parameters())

    torch.use_deterministic_algorithms(True)
    try:
        assert all(torch.equal(one, other) for one, other in zip(trained(), trained(), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_functional_gradients_are_the_gradients(monkeypatch):
    monkeypatch.setattr(layers, "MIN_PRODUCT", 0)
    model, x_BTJC = small_model(), clips(2, 5)
    model(x_BTJC).square().sum().backward()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    found = torch.func.grad(lambda w: torch.func.functional_call(model, w, (x_BTJC,)).square().sum())(weights)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)


class TestErrors:
    @pytest.mark.parametrize("num_frames", [0, 13])
    def test_length(self, num_frames):
        with pytest.raises(ValueError, match=rf"1 to 12 frames, found {num_frames}.*overlapping windows"):
            small_model()(clips(1, num_frames))

    @pytest.mark.parametrize("shape", [(1, 4, 19, 3), (1, 4, 17, 2)])
    def test_shape(self, shape):
        with pytest.raises(ValueError, match=r"expected \[clips, frames, 17, 3\], found"):
            small_model()(torch.zeros(shape))

    @pytest.mark.parametrize("valid", [torch.ones(1, 4), torch.ones(1, 5, dtype=torch.bool)])
    def test_mask(self, valid):
        model = small_model()
        with pytest.raises(ValueError, match=r"expected a mask of torch.bool \[1, 4\] or \[1, 4, 17\], found"):
            model._check(clips(1, 4), valid)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mlp_ratio": float("inf")}, "encoder.mlp_ratio: .*found inf"),
            ({"mlp_ratio": 1e-9}, "encoder.mlp_ratio: .*one hidden channel"),
            ({"dim_feat": 10**15}, "encoder.dim_feat: .*up to 1,048,576"),
            ({"depth": 10**6}, "encoder.depth: .*at most 1000"),
            ({"depth": 0}, "encoder.depth: .*found 0"),
            ({"num_heads": 7}, "encoder.num_heads: .*divisor of dim_feat 512"),
        ],
    )
    def test_config(self, changes, message):
        with pytest.raises(ValueError, match=message):
            DSTformerConfig(**changes)
