"""What the encoder's benchmark computes before and after it measures; its figures are not for tests."""

import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import encoder, published
from benchmarks.encoder import EncoderBenchmark, candidates, curve_cases, variations
from benchmarks.encoder_flops import TOLERANCE, check_flops, counted_flops, forward_flops, model_flops
from benchmarks.encoder_report import axis_results, exponent
from benchmarks.encoder_step import Case, Result, compare, measure_case
from benchmarks.measure import ChildError, Spread, in_child, interleave, markdown_table, products, replace_section
from motion_encoder import SIZES, DSTformerConfig

CHECKOUT = Path(__file__).parents[2]
TINY = Case(size="tiny", clips=2, frames=9, device="cpu")

# Stands for the published module: takes its arguments, and is our model, its output times SCALE.
PEER_MODULE = """
import torch
from torch import nn
from motion_encoder import DSTformer as Ours, DSTformerConfig

class DSTformer(Ours):
    def __init__(self, dim_in, dim_out, dim_feat, dim_rep, depth, num_heads, mlp_ratio, norm_layer, maxlen, num_joints):
        assert norm_layer(4).eps == 1e-6
        super().__init__(DSTformerConfig(in_channels=dim_in, out_channels=dim_out, dim_feat=dim_feat, dim_rep=dim_rep,
            depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, max_frames=maxlen, num_joints=num_joints),
            torch.Generator().manual_seed(5))

    def forward(self, x):
        return SCALE * super().forward(x)
"""


def checkout(folder: Path, module: str) -> Path:
    (folder / "lib" / "model").mkdir(parents=True)
    (folder / "lib" / "model" / "DSTformer.py").write_text(module)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads wait for each other in a loop: on a busy machine a small step takes a hundred times longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestOperations:
    @pytest.mark.parametrize(
        ("size", "linear", "attention"), [("motionbert", 174.4e9, 11.0e9), ("motionbert_lite", 65.5e9, 5.5e9)]
    )
    def test_published_sizes(self, size, linear, attention):
        flops = forward_flops(DSTformerConfig.of(SIZES[size]), clips=1, frames=243)
        assert flops == pytest.approx(2 * (linear + attention), abs=0.2e9)  # each rounded to 0.1e9, two per product

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("job", ["forward", "train"])
    def test_published_lengths_pass_the_check(self, size, job):
        check_flops(DSTformerConfig.of(SIZES[size]), clips=1, frames=243, job=job)

    def test_one_frame_of_one_joint_by_hand(self):
        config = DSTformerConfig(dim_feat=2, mlp_ratio=3.0, depth=1, num_heads=1, dim_rep=5, num_joints=1)
        # Products per token. qkv 2·6, projection 2·2, MLP 2·6 + 6·2, attention over one token 2 + 2: twice in each of
        # two blocks. Embedding 3·2, fusion 4·2, representation 2·5, head 5·3.
        assert forward_flops(config, clips=1, frames=1) == 2 * (4 * (12 + 4 + 24 + 4) + 6 + 8 + 10 + 15)

    @settings(max_examples=10, deadline=None)
    @given(
        heads=st.integers(1, 3),
        head_channels=st.integers(1, 8),
        ratio=st.sampled_from([1.0, 2.5, 4.0]),
        depth=st.integers(1, 3),
        joints=st.integers(1, 20),
        frames=st.integers(1, 12),
        clips=st.integers(1, 3),
    )
    def test_torch_counts_the_same(self, heads, head_channels, ratio, depth, joints, frames, clips):
        config = DSTformerConfig(
            dim_feat=2 * heads * head_channels, mlp_ratio=ratio, depth=depth, num_heads=heads, dim_rep=7,
            num_joints=joints, max_frames=12,
        )  # fmt: skip
        shape = {"clips": clips, "frames": frames}
        forward, train = (model_flops(config, **shape, job=job) for job in ("forward", "train"))
        gradient_of_input = 2 * clips * frames * joints * 3 * config.dim_feat
        assert forward == counted_flops(config, **shape, job="forward")
        assert train == 3 * forward == counted_flops(config, **shape, job="train") + gradient_of_input

    def test_a_wrong_formula_stops_the_run(self, monkeypatch):
        monkeypatch.setattr("benchmarks.encoder_flops.forward_flops", lambda *_, **__: 10**9)
        with pytest.raises(AssertionError, match="1000000000 operations by formula"):
            check_flops(DSTformerConfig.of(SIZES["tiny"]), clips=1, frames=9, job="forward")
        assert TOLERANCE < 0.01


