"""Pulling models: from a folder, and from a real MLflow registry, by alias, version and run, in fresh processes too."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import motion_encoder
from motion_encoder import ActionHeadConfig, ActionModel, DSTformer, DSTformerConfig, ModelCard, load, save

PACKAGE = Path(motion_encoder.__file__).parent
CARD = ModelCard(licences={"procedural": "Apache-2.0"}, facts={"recipe": "tiny"})


def encoder(seed: int = 0) -> DSTformer:
    config = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=8, max_frames=12)
    return DSTformer(config, torch.Generator().manual_seed(seed)).eval()


def action_model() -> ActionModel:
    generator = torch.Generator().manual_seed(0)
    return ActionModel(encoder(), ("walk", "wave"), ActionHeadConfig(hidden=4), generator).eval()


def clip() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (2, 5, 17, 3)).astype(np.float32)


def answer(model: DSTformer | ActionModel) -> np.ndarray:
    """What the model says of ``clip``, as plain torch."""
    x_BTJC = torch.from_numpy(clip())
    with torch.no_grad():
        return model(x_BTJC[:, None] if isinstance(model, ActionModel) else x_BTJC).numpy()


class TestFolder:
    def test_is_loaded(self, tmp_path):
        save(tmp_path, encoder(), task="pose3d", card=CARD)
        for where in (tmp_path, str(tmp_path)):
            model = load(where)
            assert model.card == CARD
            np.testing.assert_array_equal(answer(model), answer(encoder()))

    def test_a_file_is_refused(self, tmp_path):
        (tmp_path / "best_epoch.bin").touch()
        with pytest.raises(ValueError, match=r"best_epoch\.bin: this is a file\. Expected a model folder"):
            load(tmp_path / "best_epoch.bin")

    @pytest.mark.parametrize("where", ["gone", "https://example.org/model"])
    def test_nothing_there(self, tmp_path, monkeypatch, where):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=rf"{where}: there is no such folder\. Expected a model folder"):
            load(where)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(ValueError, match=r"model\.json: no such file"):
            load(tmp_path)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A tracking store in a folder, with an encoder and an action model in it."""

    uri: str
    run_id: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        root = tmp_path_factory.mktemp("mlflow")
        before, uri = mlflow.get_tracking_uri(), f"sqlite:///{root}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        experiment = mlflow.create_experiment("models", artifact_location=(root / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment) as run:
            register(root / "encoder", encoder(), "encoder")
            register(root / "action", action_model(), "action")
        yield Registry(uri=uri, run_id=run.info.run_id)
        mlflow.set_tracking_uri(before)


def register(folder: Path, model: DSTformer | ActionModel, name: str) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    save(folder, model, task="action" if isinstance(model, ActionModel) else "encoder", card=CARD)
    shape = (-1, -1) if isinstance(model, ActionModel) else (-1, -1, 17, 3)
    info = mlflow.pyfunc.log_model(
        name=name,
        python_model=str(PACKAGE / "pyfunc_model.py"),
        artifacts={"model": str(folder)},
        code_paths=[str(PACKAGE)],
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1, 17, 3))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), shape)]),
        ),
        pip_requirements=["mlflow", "numpy", "safetensors", "torch"],
        registered_model_name=name,
    )
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", str(info.registered_model_version))


# MLflow warns of its own tables and type hints, and asks for an example where the signature says it all.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
@pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning")
class TestRegistry:
    @pytest.mark.parametrize("where", ["models:/encoder@champion", "models:/encoder/1", "runs:/{run}/encoder"])
    def test_pulls_by_any_name(self, registry, where):
        model = load(where.format(run=registry.run_id))
        assert model.card == CARD
        np.testing.assert_array_equal(answer(model), answer(encoder()))

    def test_pulls_an_action_model(self, registry):
        model = load("models:/action@champion")
        assert isinstance(model, ActionModel)
        assert model.labels == ("walk", "wave")
        np.testing.assert_array_equal(answer(model), answer(action_model()))

    @pytest.mark.parametrize("where", ["models:/encoder@nobody", "models:/unknown/1", "runs:/0123/encoder"])
    def test_what_is_not_there(self, registry, where):
        with pytest.raises(ValueError, match=f"{where}: cannot be pulled .* sqlite.*MLFLOW_TRACKING_URI"):
            load(where)

    def test_a_run_without_a_model(self, registry):
        import mlflow

        mlflow.MlflowClient().log_text(registry.run_id, "no model", "notes/readme.txt")
        with pytest.raises(ValueError, match=r"expected one model\.json in what was pulled, found 0"):
            load(f"runs:/{registry.run_id}/notes")

    def test_nothing_in_it_is_a_pickle(self, registry, tmp_path):
        from mlflow.artifacts import download_artifacts

        download_artifacts("models:/encoder@champion", dst_path=str(tmp_path))
        names = [path.name for path in tmp_path.rglob("*")]
        assert "model.json" in names
        assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]

    @pytest.mark.parametrize(("name", "model"), [("encoder", encoder()), ("action", action_model())])
    def test_plain_mlflow_in_a_fresh_process(self, registry, tmp_path, name, model):
        """Only MLflow's own calls; the package comes out of the registry, not from the checkout."""
        np.save(tmp_path / "x.npy", clip())
        fresh_python(
            f"""
            import mlflow, numpy
            model = mlflow.pyfunc.load_model("models:/{name}@champion")
            numpy.save("y.npy", model.predict(numpy.load("x.npy")))
            import motion_encoder
            assert not motion_encoder.__file__.startswith({str(PACKAGE)!r}), motion_encoder.__file__
            """,
            tmp_path,
            MLFLOW_TRACKING_URI=registry.uri,
            MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
        )
        output = np.load(tmp_path / "y.npy")
        assert output.dtype == np.float32
        np.testing.assert_array_equal(output, answer(model))


class TestImport:
    def test_brings_nothing_heavy_along(self, tmp_path):
        fresh_python(
            """
            import sys, motion_encoder
            assert not {"ray", "mlflow", "pyarrow", "pandas", "scipy"} & set(sys.modules)
            """,
            tmp_path,
        )

    def test_works_without_what_a_pull_does_not_need(self, tmp_path):
        save(tmp_path / "model", encoder(), task="encoder", card=CARD)
        fresh_python(
            """
            import sys
            for missing in ("jaxtyping", "beartype", "mlflow", "ray", "pyarrow", "scipy"):
                sys.modules[missing] = None
            import motion_encoder
            assert motion_encoder.load("model").card.licences == {"procedural": "Apache-2.0"}
            try:
                motion_encoder.load("models:/encoder@champion")
            except ModuleNotFoundError as error:
                assert "pip install mlflow" in str(error), error
            else:
                raise AssertionError("a registry was read without MLflow")
            """,
            tmp_path,
        )


def fresh_python(code: str, folder: Path, **environment: str) -> None:
    """Run ``code`` in ``folder`` by an interpreter of its own."""
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
