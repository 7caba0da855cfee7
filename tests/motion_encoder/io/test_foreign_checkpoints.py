"""Published checkpoints: every tensor in its place, bit by bit, both ways; and what is no such file is refused."""

import os
import random
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_encoder import (
    SIZES,
    ActionHeadConfig,
    ActionModel,
    DSTformer,
    DSTformerConfig,
    ModelCard,
    load,
    save_mmpose,
    save_official,
)
from motion_encoder.io.foreign_checkpoints import PublishedFile
from motion_encoder.io.foreign_files import Weights

DATA = Path(__file__).parents[2] / "data"
HEADS = {"small": 4, "small_lite": 2}  # of the configurations in the fixtures
SMALL = DSTformerConfig(dim_feat=16, depth=2, num_heads=2, dim_rep=8, max_frames=12)
CARD = ModelCard(licences={"cmu": "free for research and commercial use"}, facts={"steps": 300})


@st.composite
def configs(draw: st.DrawFn) -> DSTformerConfig:
    num_heads = draw(st.integers(1, 3))
    channels = num_heads * draw(st.integers(1, 5))
    return DSTformerConfig(
        dim_feat=channels,
        mlp_ratio=draw(st.integers(1, 40)) / channels,
        depth=draw(st.integers(1, 3)),
        num_heads=num_heads,
        dim_rep=draw(st.integers(1, 6)),
        max_frames=draw(st.integers(1, 6)),
        num_joints=draw(st.integers(1, 20)),
        in_channels=draw(st.integers(1, 4)),
        out_channels=draw(st.integers(1, 4)),
        learned_fusion=draw(st.booleans()),
    )


def randomised(module: torch.nn.Module, seed: int = 0) -> Any:
    """Other numbers in every tensor, those of statistics included."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (100 if "num_batches" in name else 1))
    return module.eval()


def pose_model(config: DSTformerConfig = SMALL, seed: int = 0) -> DSTformer:
    return randomised(DSTformer(config, torch.Generator()), seed)


def action_model(num_classes: int = 3, config: DSTformerConfig = SMALL, **head: Any) -> ActionModel:
    labels = tuple(f"class {number}" for number in range(num_classes))
    return randomised(
        ActionModel(DSTformer(config, torch.Generator()), labels, ActionHeadConfig(hidden=6, **head), torch.Generator())
    )


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """The same names in the same order, and the same bits."""
    return list(one) == list(other) and all(
        tensor.dtype == other[name].dtype
        and tensor.numpy().tobytes() == other[name].numpy().tobytes()
        and tensor.shape == other[name].shape
        for name, tensor in one.items()
    )


def official_action_tensors(model: ActionModel, prefix: str = "module.") -> dict[str, Tensor]:
    """The published ``ActionNet``: backbone, then a head whose members are bn, fc1, fc2, in this order."""
    encoder, head = model.encoder.state_dict(), model.head.state_dict()
    names = [f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    names += [f"{layer}.{name}" for layer in ("fc1", "fc2") for name in ("weight", "bias")]
    assert set(names) == set(head)
    tensors = {f"{prefix}backbone.{name}": tensor for name, tensor in encoder.items()}
    return tensors | {f"{prefix}head.{name}": head[name] for name in names}


MMPOSE_TABLE = [
    (r"temp_embed", "backbone.temp_embed"),
    (r"pos_embed", "backbone.spat_embed"),
    (r"joints_embed\.(weight|bias)", r"backbone.joints_embed.\1"),
    (r"(blocks_(?:st|ts)\.\d+\.(?:norm|attn)\w*\..+)", r"backbone.\1"),
    (r"(blocks_(?:st|ts)\.\d+\.mlp_[st])\.fc1\.(weight|bias)", r"backbone.\1.0.\2"),
    (r"(blocks_(?:st|ts)\.\d+\.mlp_[st])\.fc2\.(weight|bias)", r"backbone.\1.2.\2"),
    (r"ts_attn\.(\d+)\.(weight|bias)", r"backbone.attn_regress.\1.\2"),
    (r"norm\.(weight|bias)", r"backbone.norm.\1"),
    (r"pre_logits\.fc\.(weight|bias)", r"head.pre_logits.fc.\1"),
    (r"head\.(weight|bias)", r"head.fc.\1"),
]
"""From the names of the official file to those of MMPose's PoseLifter."""


