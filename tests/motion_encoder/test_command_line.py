"""The command ``motion-encoder``: what it writes, what it says, and how it fails."""

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motion_encoder import (
    SIZES,
    ActionHeadConfig,
    ActionModel,
    DSTformer,
    DSTformerConfig,
    ModelCard,
    load,
    save,
    save_file,
    save_mmpose,
    save_official,
)
from motion_encoder.command_line import main
from motion_encoder.metrics import Protocol, Score

CHECKOUT = Path(__file__).parents[2]
SMALL = CHECKOUT / "tests" / "data" / "small.bin"
PROTOCOL = Protocol(metric="top1", input="projected-2d", clip_frames=12, split="test", data="1a2b")
CARD = ModelCard(
    licences={"cmu": "free for research"},
    scores=(Score(protocol=PROTOCOL, value=0.75, higher_is_better=True),),
    facts={"steps": 300},
)


def encoder(num_joints: int = 17) -> DSTformer:
    config = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=8, max_frames=12, num_joints=num_joints)
    return DSTformer(config, torch.Generator().manual_seed(0)).eval()


def action_model() -> ActionModel:
    generator = torch.Generator().manual_seed(0)
    return ActionModel(encoder(), ("walk", "wave"), ActionHeadConfig(hidden=4), generator).eval()