class TestPublished:
    def test_imports_without_a_trace(self, tmp_path, monkeypatch):
        other = types.ModuleType("lib")
        monkeypatch.setitem(sys.modules, "lib", other)
        path = list(sys.path)
        folder = checkout(tmp_path, "SCALE = 1.0" + PEER_MODULE)
        assert published.published_class(folder).__name__ == "DSTformer"
        assert [name for name in sys.modules if name.split(".")[0] == "lib"] == ["lib"]
        assert sys.modules["lib"] is other
        assert sys.path == path

    def test_same_outputs(self, tmp_path):
        folder = checkout(tmp_path, "SCALE = 1.0" + PEER_MODULE)
        assert published.largest_difference(folder, DSTformerConfig.of(SIZES["tiny"]), frames=9, device="cpu") == 0

    @pytest.mark.parametrize("scale", ["1.01", "float('nan')"])
    def test_other_outputs(self, tmp_path, scale):
        folder = checkout(tmp_path, f"SCALE = {scale}" + PEER_MODULE)
        with pytest.raises(ValueError, match=r"expected equal outputs to 0.0001 .* found a difference of"):
            published.largest_difference(folder, DSTformerConfig.of(SIZES["tiny"]), frames=9, device="cpu")

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            ("class Other: pass", "no attribute 'DSTformer'"),
            ("import nowhere_at_all", "nowhere_at_all"),
            ("def", "syntax"),
        ],
    )
    def test_broken_module(self, tmp_path, module, message):
        path = list(sys.path)
        with pytest.raises(ValueError, match=f"expected a module with DSTformer in it, found: .*{message}"):
            published.published_class(checkout(tmp_path, module))
        assert sys.path == path

    def test_no_checkout(self, tmp_path):
        with pytest.raises(ValueError, match=r"found no lib/model/DSTformer.py"):
            published.published_class(tmp_path)


class TestMeasuring:
    def test_turns_alternate(self):
        calls: list[str] = []

        def step(name: str) -> None:
            calls.append(name)
            time.sleep(0.06)  # longer than a block: once per turn

        steps = {name: lambda name=name: step(name) for name in "AB"}
        times = interleave(steps, device="cpu", seconds=0.0, at_least=3)
        assert "".join(calls[2:]) == "ABABAB"
        assert all(len(each) == 3 and min(each) >= 0.06 for each in times.values())

    def test_short_steps_fill_a_block(self):
        calls: list[None] = []
        times = interleave({"A": lambda: calls.append(None)}, device="cpu", seconds=0.0, at_least=1)
        assert len(calls) > 1000
        assert times["A"][0] < 1e-4

    def test_products_are_products(self):
        for product in products([(6, 4, 5)], dtype=torch.float32, device="cpu").values():
            result = product.step()
            assert isinstance(result, torch.Tensor)
            assert result.shape == (6, 5)
            assert product.flops == 2 * 6 * 4 * 5

    def test_spread(self):
        assert Spread.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(low=2.0, median=3.0, high=4.0)

    def test_child_returns_or_says_why_not(self):
        assert in_child(max, [1, 3, 2], seconds=60) == 3
        with pytest.raises(ValueError, match="invalid literal"):
            in_child(int, "x", seconds=60)
        with pytest.raises(ChildError, match="ended with status 3"):
            in_child(os._exit, 3, seconds=60)

    def test_child_is_stopped(self):
        start = time.monotonic()
        with pytest.raises(ChildError, match="stopped after 1 s"):
            in_child(time.sleep, 600, seconds=1)
        assert time.monotonic() - start < 60

    @pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is known on Linux alone")
    def test_peak_memory_is_what_the_step_holds_at_once(self):
        code = """
import torch
from benchmarks.measure import peak_memory
def make_step():
    kept = torch.ones(25_000_000)
    def step():
        for _ in range(3):
            (kept + 1).sum()
    return step
print(peak_memory(make_step, "cpu")[1])
"""
        found = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert 195e6 < int(found.stdout) < 220e6  # what is kept, and one sum at a time: 100 MB each

    def test_a_case_and_a_comparison(self, tmp_path, one_thread):
        result = measure_case(TINY, 0.01)
        assert result.case == TINY
        assert result.seconds is not None
        assert result.ceiling_share is not None
        best_rate = result.product_rates[0][1]
        assert best_rate == max(rate for _, rate in result.product_rates)
        assert result.clips_per_s == 2 / result.seconds.median
        folder = checkout(tmp_path, "SCALE = 1.0" + PEER_MODULE)
        ours = [TINY, replace(TINY, recompute=True), replace(TINY, dtype="bfloat16")]
        found = compare([replace(TINY, peer=folder), *ours], 0.01)
        assert [each.case for each in found.ours] == ours
        assert found.largest_difference == 0
        assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in found.ratios)


