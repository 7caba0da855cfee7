"""Exported files against the models they came from, at sizes that no trace has seen, and the errors a user meets."""

import json
import logging
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
from torch import Tensor, nn

from motion_encoder import ActionHeadConfig, ActionModel, DSTformer, DSTformerConfig, ModelCard
from motion_encoder.io.export import export_model, export_onnx, export_program
from motion_encoder.io.model_spec import Description
from motion_encoder.metrics import Protocol, Score
from motion_encoder.model.motion_model import MotionModel

SMALL = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=8, max_frames=12)
WIDE = replace(SMALL, dim_feat=64, dim_rep=64)
SIZES = [(1, 1), (1, 12), (3, 7), (2, 5)]
"""Clips and frames; the trace has seen (2, 5)."""
SCORE = Score(
    protocol=Protocol(metric="mpjpe_mm", input="projected-2d", clip_frames=12, split="test", data="x"),
    value=40.0,
    higher_is_better=False,
)
CARD = ModelCard(licences={"cmu": "free for all uses"}, scores=(SCORE,))


def randomised(model: Any, spread: float = 0.3) -> Any:
    """Random in every parameter and running mean, so that no part is an identity or symmetric."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
        for buffer in (each for each in model.buffers() if each.is_floating_point()):
            buffer += spread * torch.rand(buffer.shape, generator=generator)
    model.card = CARD
    return model.eval()


def encoder(config: DSTformerConfig = SMALL) -> DSTformer:
    model = DSTformer(config, torch.Generator().manual_seed(0))
    return randomised(model, spread=1.2 / config.dim_feat**0.5)


def action_model() -> ActionModel:
    generator = torch.Generator().manual_seed(0)
    return randomised(ActionModel(encoder(), ("walk", "jump", "sit"), ActionHeadConfig(hidden=8), generator))


def keypoints(num_clips: int, num_frames: int, people: int | None = None) -> Tensor:
    """x, y and confidence; with people, the last one of each clip is not there."""
    size = (num_clips, num_frames, 17, 3) if people is None else (num_clips, people, num_frames, 17, 3)
    x_BTJC = torch.randn(size, generator=torch.Generator().manual_seed(num_frames))
    x_BTJC[..., 2] = x_BTJC[..., 2].sigmoid()
    if people is not None and people > 1:
        x_BTJC[:, -1] = 0
    return x_BTJC


def mask(num_clips: int, num_frames: int) -> Tensor:
    """The last clip is whole, the others end earlier and have a gap."""
    valid_BT = torch.arange(num_frames) < torch.arange(num_frames, num_frames + num_clips)[:, None] - num_clips + 1
    valid_BT[:-1, 1:2] = False
    return valid_BT


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # expected errors are not to fill the log
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(opened: onnxruntime.InferenceSession, **inputs: Tensor) -> dict[str, Tensor]:
    outputs = opened.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    names = [output.name for output in opened.get_outputs()]
    return {name: torch.from_numpy(np.asarray(output)) for name, output in zip(names, outputs, strict=True)}


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Exports once what several tests look at."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def make(model: MotionModel, suffix: str = ".onnx", **options: bool) -> Path:
        config = model.encoder.config if isinstance(model, ActionModel) else model.config
        key = (type(model), config, suffix, *(name for name in sorted(options) if options[name]))
        if key not in made:
            task: str = "action" if isinstance(model, ActionModel) else "pose3d"
            made[key] = folder / f"{len(made)}{suffix}"
            export_model(model, made[key], task=task, **options)
        return made[key]

    return make


class TestOnnx:
    @pytest.mark.parametrize("masked", [False, True])
    def test_encoder(self, exported: Make, masked):
        model, opened = encoder(), session(exported(encoder(), masked=masked))
        for size in SIZES:
            inputs = {"keypoints": keypoints(*size)} | ({"valid": mask(*size)} if masked else {})
            with torch.no_grad():
                expected = {"motion": model(*inputs.values()), "representation": model.encode(*inputs.values())}
            torch.testing.assert_close(run(opened, **inputs), expected, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("masked", [False, True])
    def test_action_model(self, exported: Make, masked):
        model, opened = action_model(), session(exported(action_model(), masked=masked))
        for size in SIZES:
            for people in (1, 2):
                inputs = {"keypoints": keypoints(*size, people)} | ({"valid": mask(*size)} if masked else {})
                with torch.no_grad():
                    expected = {"logits": model(*inputs.values())}
                torch.testing.assert_close(run(opened, **inputs), expected, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("masked", [False, True])
    def test_longer_clips_than_the_model_takes_are_an_error(self, exported: Make, masked):
        inputs = {"keypoints": keypoints(2, 13)} | ({"valid": mask(2, 13)} if masked else {})
        with pytest.raises(Fail, match=r"broadcast .* 12 by 13"):
            run(session(exported(encoder(), masked=masked)), **inputs)

    def test_a_model_of_single_frames(self, tmp_path):
        model = encoder(replace(SMALL, max_frames=1))
        export_onnx(model, tmp_path / "model.onnx", task="encoder")
        opened = session(tmp_path / "model.onnx")
        found = run(opened, keypoints=keypoints(3, 1))
        with torch.no_grad():
            torch.testing.assert_close(found["motion"], model(keypoints(3, 1)), rtol=0, atol=1e-4)
        with pytest.raises(InvalidArgument, match="Got: 2 Expected: 1"):
            run(opened, keypoints=keypoints(3, 2))

    def test_inputs_and_outputs_say_what_they_are(self, exported: Make):
        def sides(path: Path) -> list[list[tuple[str, list, str]]]:
            opened = session(path)
            return [[(v.name, v.shape, v.type) for v in side] for side in (opened.get_inputs(), opened.get_outputs())]

        size, mask_input = ["clips", "frames", 17], ("valid", ["clips", "frames"], "tensor(bool)")
        motion = [("motion", [*size, 3], "tensor(float)"), ("representation", [*size, 8], "tensor(float)")]
        assert sides(exported(encoder())) == [[("keypoints", [*size, 3], "tensor(float)")], motion]
        assert sides(exported(encoder(), masked=True))[0][1:] == [mask_input]
        people = ("keypoints", ["clips", "people", "frames", 17, 3], "tensor(float)")
        assert sides(exported(action_model())) == [[people], [("logits", ["clips", 3], "tensor(float)")]]

    def test_metadata(self, exported: Make):
        found = session(exported(action_model())).get_modelmeta().custom_metadata_map
        description = Description.from_json(found.pop("motion_encoder"))
        assert description == Description.of(action_model(), task="action", card=CARD)
        assert {key: found.pop(key) for key in ("task", "skeleton", "max_frames", "precision")} == {
            "task": "action",
            "skeleton": "h36m17",
            "max_frames": "12",
            "precision": "float32",
        }
        assert json.loads(found.pop("labels")) == ["walk", "jump", "sit"]
        assert json.loads(found.pop("licences")) == {"cmu": "free for all uses"}
        assert not found

    def test_no_paths_of_this_machine(self, exported: Make):
        source = str(Path(__file__).parents[3]).encode()
        assert source not in exported(encoder()).read_bytes()
        with zipfile.ZipFile(exported(action_model(), ".pt2")) as program:
            assert not any(source in program.read(name) for name in program.namelist())


class TestInt8:
    """In an encoder wide enough for its products to outweigh the rest."""

    def test_is_close_and_small(self, exported: Make):
        model = encoder(WIDE)
        num_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
        assert exported(model, int8=True).stat().st_size < 0.5 * num_bytes
        found = run(session(exported(model, int8=True)), keypoints=keypoints(3, 7))
        with torch.no_grad():
            motion, representation = model(keypoints(3, 7)), model.encode(keypoints(3, 7))
        for output, expected in (("motion", motion), ("representation", representation)):
            # Random weights enlarge what rounding does: it is 0.005 in a trained network, and 1 if scales are mixed up.
            assert 1e-5 < (found[output] - expected).norm() / expected.norm() < 0.1

    def test_the_first_and_last_layers_and_attention_are_exact(self, exported: Make):
        operators = [node.op_type for node in onnx.load(exported(encoder(WIDE), int8=True)).graph.node]
        assert operators.count("MatMulInteger") == 2 * 2 * 4  # streams, space and time; qkv, proj, fc1 and fc2
        assert operators.count("MatMul") == 1 + 2 * 2 * 2 + 2 + 2  # embedding, attention, fusion, representation, head

    def test_scores_of_the_model_are_not_those_of_the_file(self, exported: Make):
        found = session(exported(encoder(WIDE), int8=True)).get_modelmeta().custom_metadata_map
        assert Description.from_json(found["motion_encoder"]).card == replace(CARD, scores=()).to_tree()
        assert found["precision"] == "int8"

    def test_an_action_model_is_exported_without_a_word(self, tmp_path, capfd, monkeypatch):
        """Where a program shows its log, and where it has none: ``logging.info`` would make one."""
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", [])
        monkeypatch.setattr(root, "level", logging.INFO)
        export_onnx(action_model(), tmp_path / "model.onnx", task="action", int8=True)
        assert capfd.readouterr() == ("", "")
        assert not root.handlers
        assert not root.filters
        found = run(session(tmp_path / "model.onnx"), keypoints=keypoints(2, 7, people=2))["logits"]
        with torch.no_grad():
            expected = action_model()(keypoints(2, 7, people=2))
        assert (found - expected).norm() < 0.05 * expected.norm()


class TestProgram:
    def test_encoder_with_a_mask(self, exported: Make):
        model = encoder()
        program = torch.export.load(exported(model, ".pt2", masked=True)).module()
        for size in SIZES:
            x_BTJC, valid_BT = keypoints(*size), mask(*size)
            with torch.no_grad():
                expected = {"motion": model(x_BTJC, valid_BT), "representation": model.encode(x_BTJC, valid_BT)}
            torch.testing.assert_close(program(keypoints=x_BTJC, valid=valid_BT), expected, rtol=0, atol=1e-5)
        with pytest.raises((AssertionError, RuntimeError), match="12"):
            program(keypoints=keypoints(1, 13), valid=mask(1, 13))

    def test_action_model(self, exported: Make):
        model = action_model()
        program = torch.export.load(exported(model, ".pt2")).module()
        for size in SIZES:
            x_BPTJC = keypoints(*size, people=size[0])
            with torch.no_grad():
                expected = {"logits": model(x_BPTJC)}
            torch.testing.assert_close(program(keypoints=x_BPTJC), expected, rtol=0, atol=1e-5)

    def test_the_description_comes_along(self, exported: Make):
        extra = {"motion_encoder": ""}
        torch.export.load(exported(action_model(), ".pt2"), extra_files=extra)
        expected = Description.of(action_model(), task="action", card=CARD)
        assert Description.from_json(extra["motion_encoder"]) == expected


def test_the_model_stays_as_it_is_and_is_exported_in_eval_mode_and_float32(tmp_path):
    """Dropout of a model in training would show in the logits, and half-precision weights in the file."""
    model, x_BPTJC = action_model(), keypoints(2, 5, people=2)
    with torch.no_grad():
        expected = model.to(torch.bfloat16).float()(x_BPTJC)
    model.to(torch.bfloat16).train()
    export_program(model, tmp_path / "model.pt2", task="action")
    found = torch.export.load(tmp_path / "model.pt2").module()(keypoints=x_BPTJC)["logits"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert model.training
    assert model.head.fc1.weight.dtype == torch.bfloat16


class TestErrors:
    def test_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"model.tflite: expected the suffix .onnx or .pt2 .*, found '.tflite'"):
            export_model(encoder(), tmp_path / "model.tflite", task="encoder")

    def test_int8_does_nothing_in_a_program(self, tmp_path):
        with pytest.raises(ValueError, match=r"int8 is only for \.onnx"):
            export_model(encoder(), tmp_path / "model.pt2", task="encoder", int8=True)

    @pytest.mark.parametrize("export", [export_onnx, export_program])
    def test_another_kind_of_model(self, tmp_path, export):
        model: Any = nn.Linear(3, 3)
        with pytest.raises((ValueError, TypeError), match=r"Linear|violates"):
            export(model, tmp_path / "model.onnx", task="encoder")

    @pytest.mark.parametrize("export", [export_onnx, export_program])
    def test_task(self, tmp_path, export):
        with pytest.raises(ValueError, match=r"model: task 'action' does not fit a DSTformer"):
            export(encoder(), tmp_path / "model", task="action")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("export", [export_onnx, export_program])
    def test_place(self, tmp_path, export):
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match=r"file/model.onnx: cannot be written: "):
            export(encoder(), tmp_path / "file" / "model.onnx", task="encoder")
        with pytest.raises(ValueError, match="expected the name of a file to write, found a folder"):
            export(encoder(), tmp_path, task="encoder")

    @pytest.mark.parametrize(("missing", "int8"), [("onnx", False), ("onnxscript", False), ("onnxruntime", True)])
    def test_missing_packages(self, tmp_path, monkeypatch, missing, int8):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}: pip install 'motion-encoder\[export\]'"):
            export_onnx(encoder(), tmp_path / "model.onnx", task="encoder", int8=int8)

    def test_a_stopped_export_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "model.pt2"
        path.write_bytes(b"old")

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(ValueError, match=r"model.pt2: cannot be written: No space left on device"):
            export_program(encoder(), path, task="encoder")
        assert path.read_bytes() == b"old"
