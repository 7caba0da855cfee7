"""Loading models: from here, from any storage, and from a real MLflow registry, in fresh processes too."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer

import motion_encoder
from motion_encoder import (
    ActionHeadConfig,
    ActionModel,
    DSTformer,
    DSTformerConfig,
    ModelCard,
    MotionModel,
    load,
    save,
    save_file,
    save_mmpose,
    save_official,
)
from motion_encoder.metrics import Protocol, Score

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


def answer(model: MotionModel) -> np.ndarray:
    """What the model says of ``clip``, as plain torch."""
    with torch.no_grad():
        return model.predict(torch.from_numpy(clip())).numpy()


class TestFolder:
    def test_is_loaded(self, tmp_path):
        save(tmp_path, encoder(), task="pose3d", card=CARD)
        for where in (tmp_path, str(tmp_path)):
            model = load(where)
            assert model.card == CARD
            np.testing.assert_array_equal(answer(model), answer(encoder()))

    def test_nothing_there(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for where in ("gone", Path("gone.bin")):
            with pytest.raises(ValueError, match=rf"{where}: no such folder or file\. Expected a model folder"):
                load(where)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(ValueError, match=r"model\.json: no such file"):
            load(tmp_path)


class TestFile:
    @pytest.mark.parametrize("save_as", [save_file, save_official, save_mmpose])
    def test_is_known_by_its_content(self, tmp_path, save_as):
        save_as(tmp_path / "a.model", encoder(), task="pose3d", card=CARD)
        for where in (tmp_path / "a.model", str(tmp_path / "a.model")):
            model = load(where)
            assert model.card == CARD
            assert not model.training
            np.testing.assert_array_equal(answer(model), answer(encoder()))

    @pytest.mark.parametrize("content", [b"{}", b"\x01" + bytes(7) + b"[", b"# Notes\n" * 9, b"GIF89a" * 9])
    def test_of_something_else(self, tmp_path, content):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match=r"file: .* Expected the weights of a model: torch"):
            load(tmp_path / "file")


class TestOptions:
    SCORE = Score(
        protocol=Protocol(metric="top1", input="projected-2d", clip_frames=12, split="test", data="1a2b"),
        value=0.5,
        higher_is_better=True,
    )

    @pytest.mark.parametrize("save_as", [save, save_file, save_official])
    def test_the_encoder_of_an_action_model(self, tmp_path, save_as):
        card = ModelCard(licences=CARD.licences, facts=CARD.facts, scores=(self.SCORE,))
        save_as(tmp_path / "model", action_model(), task="action", card=card)
        model = load(tmp_path / "model", part="encoder")
        assert isinstance(model, DSTformer)
        assert model.card == CARD  # the score is that of the whole
        np.testing.assert_array_equal(answer(model), answer(encoder()))
        assert all(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("save_as", [save, save_file, save_official])
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"part": "encoder"}, "already an encoder .*: leave part out"),
            ({"num_heads": 2}, "leave num_heads and labels out|states it: leave it out"),
            ({"labels": ("walk",)}, "leave num_heads and labels out|states it: leave it out"),
        ],
    )
    def test_those_without_effect_are_refused(self, tmp_path, save_as, options, message):
        save_as(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        with pytest.raises(ValueError, match=f"model.*: .*({message})"):
            load(tmp_path / "model", **options)


@pytest.fixture(params=["memory", "file", "http", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty place, to be filled by ``upload``."""
    if request.param == "memory":
        yield f"memory://{tmp_path.name}"
    elif request.param == "file":
        yield (tmp_path / "stored").as_uri()
    elif request.param == "http":
        yield from web_server(tmp_path / "stored")
    else:
        yield from bucket(monkeypatch)


def web_server(folder: Path) -> Iterator[str]:
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    SERVED[f"http://127.0.0.1:{server.server_port}"] = folder
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


SERVED: dict[str, Path] = {}
"""The folder behind each web server."""


def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3 = fsspec.get_filesystem_class("s3")
    s3.clear_instance_cache()  # an instance keeps the endpoint of the environment that it was made in
    name = f"models-{uuid4()}"  # what is in a bucket outlives its server
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}"
    s3.clear_instance_cache()
    server.stop()


def upload(source: Path, url: str) -> None:
    server = next((server for server in SERVED if url.startswith(server)), None)
    target = url if server is None else str(SERVED[server]) + url.removeprefix(server)
    filesystem, place = fsspec.url_to_fs(target)
    files = [source] if source.is_file() else list(source.iterdir())
    for file in files:
        to = place if source.is_file() else f"{place}/{file.name}"
        filesystem.makedirs(to.rpartition("/")[0], exist_ok=True)
        filesystem.put_file(str(file), to)