class TestPlan:
    @pytest.mark.parametrize(("device", "clips"), [("cpu", 1), ("cuda", 64)])
    def test_one_thing_is_changed_at_a_time(self, device, clips):
        base = Case(size="motionbert", clips=clips, frames=243, device=device)
        known = candidates(base)
        cases = [*known, *variations(base, quick=False)]
        assert cases[0] == base
        assert len(set(cases)) == len(cases)
        assert {case.clips * case.frames for case in cases} == {243 * clips}
        assert {case.mode for case in cases} >= {"eager", "default"}
        for case in cases[1:]:
            changed = {name for name, value in vars(case).items() if value != getattr(base, name)}
            assert changed == {"clips", "frames"} or len(changed) == 1

    def test_variations_of_compiled_code_measure_nothing_twice(self):
        base = Case(size="motionbert", clips=64, frames=243, dtype="bfloat16", device="cuda")
        for best in candidates(base):
            cases = [*candidates(base), *variations(best, quick=False)]
            assert len(set(cases)) == len(cases)

    def test_base_on_a_cpu(self):
        base = EncoderBenchmark(device="cpu").base("motionbert")
        assert base == Case(size="motionbert", clips=1, frames=243, device="cpu")
        assert (base.dtype, base.mode, base.recompute, base.joints) == ("float32", "eager", False, 17)

    def test_curve_has_three_axes(self):
        base = Case(size="tiny", clips=8, frames=243, device="cpu")
        curve = [Result(case=case) for case in reversed(curve_cases(base))]
        values = {
            axis: [getattr(each.case, axis) for each in axis_results(curve, axis)]
            for axis in ("frames", "joints", "clips")
        }
        assert values == {"frames": [27, 81, 243], "joints": [9, 17, 34], "clips": [2, 4, 8]}

    def test_exponent(self):
        assert exponent([1, 2, 8], [3 * each**1.5 for each in (1, 2, 8)]) == pytest.approx(1.5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"clips": 0}, "--clips: expected a positive number, found 0"),
            ({"minutes_per_case": -1.0}, "--minutes-per-case: expected a positive number"),
            ({"frames": 244}, "--frames: expected 9 to 243, found 244"),
            ({"sizes": ("tiny", "tiny")}, "--sizes: expected different names"),
            ({"write": True, "quick": True}, "--write: expected a full measurement"),
            ({"mode": "default"}, "--mode: only has an effect with --profile"),
        ],
    )
    def test_mistakes(self, options, message):
        with pytest.raises(ValueError, match=message):
            EncoderBenchmark(**options)


class TestReport:
    def test_table(self):
        assert markdown_table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"

    def test_section_is_replaced_alone(self, tmp_path):
        file = tmp_path / "README.md"
        file.write_text("above\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n")
        for text in ("new\n", "newer"):
            replace_section(file, "a", text)
        expected = "above\n<!-- a -->\nnewer\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n"
        assert file.read_text() == expected

    @pytest.mark.parametrize(
        "text",
        ["", "<!-- a -->", "<!-- /a --><!-- a -->", "<!-- a --><!-- a --><!-- /a -->", "<!-- a --><!-- /a -->" * 2],
    )
    def test_section_without_its_marks(self, tmp_path, text):
        file = tmp_path / "README.md"
        file.write_text(text)
        with pytest.raises(ValueError, match="expected one section between <!-- a --> and <!-- /a -->"):
            replace_section(file, "a", "new")
        assert file.read_text() == text

    @pytest.mark.parametrize("kind", ["cpu", "cuda"])
    def test_our_readme_has_the_sections(self, tmp_path, kind):
        copy = tmp_path / "README.md"
        copy.write_text(encoder.README.read_text())
        replace_section(copy, f"encoder: {kind}", "figures of this machine")
        assert "figures of this machine" in copy.read_text()


@pytest.mark.slow
def test_the_command(tmp_path):
    folder = checkout(tmp_path, "SCALE = 1.0" + PEER_MODULE)
    command = [sys.executable, "-m", "benchmarks.encoder", "--quick", "--sizes", "tiny", "--peer", str(folder)]
    found = subprocess.run(
        [*command, "--device", "cpu", "--minutes", "5"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    for text in ("| tiny | train | 1 × 27 | float32 | eager |", "times as fast", "operations grow with power"):
        assert text in found.stdout
    assert "Not measured" not in found.stdout
