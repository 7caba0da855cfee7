"""Model folders and files: what goes in comes out; a kill leaves a whole model; what does not fit is said in words."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from motion_encoder import (
    ActionHeadConfig,
    ActionModel,
    DSTformer,
    DSTformerConfig,
    ModelCard,
    MotionModel,
    load,
    load_folder,
    save,
    save_file,
)
from motion_encoder.metrics import Protocol, Score

CONFIG = DSTformerConfig(dim_feat=16, mlp_ratio=1.5, depth=1, num_heads=2, dim_rep=8, max_frames=12)
PROTOCOL = Protocol(
    metric="mpjpe_mm", alignment="root", input="projected-2d", clip_frames=12, split="test", data="1a2b"
)
CARD = ModelCard(
    licences={"cmu": "free for research and commercial use"},
    scores=(Score(protocol=PROTOCOL, value=41.5, higher_is_better=False),),
    facts={"recipe": {"name": "tiny", "steps": 300}},
)


def encoder(seed: int = 0) -> DSTformer:
    return DSTformer(CONFIG, torch.Generator().manual_seed(seed))


def action_model(seed: int = 0) -> ActionModel:
    generator = torch.Generator().manual_seed(seed)
    return ActionModel(encoder(seed), ("walk", "wave"), ActionHeadConfig(hidden=4, dropout=0.25), generator)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def swap_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other tensors, under a digest that is right."""
    data = safetensors.torch.save(tensors)
    name = json.loads((folder / "model.json").read_text())["weights"]
    (folder / name).write_bytes(data)
    edit(folder, sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", encoder(), task="encoder", card=CARD)
    return tmp_path / "model"


class TestRoundTrip:
    @pytest.mark.parametrize("task", ["encoder", "pose3d"])
    def test_encoder(self, tmp_path, task):
        model = encoder()
        save(tmp_path / "new" / "folder", model, task=task, card=CARD)
        loaded = load_folder(str(tmp_path / "new" / "folder"))
        assert isinstance(loaded, DSTformer)
        assert same_weights(loaded, model)
        assert loaded.config == CONFIG
        assert loaded.card == CARD
        assert not loaded.training
        assert all(parameter.requires_grad for parameter in loaded.parameters())

    def test_action_model_with_its_statistics(self, tmp_path):
        model, x_BPTJC = action_model(), torch.rand(3, 1, 4, 17, 3, generator=torch.Generator().manual_seed(1))
        model(x_BPTJC)  # moves the running statistics of the batch norm
        save(tmp_path / "model", model.eval(), task="action", card=ModelCard())
        loaded = load_folder(tmp_path / "model")
        assert isinstance(loaded, ActionModel)
        assert same_weights(loaded, model)
        assert loaded.labels == ("walk", "wave")
        assert loaded.head.config == ActionHeadConfig(hidden=4, dropout=0.25)
        with torch.no_grad():
            assert torch.equal(loaded(x_BPTJC), model(x_BPTJC))

    def test_is_safetensors_and_json(self, folder):
        description = json.loads((folder / "model.json").read_text())
        assert {path.name for path in folder.iterdir()} == {"model.json", description["weights"]}
        tensors = safetensors.torch.load_file(folder / description["weights"])
        assert set(tensors) == set(encoder().state_dict())
        assert description["task"] == "encoder"
        assert description["skeleton"] == "h36m17"

    def test_a_whole_number_is_a_number(self, folder):
        """JSON written by others may say 2 for 2.0."""
        whole = replace(CONFIG, mlp_ratio=2.0)
        swap_weights(folder, DSTformer(whole, torch.Generator()).state_dict())
        edit(folder, encoder=vars(whole) | {"mlp_ratio": 2})
        model = load_folder(folder)
        assert isinstance(model, DSTformer)
        assert model.config == whole


class TestReplacing:
    def test_leaves_only_the_new_model(self, folder):
        save(folder, action_model(1), task="action", card=ModelCard())
        assert same_weights(load_folder(folder), action_model(1))
        assert len(list(folder.iterdir())) == 2

    @pytest.mark.parametrize("replaced_before_the_kill", [0, 1, 2])
    def test_a_kill_leaves_one_of_both_whole(self, folder, monkeypatch, replaced_before_the_kill):
        self.save_until_killed(folder, monkeypatch, replaced_before_the_kill)
        new_is_there = replaced_before_the_kill == 2
        assert same_weights(load_folder(folder), encoder(1 if new_is_there else 0))
        save(folder, encoder(2), task="encoder", card=CARD)
        assert same_weights(load_folder(folder), encoder(2))
        assert len([path for path in folder.iterdir() if "partial" not in path.name]) == 2

    @pytest.mark.parametrize("replaced_before_the_kill", [0, 1])
    def test_a_kill_in_a_new_folder_leaves_none(self, tmp_path, monkeypatch, replaced_before_the_kill):
        self.save_until_killed(tmp_path, monkeypatch, replaced_before_the_kill)
        with pytest.raises(ValueError, match=r"model\.json: no such file"):
            load_folder(tmp_path)

    @staticmethod
    def save_until_killed(folder: Path, monkeypatch: pytest.MonkeyPatch, replaced_before_the_kill: int) -> None:
        """Stop at the next file to be renamed, or at the first to be deleted."""
        rename, count = Path.replace, 0

        def replace_some(self: Path, target: Path) -> Path:
            nonlocal count
            if count == replaced_before_the_kill:
                raise KeyboardInterrupt
            count += 1
            return rename(self, target)

        def unlink_none(self: Path, missing_ok: bool = False) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_some)
            patch.setattr(Path, "unlink", unlink_none)
            with pytest.raises(KeyboardInterrupt):
                save(folder, encoder(1), task="encoder", card=CARD)