class TestURL:
    @pytest.mark.parametrize("save_as", [save, save_file, save_official])
    def test_any_format_from_any_storage(self, tmp_path, storage, save_as, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(scratch := tmp_path / "scratch"))
        scratch.mkdir()
        save_as(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        if save_as is save:
            (tmp_path / "model" / "notes.txt").write_text("not a part of the model")
        upload(tmp_path / "model", f"{storage}/some/model")
        for where in (f"{storage}/some/model", f"{storage}/some/model/"):
            model = load(where)
            assert model.card == CARD
            np.testing.assert_array_equal(answer(model), answer(encoder()))
        assert list(scratch.iterdir()) == []

    def test_nothing_there(self, storage):
        with pytest.raises(ValueError, match=f"{storage}/gone.bin: cannot be fetched: .*Expected a model folder"):
            load(f"{storage}/gone.bin")

    def test_errors_name_the_url(self, tmp_path, storage):
        (tmp_path / "notes.txt").write_text("# Notes\n" * 9)
        upload(tmp_path / "notes.txt", f"{storage}/notes.txt")
        with pytest.raises(ValueError, match=f"^{storage}/notes.txt: text that begins with '# Notes'"):
            load(f"{storage}/notes.txt")
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        next((tmp_path / "model").glob("*.safetensors")).write_bytes(b"cut")
        upload(tmp_path / "model", f"{storage}/model")
        with pytest.raises(ValueError, match=f"^{storage}/model/model.json: model-.* is damaged"):
            load(f"{storage}/model")

    def test_a_folder_cannot_name_weights_elsewhere(self, tmp_path, storage):
        save(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        path = tmp_path / "model" / "model.json"
        path.write_text(path.read_text().replace('"weights": "', '"weights": "../'))
        upload(tmp_path / "model", f"{storage}/model")
        with pytest.raises(ValueError, match="weights: expected the name of a file in the same folder"):
            load(f"{storage}/model")

    def test_without_credentials(self, monkeypatch, tmp_path):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with pytest.raises(ValueError, match=r"s3://models/a\.bin: cannot be fetched: .*credentials"):
            load("s3://models/a.bin")

    @pytest.mark.parametrize("storage", ["http"], indirect=True)
    def test_a_file_behind_a_query(self, tmp_path, storage):
        save_file(tmp_path / "model", encoder(), task="pose3d", card=CARD)
        upload(tmp_path / "model", f"{storage}/model")
        np.testing.assert_array_equal(answer(load(f"{storage}/model?download=true")), answer(encoder()))

    def test_nobody_answers(self):
        with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9/a\.bin: cannot be fetched: "):
            load("http://127.0.0.1:9/a.bin")

    def test_an_unknown_protocol(self):
        with pytest.raises(ValueError, match=r"pigeon://a/b: cannot be fetched: .*pigeon"):
            load("pigeon://a/b")


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


def register(folder: Path, model: MotionModel, name: str) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    save(folder, model, task="action" if isinstance(model, ActionModel) else "encoder", card=CARD)
    shape = (-1, -1) if isinstance(model, ActionModel) else (-1, -1, 17, 3)
    info = mlflow.pyfunc.log_model(
        name=name,
        python_model=str(PACKAGE / "io" / "pyfunc_model.py"),
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
        with pytest.raises(ValueError, match=r"expected one model\.json in the downloaded files, found 0"):
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
            for name in motion_encoder.__all__:
                getattr(motion_encoder, name)
            assert not {"ray", "mlflow", "pyarrow", "pandas", "scipy", "fsspec", "moto"} & set(sys.modules)
            """,
            tmp_path,
        )

    def test_works_without_what_a_pull_does_not_need(self, tmp_path):
        save(tmp_path / "model", encoder(), task="encoder", card=CARD)
        fresh_python(
            """
            import sys
            for missing in ("jaxtyping", "beartype", "mlflow", "ray", "pyarrow", "scipy", "fsspec"):
                sys.modules[missing] = None
            import motion_encoder
            assert motion_encoder.load("model").card.licences == {"procedural": "Apache-2.0"}
            for where, needed in (("models:/encoder@champion", "mlflow"), ("s3://bucket/model", "fsspec")):
                try:
                    motion_encoder.load(where)
                except ModuleNotFoundError as error:
                    assert f"pip install {needed}" in str(error), error
                else:
                    raise AssertionError(f"read without {needed}")
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
