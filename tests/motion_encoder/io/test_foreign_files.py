"""The same network in the wrappings that people keep it in, and several networks in one file."""

import argparse
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from motion_encoder import ActionHeadConfig, ActionModel, DSTformer, DSTformerConfig, load
from motion_encoder.command_line import main

CONFIG = DSTformerConfig(dim_feat=16, depth=2, num_heads=2, dim_rep=8, max_frames=12)


def network(seed: int = 0) -> DSTformer:
    return DSTformer(CONFIG, torch.Generator().manual_seed(seed)).eval()


def action_network() -> ActionModel:
    generator = torch.Generator().manual_seed(0)
    return ActionModel(network(), ("walk", "wave"), ActionHeadConfig(hidden=4), generator).eval()


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


MMPOSE = {"pos_embed": "spat_embed", "ts_attn": "attn_regress", ".fc1.": ".0.", ".fc2.": ".2."}


def mmpose(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under MMPose's names; the table of all of them is tested elsewhere."""
    renamed = {}
    for name, tensor in tensors.items():
        for ours, theirs in MMPOSE.items():
            name = name.replace(ours, theirs)
        part = "head." if name.startswith("pre_logits") else "" if name.startswith("head") else "backbone."
        renamed[part + name.replace("head.", "head.fc.")] = tensor
    return renamed


class Lightning(nn.Module):
    """A training module that holds the network as an attribute, as Lightning's do."""

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__()
        for name, each in networks.items():
            setattr(self, name, each)


def compiled(model: nn.Module) -> nn.Module:
    wrapped = torch.compile(model, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


def with_optimizer(entry: str) -> Callable[[Mapping[str, Tensor]], dict[str, Any]]:
    return lambda tensors: {"epoch": 3, entry: tensors, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}


WRAPPINGS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "raw": lambda: network().state_dict(),
    "raw, DataParallel": lambda: nn.DataParallel(network()).state_dict(),
    "raw, compiled": lambda: compiled(network()).state_dict(),
    "raw, DataParallel of compiled": lambda: prefixed("module._orig_mod.", network().state_dict()),
    "raw, averaged": lambda: AveragedModel(network()).state_dict(),
    "official": lambda: with_optimizer("model_pos")(prefixed("module.", network().state_dict())),
    "other entry": lambda: with_optimizer("net")(network().state_dict()),
    "nested": lambda: {"ema": {"decay": 0.999, "shadow": network().state_dict()}},
    "Lightning": lambda: {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": Lightning(model=network()).state_dict(),
        "hyper_parameters": {"lr": 1e-3},
        "callbacks": {},
    },
    "Lightning of compiled": lambda: {"state_dict": prefixed("model._orig_mod.", network().state_dict())},
    "backbone": lambda: prefixed("backbone.", network().state_dict()),
    "MMPose": lambda: {"meta": {}, "state_dict": mmpose(network().state_dict())},
    "MMPose, raw": lambda: mmpose(network().state_dict()),
    "MMEngine's average": lambda: {
        "ema_state_dict": prefixed("module.", mmpose(network().state_dict())) | {"steps": torch.tensor(7)}
    },
    "arguments beside": lambda: {
        "args": argparse.Namespace(lr=1e-3, out=Path("runs/1")),
        "state_dict": network().state_dict(),
    },
    "optimizer by names": lambda: {
        "model": network().state_dict(),
        "optimizer": {"state": {name: {"step": 1} for name in network().state_dict()}},
    },
}


def write(path: Path, entries: Any) -> Path:
    torch.save(entries, path)
    return path


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_network_is_found(tmp_path, wrapping):
    model = load(write(tmp_path / "file", WRAPPINGS[wrapping]()), num_heads=2)
    assert isinstance(model, DSTformer)
    assert model.config == CONFIG
    assert same(model.state_dict(), network().state_dict())


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("published", [True, False])
def test_an_action_model_is_found(tmp_path, prefix, published):
    """Under the official names (backbone) it is a published model, with its means; under ours (encoder) it is not."""
    tensors = action_network().state_dict()
    if published:
        tensors = {name.replace("encoder.", "backbone."): tensor for name, tensor in tensors.items()}
    model = load(write(tmp_path / "file", prefixed(prefix, tensors)), num_heads=2, labels=("walk", "wave"))
    assert isinstance(model, ActionModel)
    assert model.head.config == ActionHeadConfig(hidden=4, published_means=published)
    assert same(model.state_dict(), action_network().state_dict())


def test_safetensors_of_others(tmp_path):
    safetensors.torch.save_file(prefixed("model.", network().state_dict()), tmp_path / "model.safetensors")
    assert same(load(tmp_path / "model.safetensors", num_heads=2).state_dict(), network().state_dict())


class TestSeveral:
    TWO = {  # noqa: RUF012
        "entries": (lambda one, two: {"state_dict": one, "ema": {"module": two}}, "state_dict", "ema/module"),
        "one state dict": (
            lambda one, two: {"state_dict": prefixed("model.", one) | prefixed("ema_model.module.", two)},
            "state_dict/model",
            "state_dict/ema_model.module",
        ),
        "one within the other": (lambda one, two: one | prefixed("ema.", two), "/", "ema"),
    }

    @pytest.mark.parametrize("case", TWO)
    def test_the_caller_says_which(self, tmp_path, case):
        wrap, first, second = self.TWO[case]
        path = write(tmp_path / "file", wrap(network(0).state_dict(), network(1).state_dict()))
        for seed, name in enumerate((first, second)):
            assert same(load(path, num_heads=2, weights=name).state_dict(), network(seed).state_dict())
        with pytest.raises(ValueError, match="file: 2 sets of weights: ") as caught:
            load(path, num_heads=2)
        assert f"{first}, {second}" in str(caught.value) or f"{second}, {first}" in str(caught.value)
        with pytest.raises(ValueError, match=r"weights: expected one of .*, found 'best'"):
            load(path, num_heads=2, weights="best")

    def test_on_the_command_line(self, tmp_path, capsys):
        entries = {"model": network(0).state_dict(), "model_ema": network(1).state_dict()}
        path = str(write(tmp_path / "file", entries))
        out = str(tmp_path / "out")
        assert main(["convert", path, out]) == 2
        assert "weights='model' (--weights model)" in capsys.readouterr().err
        assert main(["convert", path, out, "--num-heads", "2", "--weights", "model_ema"]) == 0
        assert same(load(out).state_dict(), network(1).state_dict())
        assert main(["inspect", path, "--weights", "model_ema"]) == 0
        assert "official file, tensors under 'model_ema', no prefix" in capsys.readouterr().out

    def test_of_our_own_files_there_is_one(self, tmp_path):
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"motion_encoder": "{}"})
        with pytest.raises(ValueError, match="weights is for official and MMPose files"):
            load(tmp_path / "a.safetensors", weights="model")