class TestOneFile:
    """Everything that a folder holds, in one ``.safetensors`` file."""

    @pytest.mark.parametrize(
        ("model", "task"), [(encoder(), "encoder"), (encoder(), "pose3d"), (action_model(), "action")]
    )
    def test_holds_what_a_folder_holds(self, tmp_path, model, task):
        save_file(tmp_path / "new" / "model.safetensors", model, task=task, card=CARD)
        save(tmp_path / "folder", model, task=task, card=CARD)
        loaded, expected = load(tmp_path / "new" / "model.safetensors"), load(tmp_path / "folder")
        assert same_weights(loaded, expected)
        assert loaded.card == expected.card == CARD
        assert not loaded.training
        assert configuration(loaded) == configuration(expected) == configuration(model)
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.safetensors"]

    def test_is_plain_safetensors_with_the_description_of_a_folder(self, tmp_path, folder):
        save_file(tmp_path / "model.safetensors", encoder(), task="encoder", card=CARD)
        assert set(safetensors.torch.load_file(tmp_path / "model.safetensors")) == set(encoder().state_dict())
        with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
            description = json.loads(file.metadata()["motion_encoder"])
        of_the_folder = json.loads((folder / "model.json").read_text())
        assert description == {name: of_the_folder[name] for name in of_the_folder.keys() - {"weights", "sha256"}}

    def test_a_kill_leaves_the_old_one(self, tmp_path, monkeypatch):
        path = tmp_path / "model.safetensors"
        save_file(path, encoder(0), task="encoder", card=CARD)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                save_file(path, encoder(1), task="encoder", card=CARD)
        assert same_weights(load(path), encoder(0))

    def test_every_changed_byte_is_found(self, tmp_path):
        """In the tensors, and in the description, where another number of heads would make another model."""
        path = tmp_path / "model.safetensors"
        save_file(path, encoder(), task="encoder", card=CARD)
        data = path.read_bytes()
        assert data.count(b'num_heads\\": 2') == 1
        path.write_bytes(data.replace(b'num_heads\\": 2', b'num_heads\\": 1'))
        with pytest.raises(ValueError, match=r"model\.safetensors: damaged: expected SHA-256"):
            load(path)
        for place in range(0, len(data), 97):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with suppress(ValueError):  # else it is a byte that means nothing, as in "format"
                loaded = load(path)
                assert same_weights(loaded, encoder())
                assert (configuration(loaded), loaded.card) == ((CONFIG,), CARD)

    def test_cut_anywhere(self, tmp_path):
        path = tmp_path / "model.safetensors"
        save_file(path, encoder(), task="encoder", card=CARD)
        data = path.read_bytes()
        for length in [*range(12), *range(12, len(data), 499), len(data) - 1]:
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match=r"model\.safetensors: "):
                load(path)

    def test_bare_tensors(self, tmp_path):
        safetensors.torch.save_file(encoder().state_dict(), tmp_path / "model.safetensors")
        loaded = load(tmp_path / "model.safetensors", num_heads=CONFIG.num_heads)
        assert same_weights(loaded, encoder())
        assert loaded.card == ModelCard()

    def test_a_card_that_is_not_json_writes_nothing(self, tmp_path):
        with pytest.raises(ValueError, match=r"model\.safetensors: card: expected only values that JSON can represent"):
            save_file(tmp_path / "model.safetensors", encoder(), task="encoder", card=ModelCard(facts={"a": Path("b")}))
        assert not list(tmp_path.iterdir())