def in_mmpose(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        (new,) = [re.sub(ours, theirs, name) for ours, theirs in MMPOSE_TABLE if re.fullmatch(ours, name)]
        renamed[new] = tensor
    return renamed


def write(path: Path, entries: dict[str, Any], **options: Any) -> Path:
    torch.save(entries, path, **options)
    return path


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def with_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


class TestOfficialPose:
    @pytest.mark.parametrize("name", HEADS)
    def test_a_file_of_the_published_code(self, tmp_path, name):
        published = read(DATA / f"{name}.bin")["model_pos"]
        model = load(DATA / f"{name}.bin", num_heads=HEADS[name])
        assert isinstance(model, DSTformer)
        assert not model.training
        with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
            x = next(key for key in arrays if key.startswith("x_"))
            with torch.no_grad():
                y = model(torch.from_numpy(arrays[x]))
            np.testing.assert_allclose(y.numpy(), arrays[x.replace("x_", "y_")], rtol=0, atol=1e-5)
        save_official(tmp_path / "again.bin", model, task="pose3d", card=ModelCard())
        assert same(read(tmp_path / "again.bin")["model_pos"], published)
        save_mmpose(tmp_path / "again.pth", model, task="pose3d", card=ModelCard())
        assert same(with_prefix(load(tmp_path / "again.pth").state_dict()), published)

    @settings(max_examples=10, deadline=None)
    @given(configs(), st.booleans(), st.sampled_from(["model_pos", "model"]))
    def test_every_size_is_read_off_the_tensors(self, tmp_path_factory, config, prefix, top_key):
        folder = tmp_path_factory.mktemp("files")
        model = pose_model(config)
        tensors = with_prefix(model.state_dict()) if prefix else model.state_dict()
        path = write(folder / "file", {"epoch": 3, top_key: tensors, "optimizer": {"state": {}}})
        loaded = load(path, num_heads=config.num_heads)
        assert isinstance(loaded, DSTformer)
        assert same(loaded.state_dict(), model.state_dict())
        found, expected = vars(loaded.config).copy(), vars(config).copy()
        assert int(found["dim_feat"] * found.pop("mlp_ratio")) == int(config.dim_feat * expected.pop("mlp_ratio"))
        assert found == expected

    @settings(max_examples=10, deadline=None)
    @given(configs(), st.booleans())
    def test_what_we_write_comes_back_whole(self, tmp_path_factory, config, prefix):
        """As an official file and as one of MMPose, in which only our own entry tells the heads and the card."""
        folder = tmp_path_factory.mktemp("files")
        model = pose_model(config)
        save_official(folder / "a.bin", model, task="encoder", card=CARD, module_prefix=prefix)
        expected = with_prefix(model.state_dict()) if prefix else model.state_dict()
        assert same(read(folder / "a.bin")["model_pos"], expected)
        save_mmpose(folder / "b.pth", load(folder / "a.bin"), task="encoder", card=CARD)
        loaded = load(folder / "b.pth")
        assert isinstance(loaded, DSTformer)
        assert same(loaded.state_dict(), model.state_dict())
        assert loaded.config == config
        assert loaded.card == CARD

    @pytest.mark.parametrize("size", ["motionbert", "motionbert_lite"])
    def test_full_size(self, size):
        with torch.device("meta"):
            tensors = DSTformer(SIZES[size], torch.Generator()).state_dict()
        weights = Weights(entry="model_pos", prefix="", tensors=tensors)
        file = PublishedFile(format="official", kind="pose", weights=weights, others={}, stated=None)
        assert DSTformerConfig(**file.fit().description.encoder) == DSTformerConfig.of(SIZES[size])

    def test_the_number_of_heads_is_assumed_with_a_warning(self, tmp_path, caplog):
        path = write(tmp_path / "file", {"model_pos": pose_model().state_dict()})
        for num_heads, expected, warnings in ((None, 8, 1), (4, 4, 0)):
            caplog.clear()
            model = load(path, num_heads=num_heads)
            assert isinstance(model, DSTformer)
            assert model.config.num_heads == expected
            assert len(caplog.messages) == warnings
            assert all(f"{path}: 8 attention heads assumed" in message for message in caplog.messages)
        with pytest.raises(ValueError, match=r"file: .*divisor of the 16 channels, found 5\. Pass num_heads"):
            load(path, num_heads=5)
        save_official(path, pose_model(), task="pose3d", card=CARD)
        with pytest.raises(ValueError, match="states its heads and labels"):
            load(path, num_heads=2)
        caplog.clear()
        load(path)
        assert not caplog.messages

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_widened(self, tmp_path, dtype):
        tensors = {name: tensor.to(dtype) for name, tensor in pose_model().state_dict().items()}
        loaded = load(write(tmp_path / "file", {"model_pos": tensors})).state_dict()
        assert same(loaded, {name: tensor.float() for name, tensor in tensors.items()})

    @pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
    def test_what_training_leaves_beside_the_weights(self, tmp_path, options):
        """Scores come as numbers of numpy, MMPose's colours as arrays, and files before torch 1.6 are no zip files."""
        beside = {
            "lr": [1e-4],
            "min_loss": np.float64(37.2),
            "best": np.float32(1),
            "colours": np.ones((2, 3), np.uint8),
        }
        path = write(tmp_path / "file", beside | {"model_pos": pose_model().state_dict()}, **options)
        assert same(load(path).state_dict(), pose_model().state_dict())

    def test_numbers_of_numpy_1(self, tmp_path):
        """It had another name for the place where its numbers are made."""
        entries = {"model_pos": pose_model().state_dict(), "min_loss": np.float64(37.2)}
        path = write(tmp_path / "file", entries, _use_new_zipfile_serialization=False)
        assert path.read_bytes().count(b"numpy._core.multiarray") == 1
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert same(load(path).state_dict(), pose_model().state_dict())

    def test_its_memory_is_its_own(self, tmp_path):
        """Tensors are neither views of the file nor of each other, and can be trained."""
        shared = pose_model().state_dict()
        shared["norm.bias"] = shared["norm.weight"]
        path = write(tmp_path / "file", {"model_pos": shared})
        model = load(path)
        path.write_bytes(b"")
        with torch.no_grad():
            model.get_parameter("norm.weight").zero_()
        assert torch.equal(model.get_parameter("norm.bias"), shared["norm.bias"])
        assert all(parameter.requires_grad for parameter in model.parameters())


class TestOfficialAction:
    @pytest.mark.parametrize("prefix", ["module.", ""])
    def test_both_ways(self, tmp_path, prefix):
        model = action_model()
        tensors = official_action_tensors(model, prefix)
        path = write(tmp_path / "file", {"model": OrderedDict(tensors), "best_acc": torch.tensor([80.0])})
        loaded = load(path, num_heads=2)
        assert isinstance(loaded, ActionModel)
        assert same(loaded.state_dict(), model.state_dict())
        assert loaded.labels == ("class 0", "class 1", "class 2")
        assert loaded.head.config == ActionHeadConfig(hidden=6, dropout=0.5, published_means=True)
        assert loaded.encoder.config == SMALL
        save_official(tmp_path / "again", loaded, task="action", card=CARD, module_prefix=bool(prefix))
        assert same(read(tmp_path / "again")["model"], tensors)

    def test_labels(self, tmp_path):
        path = write(tmp_path / "file", {"model": official_action_tensors(action_model())})
        model = load(path, labels=("walk", "wave", "squat"))
        assert isinstance(model, ActionModel)
        assert model.labels == ("walk", "wave", "squat")
        with pytest.raises(ValueError, match=r"file: labels: expected 3, one per class of the file, found 1"):
            load(path, labels=("walk",))

    def test_what_we_write_keeps_its_labels_and_its_means(self, tmp_path):
        model = action_model(published_means=False)
        model.labels = ("walk", "wave", "squat")
        save_official(tmp_path / "file", model, task="action", card=CARD)
        loaded = load(tmp_path / "file")
        assert isinstance(loaded, ActionModel)
        assert loaded.labels == model.labels
        assert loaded.head.config == model.head.config
        assert loaded.card == CARD

    def test_its_encoder_alone(self, tmp_path):
        model = action_model()
        encoder = load(write(tmp_path / "file", {"model": official_action_tensors(model)}), part="encoder", num_heads=2)
        assert isinstance(encoder, DSTformer)
        assert same(encoder.state_dict(), model.encoder.state_dict())
        assert all(parameter.requires_grad for parameter in encoder.parameters())


class TestHeadsThatWeHaveNot:
    ONE_SHOT = {"head.fc1.weight": torch.ones(4, 136), "head.fc1.bias": torch.ones(4)}  # noqa: RUF012
    MESH = ONE_SHOT | {"head.bn1.weight": torch.ones(4), "head.smpl.faces_tensor": torch.ones(2, 3, dtype=torch.long)}

    @pytest.mark.parametrize(("head", "name"), [(ONE_SHOT, "one-shot action"), (MESH, "mesh")])
    def test_nothing_is_left_behind_unasked(self, tmp_path, head, name):
        model = pose_model()
        backbone = {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}
        path = write(tmp_path / "file", {"model": with_prefix(backbone | head)})
        with pytest.raises(ValueError, match=rf'{name} model.*{len(head)} tensors.*part="encoder"') as caught:
            load(path)
        assert all(tensor in str(caught.value) for tensor in head)
        encoder = load(path, part="encoder", num_heads=2)
        assert isinstance(encoder, DSTformer)
        assert encoder.config == SMALL
        assert same(encoder.state_dict(), model.state_dict())

    def test_a_missing_tensor_of_the_encoder_is_found_there_too(self, tmp_path):
        tensors = {f"backbone.{name}": tensor for name, tensor in pose_model().state_dict().items()} | self.ONE_SHOT
        del tensors["backbone.norm.bias"]
        with pytest.raises(ValueError, match=r"missing backbone\.norm\.bias"):
            load(write(tmp_path / "file", {"model": tensors}), part="encoder")


class TestMMPose:
    @settings(max_examples=10, deadline=None)
    @given(configs())
    def test_both_ways(self, tmp_path_factory, config):
        folder = tmp_path_factory.mktemp("files")
        model = pose_model(config)
        theirs = in_mmpose(model.state_dict())
        meta = {"cfg": "model = dict()", "dataset_meta": {"colours": np.ones(3)}}
        loaded = load(write(folder / "a.pth", {"meta": meta, "state_dict": theirs}), num_heads=config.num_heads)
        assert same(loaded.state_dict(), model.state_dict())
        save_mmpose(folder / "b.pth", loaded, task="pose3d", card=CARD)
        written = read(folder / "b.pth")["state_dict"]
        assert same(dict(sorted(written.items())), dict(sorted(theirs.items())))
        parts = [name.split(".")[0] for name in written]
        assert parts == sorted(parts)  # the backbone, then the head

    def test_has_no_action_model(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"a\.pth: expected an encoder or 3D pose model for MMPose, found ActionModel"
        ):
            save_mmpose(tmp_path / "a.pth", action_model(), task="action", card=CARD)
        assert not list(tmp_path.iterdir())


class TestWriting:
    @pytest.mark.parametrize("save", [save_official, save_mmpose])
    def test_a_kill_leaves_the_old_file(self, tmp_path, monkeypatch, save):
        path = tmp_path / "new" / "file"
        save(path, pose_model(), task="pose3d", card=CARD)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                save(path, pose_model(seed=1), task="pose3d", card=CARD)
        assert same(load(path).state_dict(), pose_model().state_dict())

    @pytest.mark.parametrize("save", [save_official, save_mmpose])
    @pytest.mark.parametrize(
        ("model", "task", "card", "message"),
        [
            (pose_model().half(), "pose3d", CARD, "float32, found"),
            (pose_model(), "action", CARD, "task 'action' does not fit a DSTformer"),
            (
                pose_model(),
                "pose3d",
                ModelCard(facts={"a": Path("b")}),
                "card: expected only values that JSON can represent",
            ),
        ],
    )
    def test_what_the_format_cannot_hold(self, tmp_path, save, model, task, card, message):
        with pytest.raises(ValueError, match=f"file: .*{message}"):
            save(tmp_path / "file", model, task=task, card=card)
        assert not list(tmp_path.iterdir())


class Command:
    """What a harmful pickle does."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("harm",)


class TestRefused:
    def test_all_that_does_not_fit_is_listed_under_the_names_of_the_file(self, tmp_path):
        tensors = in_mmpose(pose_model().state_dict())
        del tensors["backbone.spat_embed"]
        tensors["backbone.colour"] = torch.ones(1)
        tensors["head.fc.bias"] = torch.ones(4)
        tensors["backbone.norm.weight"] = torch.ones(16, dtype=torch.long)
        with pytest.raises(ValueError, match=r"/file: the tensors under 'state_dict' are not those of") as caught:
            load(write(tmp_path / "file", {"state_dict": tensors}))
        for problem in (
            "missing backbone.spat_embed;",
            "unknown backbone.colour;",
            "backbone.norm.weight: expected float32 [16], found int64 [16]",
            "head.fc.bias: expected float32 [3], found float32 [4]",
        ):
            assert problem in str(caught.value)
        assert str(caught.value).count("expected") == 2  # one bad tensor is not taken for all the others

    @pytest.mark.parametrize("dropped", pose_model().state_dict())
    def test_any_missing_tensor(self, tmp_path, dropped):
        tensors = pose_model().state_dict()
        del tensors[dropped]
        with pytest.raises(ValueError, match=rf"missing {re.escape(dropped)}\. "):
            load(write(tmp_path / "file", {"model_pos": tensors}))

    def test_mixed_precision(self, tmp_path):
        tensors = pose_model().state_dict()
        tensors["norm.weight"] = tensors["norm.weight"].half()
        with pytest.raises(ValueError, match=r"norm\.weight: expected float32 \[16\], found float16 \[16\]"):
            load(write(tmp_path / "file", {"model_pos": tensors}))

    def test_double_precision(self, tmp_path):
        tensors = {name: tensor.double() for name, tensor in pose_model().state_dict().items()}
        with pytest.raises(ValueError, match=rf"found float64 .* and {len(tensors) - 10} more"):
            load(write(tmp_path / "file", {"model_pos": tensors}))

    def test_a_prefix_that_some_names_lack(self, tmp_path):
        tensors = with_prefix(pose_model().state_dict())
        tensors["norm.bias"] = tensors.pop("module.norm.bias")
        with pytest.raises(
            ValueError, match=r"expected all names or none to begin with 'module\.'.*without: norm\.bias"
        ):
            load(write(tmp_path / "file", {"model_pos": tensors}))

    def test_not_all_are_tensors(self, tmp_path):
        odd = {
            "number": 3,
            "stretched": torch.ones(1).expand(10**6),
            "sparse": torch.eye(2).to_sparse(),
        }
        with pytest.raises(ValueError, match="plain tensors, found other values: number, stretched, sparse"):
            load(write(tmp_path / "file", {"model_pos": pose_model().state_dict() | odd}))

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ({"epoch": 3, "weights": {}}, "no DSTformer: .* found the entries epoch, weights"),
            ({}, "no DSTformer: .* found the entries none"),
            ([1, 2], "expected a dictionary of tensors, found a list"),
            ({"model": {"conv1.weight": torch.ones(1)}}, r"no DSTformer: .* found the tensors conv1\.weight"),
        ],
    )
    def test_another_content(self, tmp_path, entries, message):
        with pytest.raises(ValueError, match=f"/file: .*{message}"):
            load(write(tmp_path / "file", entries))

    @pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
    def test_code_in_it_does_not_run(self, tmp_path, monkeypatch, options):
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "file", {"model_pos": pose_model().state_dict(), "x": Command()}, **options)
        with pytest.raises(ValueError, match=r"file: refers to \w+\.mkdir, which is code, not data"):
            load(tmp_path / "file")
        assert not (tmp_path / "harm").exists()

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"version 1\n" * 100, bytes(100)])
    def test_other_files(self, tmp_path, content):
        (tmp_path / "best_epoch.bin").write_bytes(content)
        with pytest.raises(ValueError, match=r"best_epoch\.bin: "):
            load(tmp_path / "best_epoch.bin")

    @pytest.mark.parametrize("legacy", [False, True])
    def test_cut_anywhere(self, tmp_path, legacy):
        path = tmp_path / "file"
        write(path, {"model_pos": pose_model().state_dict()}, _use_new_zipfile_serialization=not legacy)
        data = path.read_bytes()
        for length in [*range(0, len(data), len(data) // 50), len(data) - 1]:
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match="file: "):
                load(path)

    @pytest.mark.parametrize("name", HEADS)
    def test_changed_anywhere(self, name, tmp_path):
        """Found, or it was a byte that means nothing: never another model, never another exception."""
        draw, path = random.Random(0), tmp_path / "file"
        data, expected = (DATA / f"{name}.bin").read_bytes(), load(DATA / f"{name}.bin").state_dict()
        found = 0
        for _ in range(150):
            changed = bytearray(data)
            for _ in range(draw.choice([1, 1, 5])):
                changed[draw.choice([draw.randrange(len(data)), draw.randrange(2000)])] = draw.randrange(256)
            path.write_bytes(changed)
            try:
                model = load(path)
            except ValueError:
                found += 1
            else:
                assert same(model.state_dict(), expected)
        assert found > 100
