"""Every job explains each of its options, and says in a line what was wrong with a command."""

import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from motion_encoder.tasks.action import action
from motion_encoder.tasks.pose import pose3d
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import recipes
from pipelines import finetune
from pipelines.training.mlflow_tracking import flatten

CHECKOUT = Path(__file__).resolve().parents[3]
JOBS = ("extract", "pretrain", "finetune", "evaluate", "lift", "quickstart")


@pytest.fixture
def run_file(monkeypatch: pytest.MonkeyPatch):
    """Run a job's file as a program in this process, and return its exit status."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # jobs set them

    def run(job: str, *arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", [f"{job}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(CHECKOUT / "pipelines" / f"{job}.py"), run_name="__main__")
        return ended.value.code or 0

    return run


def explanations(text: str) -> dict[str, str]:
    """What the help says of each option, without its default."""
    found: dict[str, str] = {}
    option = None
    for line in (line.strip(" │") for line in text.splitlines()):
        if line.startswith(("--", "-h, --")) and not line.startswith("---"):
            names, _, beside = line.partition("  ")  # the explanation stands beside it, or below
            option = names.removeprefix("-h, ").split()[0].rstrip(",")
            found[option] = beside
        elif not line or line[0] in "─╭╰-":
            option = None
        elif option:
            found[option] += " " + line
    return {option: re.sub(r"\((default|required|repeatable).*", "", said).strip() for option, said in found.items()}


@pytest.mark.parametrize("job", JOBS)
def test_help_explains_every_option(job: str, run_file, capsys: pytest.CaptureFixture[str]):
    assert run_file(job, "--help") == 0
    said = explanations(capsys.readouterr().out)
    assert len(said) > 3
    assert [option for option, text in said.items() if len(text) < 5] == []


def test_an_option_without_an_explanation_would_be_found():
    text = """
 │ --below INT
 │     So many. (default: 1)
 │ --untold INT
 │     (default: 1)
 ────────────────
  --beside INT    So many,
                  or more. (default: 1)
  ---------------
  --nothing INT   (default: 1)
"""
    assert explanations(text) == {
        "--below": "So many.",
        "--untold": "",
        "--beside": "So many, or more.",
        "--nothing": "",
    }


def test_help_lists_the_recipes(run_file, capsys: pytest.CaptureFixture[str]):
    run_file("pretrain", "--help")
    said = capsys.readouterr().out
    for recipe in ("motionbert:", "motionbert_lite:", "laptop:"):
        assert recipe in said


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["pretrain", "laptp", "--store", "s"],
            r"recipe: expected one of motionbert, .*, found 'laptp'",
        ),
        (["pretrain", "laptop"], r"--store"),
        (["pretrain", "laptop", "--store", "s", "--recipe.lr", "1"], r"Unrecognized.*--recipe.lr"),
        (
            ["pretrain", "laptop", "--store", "s", "--recipe.optimisation.lr", "-1"],
            r"lr: expected more than 0, found -1",
        ),
        (["pretrain", "laptop", "--store", "s", "--recipe.optimisation.lr", "fast"], r"fast"),
        (["pretrain", "laptop", "--store", "s", "--recipe.seed", "-1"], r"seed: expected at least 0, found -1"),
        (["pretrain", "laptop", "--store", "s", "--workers", "0"], r"workers: expected at least 1, found 0"),
        (["finetune", "pose4d", "--store", "s"], r"recipe: expected one of .*, found 'pose4d'"),
        (
            ["finetune", "laptop", "--store", "s"],
            r"recipe laptop: expected a recipe for this job \(pose3d, .*_action\)",
        ),
        (["pretrain", "pose3d", "--store", "s"], r"recipe pose3d: expected a recipe for this job \(motionbert, "),
        (["pretrain", "laptop", "motionbert", "--store", "s"], r"recipe: expected one, found laptop, motionbert"),
        (["finetune", "pose3d", "pose3d", "--store", "s"], r"recipes: expected each recipe once, found pose3d, pose3d"),
        (["pretrain", "laptop", "--recipe"], r"--recipe: expected the name of a recipe after it"),
        (["pretrain", "no.such.module:tiny", "--store", "s"], r"module no.such.module cannot be imported"),
        (["pretrain", "math:tiny", "--store", "s"], r"recipe math:tiny: expected a function 'tiny' in math"),
        (["pretrain", "time:time", "--store", "s"], r"expected a Recipe from time\(\), found a float"),
        (["pretrain", "laptop", "--store", "s", "--recipe.encoder.num-joints", "20"], r"Unrecognized.*num-joints"),
        (
            ["finetune", "laptop_action", "--store", "s", "--recipes.laptop-action.dropout", "2"],
            r"dropout: expected a share",
        ),
        (["finetune", "--stor", "s"], r"Unrecognized.*--stor"),
        (["evaluate", "--model", "m", "--store", "s", "--clip-frames", "0"], r"clip_frames: expected at least 1"),
        (["evaluate", "--model", "nowhere", "--store", "s"], r"nowhere: no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_a_message_and_status_2(
    command: list[str],
    message: str,
    run_file,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    assert run_file(*command) == 2
    said = capsys.readouterr().err + caplog.text
    unwrapped = " ".join(re.sub(r"[│╭╮╰╯─]", " ", said).split())
    assert re.search(message, unwrapped), unwrapped
    assert "Traceback" not in said


def leaves(recipe: Recipe) -> dict[str, object]:
    """Every field of a recipe by its option, nested ones joined by dots; pairs are one option."""
    return {key.replace("_", "-"): value for key, value in flatten(recipe.to_tree()).items()}


@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_every_field_of_every_recipe_is_an_option(job: str, run_file, capsys: pytest.CaptureFixture[str]):
    for name, make in recipes().items():
        recipe = make()
        if (recipe.task == "encoder") != (job == "pretrain"):
            continue
        assert run_file(job, name, "--help") == 0
        prefix = "--recipe" if job == "pretrain" else f"--recipes.{name.replace('_', '-')}"
        said = explanations(capsys.readouterr().out)
        options = {option for option in said if option.startswith(f"{prefix}.")}
        assert {f"{prefix}.{leaf}" for leaf in leaves(recipe)} <= options | {
            option.replace("--no-", "--") for option in options
        }


def test_options_of_several_recipes_reach_their_own():
    arguments = ["pose3d", "--recipe", "action", "--store", "s"]
    arguments += ["--recipes.pose3d.optimisation.steps", "7", "--recipes.action.hidden", "9"]
    config = finetune.configure(arguments)
    assert list(config.recipes) == ["pose3d", "action"]
    assert config.recipes["pose3d"] == replace(pose3d(), optimisation=replace(pose3d().optimisation, steps=7))
    assert config.recipes["action"] == replace(action(), hidden=9)


@pytest.mark.parametrize("how", [["-m", "pipelines.pretrain"], ["pipelines/pretrain.py"]], ids=["module", "file"])
def test_a_process_ends_with_the_message_and_the_status(how: list[str]):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *how, "laptp"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: recipe: expected one of motionbert, motionbert_lite, laptop, ")
    assert done.stderr.endswith(", found 'laptp'\n")
    assert done.stderr.count("\n") == 1
