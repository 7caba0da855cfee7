"""Recordings to lifted motion through the six jobs, each a process of its own: what a user finds afterwards."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from mlflow import MlflowClient

from datasets.readers.procedural import reader

JOBS = ("extract", "pretrain", "finetune", "evaluate", "lift", "quickstart")
FRAMES = 60
A_FEW_STEPS = (
    *("--recipe.optimisation.steps", "4", "--recipe.optimisation.warmup-steps", "1"),
    *("--recipe.optimisation.global-batch", "8", "--recipe.clip-frames", "9"),
)


@pytest.mark.parametrize("name", JOBS)
def test_every_job_run_as_a_file_from_anywhere_explains_itself(run, checkout, tmp_path, name):
    done = run("python", checkout / "pipelines" / f"{name}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}.py" in done.stdout
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The folder that the jobs worked in, and what each said."""

    folder: Path
    done: Mapping[str, subprocess.CompletedProcess[str]]
    tracking: str

    def said(self, name: str) -> str:
        return self.done[name].stderr


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def chain(job, store, checkout, tmp_path_factory) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    uri = f"sqlite:///{folder}/mlflow.db"
    places = ("--store", store, "--storage", folder / "runs", "--cache", folder / "cache", "--tracking.uri", uri)
    write_keypoints(folder / "keypoints.npz")
    before = files_of(checkout)
    commands = {
        "pretrain": ("laptop", *places, *A_FEW_STEPS, "--workers", "2"),
        "finetune": (*places, "--steps", "11"),
        "evaluate": (
            *("--model", "models:/motion-action@champion", "--store", store),
            *("--cache", folder / "cache", "--tracking.uri", uri),
        ),
        "lift": (
            *("--keypoints", folder / "keypoints.npz", "--model", "models:/motion-pose3d@champion"),
            *("--out", folder / "lifted"),
        ),
    }
    done = {}
    for name, options in commands.items():
        done[name] = job(name, *options, env={"MLFLOW_TRACKING_URI": uri})
        assert done[name].returncode == 0, f"{name}: {done[name].stderr}"
    assert files_of(checkout) == before
    return Chain(folder=folder, done=done, tracking=uri)


def write_keypoints(path: Path) -> None:
    """A detector's view of somebody made up: [T, 17, 2] pixels in the order of h36m17."""
    [first, *_] = reader.READER.recordings("procedural://?people=0&detections=1&takes=1&seconds=2")
    [person] = reader.READER.read(first)
    assert person.keypoints_2d_TJC is not None
    assert person.num_frames == FRAMES
    np.savez(path, keypoints_2d=person.keypoints_2d_TJC, confidence=person.confidence_TJ, fps=person.fps)


@pytest.mark.slow
def test_the_encoder_and_each_task_have_a_champion(chain):
    client = MlflowClient(chain.tracking)
    # Each task is trained from the encoder and from scratch; both are registered, the better one is champion.
    versions = {"motion-encoder": 1, "motion-pose3d": 2, "motion-action": 2}
    assert {model.name for model in client.search_registered_models()} == set(versions)
    for name, count in versions.items():
        assert len(client.search_model_versions(f"name='{name}'")) == count
        champion = client.get_model_version_by_alias(name, "champion")
        assert champion.tags["protocol"]
        assert np.isfinite(float(champion.tags["score"]))


@pytest.mark.slow
def test_finetuning_runs_are_children_of_one_run(chain):
    client = MlflowClient(chain.tracking)
    experiment = client.get_experiment_by_name("motion-encoder")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert all(run.info.status == "FINISHED" for run in runs)
    [parent] = [run for run in runs if run.info.run_name == "finetune"]
    children = {run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    starts = ("pretrained", "scratch")
    assert children == {f"finetune-laptop_{task}-{start}" for task in ("pose3d", "action") for start in starts}


@pytest.mark.slow
def test_evaluation_repeats_the_score_that_the_model_was_registered_with(chain):
    champion = MlflowClient(chain.tracking).get_model_version_by_alias("motion-action", "champion")
    [printed] = re.findall(rf"^{re.escape(champion.tags['protocol'])} +(\S+)$", chain.said("evaluate"), re.MULTILINE)
    assert float(printed) == pytest.approx(float(champion.tags["score"]), abs=1e-4)


@pytest.mark.slow
def test_lifting_leaves_motion_a_view_and_a_picture(chain):
    out = chain.folder / "lifted"
    assert {path.name for path in out.iterdir()} == {"person_0.npz", "view.html", "strip.png"}
    with np.load(out / "person_0.npz", allow_pickle=False) as motion:
        assert motion["metres"].shape == (FRAMES, 17, 3)
        assert np.isfinite(motion["metres"]).all()
    assert "<html" in (out / "view.html").read_text()
    assert imread(out / "strip.png").std() > 0
    assert str(out) in chain.said("lift")


@pytest.mark.slow
def test_everything_lies_where_the_options_said(chain):
    assert {path.name for path in chain.folder.iterdir()} == {
        *("keypoints.npz", "mlflow.db", "mlartifacts", "runs", "cache", "lifted"),
    }


@pytest.mark.slow
def test_a_run_of_the_same_name_is_not_trained_again(chain, job, store):
    done = job(
        *("pretrain", "laptop", "--store", store, *A_FEW_STEPS, "--workers", "2"),
        *("--storage", chain.folder / "runs", "--cache", chain.folder / "cache", "--tracking.uri", chain.tracking),
    )
    assert done.returncode == 0, done.stderr
    assert "already finished" in done.stderr
    assert len(MlflowClient(chain.tracking).search_model_versions("name='motion-encoder'")) == 1