class TestRefused:
    def test_tensors_beside_the_network(self, tmp_path):
        model = network()
        module = Lightning(model=model, criterion=nn.Linear(1, 1))
        with pytest.raises(ValueError, match=r"to begin with 'model\.'.*criterion\.weight, criterion\.bias") as caught:
            load(write(tmp_path / "file", {"state_dict": module.state_dict()}))
        assert "torch.save(network.state_dict(), 'weights.bin')" in str(caught.value)
        write(tmp_path / "weights.bin", model.state_dict())
        assert same(load(tmp_path / "weights.bin", num_heads=2).state_dict(), network().state_dict())

    def test_another_network(self, tmp_path):
        entries = {"state_dict": OrderedDict(nn.Sequential(nn.Linear(1, 1)).state_dict()), "epoch": 1}
        with pytest.raises(ValueError, match=r"file: no DSTformer: .*found the tensors 0\.weight, 0\.bias"):
            load(write(tmp_path / "file", entries))

    def test_safetensors_of_another_network(self, tmp_path):
        safetensors.torch.save_file({"lm_head.weight": torch.ones(1)}, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=r"model\.safetensors: no DSTformer: .*the tensors lm_head\.weight"):
            load(tmp_path / "model.safetensors")

    def test_safetensors_that_are_cut(self, tmp_path):
        safetensors.torch.save_file(network().state_dict(), path := tmp_path / "model.safetensors")
        data = path.read_bytes()
        for length in (4, 9, 500, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match=r"model\.safetensors: "):
                load(path)

    def test_a_whole_network_is_code_and_the_fix_works(self, tmp_path):
        path = write(tmp_path / "file", network())
        with pytest.raises(ValueError, match=r"refers to .*DSTformer, which is code.*file\.state_dict\(\)"):
            load(path)
        file = torch.load(path, weights_only=False)
        torch.save(file.state_dict(), tmp_path / "weights.bin")
        assert same(load(tmp_path / "weights.bin", num_heads=2).state_dict(), network().state_dict())