class TestEarlierVersions:
    """Models that were written by earlier versions: their description, as it was then, and the same tensors."""

    def test_encoder_of_version_1(self, folder):
        as_version_2(folder)
        without(folder, "encoder", "learned_fusion")
        model = load_folder(folder)
        assert isinstance(model, DSTformer)
        assert model.config == CONFIG
        assert model.config.learned_fusion

    def test_action_model_of_version_1(self, folder):
        save(folder, action_model(), task="action", card=CARD)
        as_version_2(folder)
        without(folder, "encoder", "learned_fusion")
        without(folder, "head", "published_means")
        model = load_folder(folder)
        assert isinstance(model, ActionModel)
        assert same_weights(model, action_model())
        assert model.head.config == ActionHeadConfig(hidden=4, dropout=0.25, published_means=False)

    def test_version_2_has_to_say_how_streams_are_fused(self, folder):
        as_version_2(folder)
        without(folder, "encoder", "learned_fusion")
        edit(folder, format_version=2)
        with pytest.raises(ValueError, match="DSTformerConfig: missing 'learned_fusion'"):
            load_folder(folder)

    def test_labels_of_version_2(self, folder):
        save(folder, action_model(), task="action", card=CARD)
        as_version_2(folder)
        model = load_folder(folder)
        assert isinstance(model, ActionModel)
        assert (model.labels, model.label_source) == (action_model().labels, None)

    @pytest.mark.parametrize(
        ("facts", "frames"), [({"recipe": {"clip_frames": 27}}, 27), ({"recipe": 3}, None), ({}, None)]
    )
    def test_clip_frames_of_version_2(self, folder, facts, frames):
        """They were a fact among others: the training job's own recipe."""
        as_version_2(folder)
        card = json.loads((folder / "model.json").read_text())["card"]
        edit(folder, card=card | {"facts": facts})
        assert load_folder(folder).card.clip_frames == frames

    def test_head_and_labels_go_together_in_version_2(self, folder):
        as_version_2(folder)
        edit(folder, labels=["walk"])
        with pytest.raises(ValueError, match="head and labels: expected both or neither"):
            load_folder(folder)


def as_version_2(folder: Path) -> None:
    """Turn the description into one of version 2: labels beside the head, which is null in an encoder."""
    values = json.loads((folder / "model.json").read_text())
    del values["module"], values["card"]["clip_frames"]
    values["labels"] = values["head"].pop("labels", None)
    values["head"].pop("label_source", None)
    values["head"] = values["head"] or None
    (folder / "model.json").write_text(json.dumps(values | {"format_version": 2}))


def without(folder: Path, part: str, field: str) -> None:
    """Turn a description of version 2 into one of version 1."""
    values = json.loads((folder / "model.json").read_text())[part]
    del values[field]
    edit(folder, **{"format_version": 1, part: values})


def configuration(model: MotionModel) -> tuple:
    return model.encoder.config, model.head_settings()


def test_another_number_of_joints_has_no_skeleton(tmp_path):
    model = DSTformer(replace(CONFIG, num_joints=25), torch.Generator().manual_seed(0))
    save(tmp_path, model, task="encoder", card=CARD)
    assert json.loads((tmp_path / "model.json").read_text())["skeleton"] is None
    assert same_weights(load_folder(tmp_path), model)


def test_without_learned_fusion(tmp_path):
    model = DSTformer(replace(CONFIG, learned_fusion=False), torch.Generator().manual_seed(0))
    save(tmp_path, model, task="encoder", card=CARD)
    assert same_weights(load_folder(tmp_path), model)


