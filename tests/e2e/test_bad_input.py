"""Whatever is wrong with input, options or disk: one clear message, a status that is not 0, nothing half-written."""

import json
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motion_encoder import DSTformer, DSTformerConfig, ModelCard, save

# A body in metres: joint, its parent, offset. Names and tree are LAFAN1's.
TRUNK = (
    *(("Hips", "", (0, 0.95, 0)), ("Spine", "Hips", (0, 0.1, 0)), ("Spine1", "Spine", (0, 0.15, 0))),
    *(("Neck", "Spine1", (0, 0.25, 0)), ("Head", "Neck", (0, 0.1, 0))),
)
LIMBS = (
    *(("UpLeg", "Hips", (0.1, 0, 0)), ("Leg", "UpLeg", (0, -0.45, 0)), ("Foot", "Leg", (0, -0.45, 0))),
    *(("Arm", "Spine1", (0.18, 0.2, 0)), ("ForeArm", "Arm", (0.28, 0, 0)), ("Hand", "ForeArm", (0.25, 0, 0))),
)
BODY = TRUNK + tuple(
    (side + name, parent if parent in ("Hips", "Spine1") else side + parent, (sign * x, y, z))
    for side, sign in (("Left", 1), ("Right", -1))
    for name, parent, (x, y, z) in LIMBS
)
FRAMES = 30


def bvh(sway: float) -> str:
    """One second of somebody who leans back and forth by ``sway`` degrees."""
    lines, order = ["HIERARCHY"], []

    def joint(name: str, parent: str, offset: tuple[float, ...]) -> None:
        order.append(name)
        position = "" if parent else " Xposition Yposition Zposition"
        lines.extend([f"{'JOINT' if parent else 'ROOT'} {name}", "{", f"OFFSET {offset[0]} {offset[1]} {offset[2]}"])
        lines.append(f"CHANNELS {3 if parent else 6}{position} Zrotation Xrotation Yrotation")
        children = [each for each in BODY if each[1] == name]
        for child in children:
            joint(*child)
        lines.extend([] if children else ["End Site", "{", "OFFSET 0 0.15 0", "}"])
        lines.append("}")

    joint(*BODY[0])
    lines += ["MOTION", f"Frames: {FRAMES}", f"Frame Time: {1 / 30:.7f}"]
    for frame in range(FRAMES):
        bend = {"Spine": sway * np.sin(frame / 5)}
        lines.append(" ".join(["0 0.95 0", *(f"0 {bend.get(name, 0):.4f} 0" for name in order)]))
    return "\n".join([*lines, ""])


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a job that failed because of its user, in one line, without tyro's frame."""
    assert done.returncode not in (0, 1), done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert len(re.findall(r"^error: |^╭─ ", done.stderr, re.MULTILINE)) == 1, done.stderr
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=16, max_frames=27)
    save(folder, DSTformer(config, torch.Generator().manual_seed(0)), task="pose3d", card=ModelCard())
    return folder


@pytest.fixture
def store_copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "store"))


@pytest.fixture
def evaluate(job: Callable[..., Any], model: Path, tmp_path: Path) -> Callable[..., Any]:
    def evaluate(store: Path, **how: object) -> subprocess.CompletedProcess[str]:
        places = ("--cache", tmp_path / "cache", "--tracking.uri", f"sqlite:///{tmp_path}/mlflow.db")
        return job("evaluate", "--model", model, "--store", store, "--clip-frames", "9", *places, **how)

    return evaluate


def test_a_folder_that_is_not_there(job, tmp_path):
    done = job("extract", "--input", tmp_path / "nowhere", "--store", tmp_path / "store")
    assert f"{tmp_path}/nowhere: no such file or folder" in complaint(done)
    assert not (tmp_path / "store").exists()


def test_an_empty_folder(job, tmp_path):
    (tmp_path / "empty").mkdir()
    done = job("extract", "--input", tmp_path / "empty", "--store", tmp_path / "store")
    assert "no file in it" in complaint(done)
    assert not (tmp_path / "store").exists()


