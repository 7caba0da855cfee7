"""The newcomer's command, whole: on motion made up, and on real recordings."""

import re
from pathlib import Path

import mlflow
import numpy as np
import pytest

FEW = ("--pretrain-steps", "30", "--finetune-steps", "20")


def score(summary: str, name: str) -> float:
    found = re.search(rf"^\s+{re.escape(name)}\s+([\d.]+)%?$", summary, re.MULTILINE)
    assert found, f"no score of {name} in:\n{summary}"
    return float(found[1])


@pytest.mark.slow
def test_on_motion_made_up(run, tmp_path: Path):
    command = ("python", "-m", "pipelines.quickstart", *FEW, "--out", tmp_path / "made")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    for name in ("store/manifest.json", "mlflow.db", "lifted/view.html", "lifted/strip.png"):
        assert (tmp_path / "made" / name).stat().st_size > 1000, name
    assert "pipelines.lift --keypoints" in done.stderr
    assert "mlflow ui --backend-store-uri" in done.stderr
    assert score(done.stderr, "pretrained") < score(done.stderr, "before training")

    again = run(*command)
    assert again.returncode == 0, again.stderr
    registry = mlflow.MlflowClient(f"sqlite:///{tmp_path}/made/mlflow.db")
    models = registry.search_registered_models()
    versions = {model.name: len(registry.search_model_versions(f"name = '{model.name}'")) for model in models}
    assert versions == {"motion-encoder": 1, "motion-pose3d": 2, "motion-action": 2}  # none was trained again
    assert score(again.stderr, "laptop_pose3d-pretrained") == score(done.stderr, "laptop_pose3d-pretrained")

    other = run("python", "-m", "pipelines.quickstart", "--pretrain-steps", "31", "--out", tmp_path / "made")
    assert other.returncode == 2
    assert "was made with other settings" in other.stderr


@pytest.mark.slow
def test_on_real_recordings_the_lifted_motion_moves_like_the_input(run, real_data: Path, tmp_path: Path):
    done = run("python", "-m", "pipelines.quickstart", "--data", real_data, "--out", tmp_path, limit_s=1500)
    assert done.returncode == 0, done.stderr
    before, pretrained = score(done.stderr, "before training"), score(done.stderr, "pretrained")
    assert pretrained < before / 2
    assert score(done.stderr, "laptop_pose3d-pretrained") < score(done.stderr, "laptop_pose3d-scratch")

    keypoints = next((tmp_path / "lifted").glob("*-keypoints.npz"))
    with (
        np.load(keypoints, allow_pickle=False) as seen,
        np.load(str(keypoints).replace("-keypoints", ""), allow_pickle=False) as lifted,
    ):
        limbs = [3, 6, 13, 16]  # ankles and wrists
        moved = np.diff(seen["keypoints_2d"][:, limbs], axis=0).ravel()
        followed = np.diff(lifted["pixels"][:, limbs, :2], axis=0).ravel()
    assert np.corrcoef(moved, followed)[0, 1] > 0.8