class TestErrors:
    def test_many_tensors_are_counted(self, folder):
        swap_weights(folder, {f"extra.{number}": torch.zeros(1) for number in range(13)})
        missing = len(encoder().state_dict())
        with pytest.raises(ValueError, match="do not fit") as caught:
            load_folder(folder)
        assert f"and {missing - 10} more; unknown extra.0, " in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format_version": 4}, r"model\.json: format version 4, .*reads up to 3\. Upgrade"),
            ({"format_version": "1"}, "number as format_version"),
            ({"task": "dance"}, "task: .*found 'dance'"),
            ({"task": "action"}, "labels: expected a list of names, found None"),
            ({"head": {"hidden": 3}}, "head: expected no settings for a DSTformer, found hidden"),
            (
                {"task": "dance", "module": "other.dances"},
                "defined in the module other.dances, which is not imported automatically",
            ),
            ({"skeleton": "coco17"}, "skeleton: expected 'h36m17' or null, found 'coco17'"),
            ({"weights": "../model.safetensors"}, "a file in the same folder"),
            (
                {"weights": "gone.safetensors"},
                r"names the weights file gone\.safetensors, which is not in the same folder",
            ),
            ({"weights": 3}, "weights: expected text, found 3"),
            ({"sha256": None}, "sha256: expected text, found None"),
            ({"colour": "red"}, "Description: unknown 'colour'"),
            ({"card": {"licences": {}}}, "card: expected licences, scores"),
            ({"encoder": {}}, "DSTformerConfig: missing 'depth'; missing 'dim_feat'"),
            ({"encoder": vars(CONFIG) | {"depth": "1"}}, "'depth' of the wrong type: '1'"),
            ({"encoder": vars(CONFIG) | {"num_heads": 3}}, "encoder.num_heads: expected a divisor"),
        ],
    )
    def test_description(self, folder, changes, message):
        edit(folder, **changes)
        with pytest.raises(ValueError, match=message):
            load_folder(folder)

    @pytest.mark.parametrize("text", ["{", "[]", "\xff"])
    def test_not_json(self, folder, text):
        (folder / "model.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"model\.json: expected"):
            load_folder(folder)

    def test_tensors_that_differ_are_listed(self, folder):
        tensors = encoder().state_dict()
        del tensors["head.bias"]
        tensors |= {"extra": torch.zeros(1), "norm.weight": torch.ones(3), "norm.bias": torch.zeros(16).half()}
        swap_weights(folder, tensors)
        with pytest.raises(ValueError, match="the weights do not fit the description") as caught:
            load_folder(folder)
        for problem in (
            "missing head.bias",
            "unknown extra",
            "norm.weight: expected float32 [16], found float32 [3]",
            "norm.bias: expected float32 [16], found float16 [16]",
        ):
            assert problem in str(caught.value)

    def test_damage_is_found(self, folder):
        path = next(folder.glob("*.safetensors"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match="damaged: expected SHA-256"):
            load_folder(folder)

    def test_weights_that_are_not_safetensors(self, folder):
        path = next(folder.glob("*.safetensors"))
        path.write_bytes(b"PK\x03\x04")
        edit(folder, sha256=hashlib.sha256(b"PK\x03\x04").hexdigest())
        with pytest.raises(ValueError, match="expected safetensors"):
            load_folder(folder)

    @pytest.mark.parametrize(("model", "task"), [(encoder(), "action"), (action_model(), "pose3d")])
    def test_task_of_another_model(self, tmp_path, model, task):
        with pytest.raises(ValueError, match=f"task '{task}' does not fit"):
            save(tmp_path, model, task=task, card=CARD)

    @pytest.mark.parametrize("fact", [float("nan"), Path("somewhere")])
    def test_a_card_that_is_not_json_writes_nothing(self, tmp_path, fact):
        with pytest.raises(ValueError, match="card: expected only values that JSON can represent"):
            save(tmp_path / "model", encoder(), task="encoder", card=ModelCard(facts={"fact": fact}))
        assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_what_could_not_be_loaded_is_not_written(tmp_path, kind):
    model = DSTformer(DSTformerConfig(dim_feat=8, depth=1, num_heads=2, dim_rep=4, max_frames=5), torch.Generator())
    save(tmp_path / "folder", model, task="encoder", card=ModelCard())
    save_file(tmp_path / "file.safetensors", model, task="encoder", card=ModelCard())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for write, where in ((save, "folder"), (save_file, "file.safetensors")):
        with pytest.raises(ValueError, match=r"expected weights in float32, found .* convert with model\.float\(\)"):
            write(tmp_path / where, model.to(kind), task="encoder", card=ModelCard())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