def test_a_folder_of_unknown_formats(job, tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "motion.fbx").write_bytes(b"Kaydara")
    (tmp_path / "recordings" / "settings.json").write_text("{}")
    done = job("extract", "--input", tmp_path / "recordings", "--store", tmp_path / "store")
    assert "expected recordings in a known format" in complaint(done)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("option", ["--input", "--store"])
def test_a_bucket_that_cannot_be_reached(job, tmp_path, option):
    places = {"--input": "procedural://?people=1", "--store": str(tmp_path / "store"), option: "s3://lab/walks"}
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    done = job("extract", *(word for place in places.items() for word in place), env=nobody)
    assert "Could not connect to the endpoint URL" in complaint(done)


PRETRAIN = ("pretrain", "laptop", "--store", "s")
EXTRACT = ("extract", "--input", "i", "--store", "s")
FINETUNE = ("finetune", "--store", "s")
MISTYPED = {
    "a recipe that there is not": (("pretrain", "desktop", "--store", "s"), "recipe: expected one of motionbert, "),
    "a task that there is not": (("finetune", "dance", "--store", "s"), "laptop_pose3d"),
    "an unknown option": ((*EXTRACT, "--frames", "3"), "--frames"),
    "an option that is missing": (("lift", "--keypoints", "k.json", "--out", "o"), "--model"),
    "a word for a number": ((*FINETUNE, "--steps", "many"), "--steps"),
    "no steps": ((*PRETRAIN, "--recipe.optimisation.steps", "0"), "optimisation.steps: expected more than 0"),
    "no workers": ((*PRETRAIN, "--workers", "0"), "workers: expected at least 1"),
    "a clip longer than the encoder": ((*PRETRAIN, "--recipe.clip-frames", "244"), "clip_frames: expected 1 to"),
    "a rate of 0": ((*EXTRACT, "--fps", "0"), "fps: expected between"),
    "a share above 1": ((*EXTRACT, "--max-quarantined", "2"), "max_quarantined: expected a share"),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_command(run, checkout, tmp_path, case):
    (name, *options), named = MISTYPED[case]
    assert named in complaint(run("python", checkout / "pipelines" / f"{name}.py", *options, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_the_registry_does_not_have(job, store, tmp_path):
    uri, missing = f"sqlite:///{tmp_path}/mlflow.db", "models:/motion-pose3d@champion"
    done = job(
        *("lift", "--keypoints", keypoints(tmp_path), "--model", missing, "--out", tmp_path / "out"),
        env={"MLFLOW_TRACKING_URI": uri},
    )
    assert missing in complaint(done)
    assert not (tmp_path / "out").exists()
    done = job("evaluate", "--model", missing, "--store", store, "--tracking.uri", uri)
    assert missing in complaint(done)


def keypoints(folder: Path) -> Path:
    random = np.random.default_rng(0)
    path = folder / "person.npz"
    np.savez(path, keypoints_2d=random.uniform(100, 500, (40, 17, 2)), confidence=np.ones((40, 17)))
    return path


def test_a_store_of_a_newer_schema(evaluate, store_copy):
    manifest = json.loads((store_copy / "manifest.json").read_text())
    newer = manifest["schema_version"] + 1
    (store_copy / "manifest.json").write_text(json.dumps(manifest | {"schema_version": newer}))
    assert str(newer) in complaint(evaluate(store_copy))


def test_a_store_that_was_not_finished(evaluate, store_copy):
    (store_copy / "manifest.json").unlink()
    said = complaint(evaluate(store_copy))
    assert "found no manifest.json" in said


def test_a_part_with_a_flipped_bit(evaluate, store_copy, tmp_path):
    [part] = store_copy.glob("source=procedural/split=test/*.parquet")
    good = part.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    part.write_bytes(bad)
    assert str(part.relative_to(store_copy)) in complaint(evaluate(store_copy))

    part.write_bytes(good)
    done = evaluate(store_copy)  # over what the failed one left in the cache
    assert done.returncode == 0, done.stderr


def files_up_to(limit_bytes: int) -> Callable[[], None]:
    """No file of the process may grow beyond a limit: a write fails as on a full disk, without one."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


def test_no_room_for_lifted_motion(job, model, tmp_path):
    command = ("lift", "--keypoints", keypoints(tmp_path), "--model", model, "--out", tmp_path / "out")
    said = complaint(job(*command, first=files_up_to(4096)))
    assert f"{tmp_path}/out" in said
    assert list((tmp_path / "out").iterdir()) == []

    done = job(*command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "view.html").is_file()


def test_no_room_for_the_cache(evaluate, store, tmp_path):
    said = complaint(evaluate(store, first=files_up_to(4096)))
    assert str(tmp_path / "cache") in said

    done = evaluate(store)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_corrupt_recording_among_good_ones(job, tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for number in range(9):
        (recordings / f"subject{number}.bvh").write_text(bvh(sway=number))
    (recordings / "cut_off.bvh").write_text(bvh(sway=5)[:1500])
    command = ("extract", "--input", recordings, "--store", tmp_path / "store", "--licence", "ours")

    said = complaint(job(*command, "--max-quarantined", "0.09"))
    assert "1 of 10 recordings" in said

    done = job(*command)  # a tenth may be lost
    assert done.returncode == 0, done.stderr
    [row] = re.findall(r"^ *bvh +(\d+) +(\d+) +(\d+) +(\d+) +(\S+)", done.stderr, re.MULTILINE)
    assert row == ("10", "1", "0", "9", str(9 * FRAMES))
    assert re.search(rf"^ +such as {re.escape(str(recordings))}/cut_off.bvh: ", done.stderr, re.MULTILINE)


def test_more_workers_than_there_are_cores(job, store, tmp_path):
    done = job(
        *("pretrain", "laptop", "--store", store, "--workers", "1000", "--recipe.optimisation.global-batch", "1000"),
        *("--storage", tmp_path / "runs", "--tracking.uri", f"sqlite:///{tmp_path}/mlflow.db"),
    )
    assert "1000 workers need 1000 CPU" in complaint(done)
    assert not (tmp_path / "runs").exists()


ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size} tmpfs "$1" || exit 77
shift
"$@"
echo "first: $?"
mount -o remount,size=64m "$DISK"
"$@"
echo "second: $?"
"""


@pytest.fixture
def on_a_small_disk(run, tmp_path) -> Callable[..., str]:
    """Run a command twice: with ``DISK`` a full disk, then with room on it; returns what both said."""

    def run_twice(size: str, *command: str | Path, env: Mapping[str, str] | None = None) -> str:
        disk = tmp_path / "disk"
        disk.mkdir()
        script = ON_A_SMALL_DISK.format(size=size)
        done = run(
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", disk),
            *command,
            env={"DISK": str(disk), **(env or {})},
        )
        if "first:" not in done.stdout:
            pytest.skip(f"no disk of our own here: {done.stderr}")
        return done.stdout + done.stderr

    return run_twice


@pytest.mark.slow
def test_extraction_onto_a_full_disk(on_a_small_disk, tmp_path):
    said = on_a_small_disk(
        "100k",
        *("python", "-m", "pipelines.extract", "--input", "procedural://?people=4&detections=1&takes=1&seconds=5"),
        *("--store", tmp_path / "disk" / "store"),
    )
    assert "first: 2" in said
    assert "second: 0" in said
    assert "Traceback" not in said
    assert re.findall(r"^error: .*no room for", said, re.MULTILINE), said


@pytest.mark.slow
def test_checkpoints_onto_a_full_disk(on_a_small_disk, store, tmp_path):
    said = on_a_small_disk(
        "600k",  # a checkpoint of the tiny encoder has 1 MB
        *("python", "-m", "pipelines.pretrain", "laptop", "--store", store, "--storage", tmp_path / "disk" / "runs"),
        *("--cache", tmp_path / "cache", "--tracking.uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--recipe.optimisation.steps", "2", "--recipe.optimisation.warmup-steps", "0"),
        *("--recipe.optimisation.global-batch", "4", "--recipe.clip-frames", "9", "--max-failures", "0"),
    )
    assert "first: 2" in said
    assert "second: 0" in said
    assert not re.findall(r"^Traceback", said, re.MULTILINE), said  # a worker's own trace may be there, indented
    assert re.findall(rf"^error: {re.escape(str(tmp_path))}/disk/runs.*the disk is full", said, re.MULTILINE), said