def action_file(path: Path) -> Path:
    """As the published code writes it."""
    model = action_model()
    tensors = {f"module.backbone.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    tensors |= {f"module.head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    torch.save({"epoch": 3, "lr": [1e-4, 1e-3], "model": tensors, "best_acc": np.float64(80.5)}, path)
    return path


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def run(*arguments: Any) -> int:
    return main([str(argument) for argument in arguments])


def failure(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run to an error: status 2, one line on stderr, and nothing else."""
    capsys.readouterr()
    try:
        status = run(*arguments)
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("motion-encoder")
    assert err.count("\n") == 1
    return err


class TestConvert:
    @pytest.mark.parametrize(("options", "warnings"), [([], 1), (["--num-heads", 4], 0)])
    def test_says_that_it_assumed_the_number_of_heads(self, tmp_path, caplog, options, warnings):
        assert run("convert", SMALL, tmp_path / "model", *options) == 0
        assert [f"{SMALL}: 8 attention heads assumed" in message for message in caplog.messages] == [True] * warnings

    def test_goes_round_through_all_formats(self, tmp_path, capsys):
        """The folder says what was known at the start; the published tensors are at the end as they were."""
        places = [SMALL, *(tmp_path / name for name in ("folder", "b.safetensors", "c.pth", "again", "d.bin"))]
        assert run("convert", places[0], places[1], "--num-heads", 4) == 0
        for source, target in pairwise(places[1:]):
            assert run("convert", source, target) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{places[1]}: model folder, pose3d, 71,943 parameters, 4 heads",
            f"{places[2]}: one safetensors file, pose3d, 71,943 parameters, 4 heads",
            f"{places[3]}: MMPose file, pose3d, 71,943 parameters, 4 heads",
            f"{places[4]}: model folder, pose3d, 71,943 parameters, 4 heads",
            f"{places[5]}: official file, pose3d, 71,943 parameters, 4 heads",
        ]
        first, last = (torch.load(path, weights_only=True)["model_pos"] for path in (SMALL, places[-1]))
        assert list(first) == list(last)
        assert all(torch.equal(first[name], last[name]) for name in first)
        model = load(places[-1])
        assert isinstance(model, DSTformer)
        assert model.config.num_heads == 4

    @pytest.mark.parametrize("task", ["encoder", "pose3d"])
    @pytest.mark.parametrize("output", ["folder", "a.safetensors", "a.bin", "a.pth"])
    def test_task_and_card_travel(self, tmp_path, task, output):
        save(tmp_path / "model", encoder(), task=task, card=CARD)
        assert run("convert", tmp_path / "model", tmp_path / output) == 0
        assert run("convert", tmp_path / output, tmp_path / "back") == 0
        assert load(tmp_path / "back").card == CARD
        assert json.loads((tmp_path / "back" / "model.json").read_text())["task"] == task

    def test_an_action_file_gets_its_labels(self, tmp_path):
        (tmp_path / "labels.txt").write_text("walk\nwave\n")
        source = action_file(tmp_path / "best.bin")
        assert run("convert", source, tmp_path / "model", "--num-heads", 2, "--labels", tmp_path / "labels.txt") == 0
        model = load(tmp_path / "model")
        assert isinstance(model, ActionModel)
        assert model.labels == ("walk", "wave")
        assert model.head.config.published_means
        assert same_weights(model, action_model())

    def test_the_encoder_alone(self, tmp_path):
        save(tmp_path / "model", action_model(), task="action", card=CARD)
        assert run("convert", tmp_path / "model", tmp_path / "encoder.pth", "--part", "encoder") == 0
        assert same_weights(load(tmp_path / "encoder.pth"), encoder())

    @pytest.mark.parametrize(("options", "prefix"), [([], "module."), (["--without-module-prefix"], "")])
    def test_the_prefix(self, tmp_path, options, prefix):
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        assert run("convert", tmp_path / "model", tmp_path / "a.bin", *options) == 0
        names = torch.load(tmp_path / "a.bin", weights_only=True)["model_pos"]
        assert list(names) == [prefix + name for name in encoder().state_dict()]

    def test_to_overrules_the_suffix(self, tmp_path):
        for target in ("folder", "safetensors", "official", "mmpose"):
            assert run("convert", SMALL, tmp_path / f"{target}.v1.2", "--to", target, "--num-heads", 4) == 0
            assert same_weights(load(tmp_path / f"{target}.v1.2"), load(SMALL))
        assert (tmp_path / "folder.v1.2").is_dir()

    @pytest.mark.parametrize("output", ["folder", "a.safetensors", "a.bin", "a.pth"])
    def test_replaces_only_when_told(self, tmp_path, capsys, output):
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        assert run("convert", SMALL, tmp_path / output, "--num-heads", 4) == 0
        assert "already exists. Pass --overwrite" in failure(capsys, "convert", tmp_path / "model", tmp_path / output)
        assert same_weights(load(tmp_path / output), load(SMALL))
        assert run("convert", tmp_path / "model", tmp_path / output, "--overwrite") == 0
        assert same_weights(load(tmp_path / output), encoder())

    def test_in_place(self, tmp_path):
        save_official(tmp_path / "a.bin", encoder(), task="pose3d", card=CARD)
        assert run("convert", tmp_path / "a.bin", tmp_path / "a.bin", "--overwrite", "--to", "mmpose") == 0
        assert same_weights(load(tmp_path / "a.bin"), encoder())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["gone", "out"], "gone: no such folder or file"),
            (["{small}", "out.onnx"], r"out.onnx: expected no suffix (a folder) or one of .safetensors, .bin, .pth"),
            (["{small}", "s3://bucket/out"], "expected a local path as OUT"),
            (["{small}", "out", "--without-module-prefix"], "--without-module-prefix is only for official files"),
            (["{small}", "out", "--num-heads", "5"], "divisor of the 32 channels, found 5"),
            (["{small}", "out", "--part", "encoder"], "leave part out"),
            (["{small}", "out", "--part", "head"], "invalid choice: 'head'"),
            (["{small}", "out", "--labels", "{labels}"], "labels are for action models"),
            (["{small}", "out", "--labels", "gone.txt"], "gone.txt"),
            (["{model}", "out", "--num-heads", "2"], "a model of this library states it"),
            (["{model}", "out", "--labels", "{labels}"], "a model of this library states it"),
            (["{action}", "out.pth"], "expected an encoder or 3D pose model for MMPose, found ActionModel"),
            (["{small}", "."], "already exists"),
            (["{small}", "other", "--overwrite"], "expected a model folder to replace, found no model.json"),
            (["{small}", "other", "--to", "mmpose", "--overwrite"], "expected a file to replace, found a folder"),
            (["{small}"], "the following arguments are required: OUT"),
        ],
    )
    def test_errors(self, tmp_path, monkeypatch, capsys, arguments, message):
        monkeypatch.chdir(tmp_path)
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        (tmp_path / "labels.txt").write_text("walk\nwave\n")
        (tmp_path / "other").mkdir()
        names = {
            "small": SMALL,
            "model": "model",
            "labels": "labels.txt",
            "action": action_file(tmp_path / "action.bin"),
        }
        before = sorted(tmp_path.rglob("*"))
        assert message in failure(capsys, "convert", *(argument.format(**names) for argument in arguments))
        assert sorted(tmp_path.rglob("*")) == before


class TestExport:
    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [("m.onnx", [], "float32"), ("m.onnx", ["--int8"], "int8"), ("m.pt2", [], "float32")],
    )
    def test_writes_the_file_and_says_so(self, tmp_path, capsys, name, options, said):
        output = tmp_path / name
        assert run("export", SMALL, output, *options) == 0
        assert capsys.readouterr().out == f"{output}: pose3d, {output.stat().st_size:,} bytes, {said}\n"

    def test_replaces_only_when_told(self, tmp_path, capsys):
        output = tmp_path / "m.pt2"
        output.write_text("mine")
        assert "--overwrite" in failure(capsys, "export", SMALL, output)
        assert output.read_text() == "mine"
        assert run("export", SMALL, output, "--overwrite") == 0
        assert output.read_bytes()[:2] == b"PK"

    @pytest.mark.parametrize(
        ("output", "options", "message"),
        [
            ("m.bin", [], "suffix .onnx or .pt2"),
            ("m.pt2", ["--int8"], "int8 is only for .onnx"),
            ("s3://bucket/m.onnx", [], "expected a local path"),
        ],
    )
    def test_errors(self, tmp_path, monkeypatch, capsys, output, options, message):
        monkeypatch.chdir(tmp_path)
        assert message in failure(capsys, "export", SMALL, output, *options)
        assert list(tmp_path.iterdir()) == []


class TestInspect:
    def inspect(self, capsys: pytest.CaptureFixture[str], where: Any) -> list[str]:
        assert run("inspect", where) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [" ".join(line.split()) for line in out.splitlines()]

    @pytest.mark.parametrize(
        ("save_as", "expected"),
        [
            (save, "format model folder, version 3"),
            (save_file, "format one safetensors file, version 3"),
            (save_official, "format official file, tensors under 'model', 'module.' before every name"),
        ],
    )
    def test_our_own(self, tmp_path, capsys, save_as: Callable[..., None], expected):
        save_as(tmp_path / "model", action_model(), task="action", card=CARD)
        number = sum(parameter.numel() for parameter in action_model().parameters())
        assert self.inspect(capsys, tmp_path / "model") == [
            expected,
            "task action",
            "size -",
            f"parameters {number:,}",
            "heads 2",
            "encoder dim_feat 16, mlp_ratio 2.0, depth 1, dim_rep 8, max_frames 12, learned_fusion True, "
            "num_joints 17, in_channels 3, out_channels 3",
            "head hidden 4, dropout 0.5, published_means False",
            "labels 2: walk, wave",
            "licence cmu: free for research",
            f"score {PROTOCOL.key} 0.75",
            "fact steps: 300",
        ]

    def test_a_file_of_the_published_code(self, capsys):
        lines = self.inspect(capsys, SMALL)
        assert lines[:5] == [
            "format official file, tensors under 'model_pos', 'module.' before every name",
            "task pose3d or pretrained encoder (their files do not differ)",
            "size -",
            "parameters 71,943",
            "heads 8 assumed (as in published models), since the file does not state it",
        ]
        assert "also there epoch: 3" in lines
        assert "also there min_loss: 41.5" in lines

    def test_an_action_file(self, tmp_path, capsys):
        lines = self.inspect(capsys, action_file(tmp_path / "file"))
        assert {"task action", "labels 2: class 0, class 1", "also there lr: [0.0001, 0.001]"} <= set(lines)
        assert "also there best_acc: 80.5" in lines

    def test_a_one_shot_file(self, tmp_path, capsys):
        tensors = {f"backbone.{name}": tensor for name, tensor in encoder().state_dict().items()}
        torch.save(
            {"model": tensors | {"head.fc1.weight": torch.ones(5, 136), "head.fc1.bias": torch.ones(5)}}, tmp_path / "f"
        )
        lines = self.inspect(capsys, tmp_path / "f")
        assert "task one-shot, whose head is not supported; its encoder can be read with --part encoder" in lines
        assert "not read 2 tensors of its head, 685 numbers" in lines

    def test_channels_that_eight_heads_do_not_divide(self, tmp_path, capsys):
        config = DSTformerConfig(dim_feat=12, depth=1, num_heads=2, dim_rep=8, max_frames=12)
        torch.save({"model_pos": DSTformer(config, torch.Generator()).state_dict()}, tmp_path / "f")
        heads = "heads not stated in the file, and 8 (as in published models) do not fit: pass --num-heads N"
        assert heads in self.inspect(capsys, tmp_path / "f")

    def test_mmpose(self, tmp_path, capsys):
        save_mmpose(tmp_path / "file", encoder(), task="pose3d", card=CARD)
        lines = self.inspect(capsys, tmp_path / "file")
        assert lines[0] == "format MMPose file, tensors under 'state_dict', no prefix"
        assert "licence cmu: free for research" in lines

    def test_names_the_size(self, tmp_path, capsys):
        model = DSTformer(SIZES["tiny"], torch.Generator().manual_seed(0))
        save(tmp_path / "model", model, task="encoder", card=ModelCard())
        assert "size tiny" in self.inspect(capsys, tmp_path / "model")

    def test_does_not_read_the_weights_of_our_own(self, tmp_path, capsys):
        """A gigabyte in a bucket is another matter, but here only the description is needed."""
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        save_file(tmp_path / "a", encoder(), task="pose3d", card=CARD)
        next((tmp_path / "model").glob("*.safetensors")).unlink()
        with (tmp_path / "a").open("r+b") as file:
            file.truncate((tmp_path / "a").stat().st_size - 100)
        for where in (tmp_path / "model", tmp_path / "a"):
            assert "task pose3d" in self.inspect(capsys, where)

    @pytest.mark.parametrize(
        ("where", "message"), [("gone", "no such folder or file"), (__file__, "text that begins with")]
    )
    def test_errors(self, capsys, where, message):
        assert message in failure(capsys, "inspect", where)

    def test_a_file_with_a_tensor_too_few(self, tmp_path, capsys):
        tensors = encoder().state_dict()
        del tensors["norm.bias"]
        torch.save({"model_pos": tensors}, tmp_path / "f")
        assert "f: the tensors under 'model_pos' are not those of" in failure(capsys, "inspect", tmp_path / "f")


class TestCommand:
    @pytest.mark.parametrize("arguments", [[], ["dance"], ["inspect"], ["inspect", "a", "--part", "encoder"]])
    def test_usage(self, capsys, arguments):
        assert "--help" in failure(capsys, *arguments)

    @pytest.mark.parametrize("command", [[], ["convert"], ["inspect"]])
    def test_help(self, capsys, command):
        with pytest.raises(SystemExit, match=r"^0$"):
            run(*command, "--help")
        assert "usage: motion-encoder" in capsys.readouterr().out

    def test_as_a_module(self, tmp_path):
        """In a process of its own: no traceback, and the status is the command's."""
        command = [sys.executable, "-m", "motion_encoder", "inspect", str(tmp_path / "gone")]
        finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stdout) == (2, "")
        assert finished.stderr.count("\n") == 1

    def test_the_script_is_this(self):
        scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, function = scripts["motion-encoder"].partition(":")
        assert getattr(importlib.import_module(module), function) is main
