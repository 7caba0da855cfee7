import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from datasets.joints.tables import HALPE26_JOINTS
from motion_encoder import ActionHeadConfig, ActionModel, DSTformer, DSTformerConfig, ModelCard, save
from motion_encoder.lifting import LiftedMotion, LiftOptions, lift
from pipelines.lift import LiftConfig, main
from tests.datasets.readers.detectors import test_openpose, test_rtmlib

CHECKOUT = Path(__file__).resolve().parents[2]
SMALL = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=16, max_frames=27)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder of our own, in a folder."""
    folder = tmp_path_factory.mktemp("model")
    save(folder, DSTformer(SMALL, torch.Generator().manual_seed(0)), task="encoder", card=ModelCard())
    return folder


@pytest.fixture
def keypoints(tmp_path: Path) -> Path:
    """40 frames of one person in our own format."""
    random = np.random.default_rng(0)
    confidence_TJ = np.ones((40, 17))
    confidence_TJ[10] = 0
    np.savez(
        tmp_path / "walk.npz",
        keypoints_2d=random.uniform(100, 500, size=(40, 17, 2)) * (confidence_TJ > 0)[..., None],
        confidence=confidence_TJ,
        fps=25.0,
    )
    return tmp_path / "walk.npz"


def alphapose(path: Path, lengths: list[int]) -> Path:
    """People side by side, far apart, for so many frames each."""
    random = np.random.default_rng(0)
    detections = []
    for person, length in enumerate(lengths):
        corner = np.array([1000 * person, 0])
        for frame in range(length):
            keypoints_K3 = np.column_stack([random.uniform(0, 100, (26, 2)) + corner, np.full(26, 0.9)])
            detections.append(
                {
                    "image_id": f"{frame}.jpg",
                    "category_id": 1,
                    "keypoints": keypoints_K3.ravel().tolist(),
                    "score": 2.5,
                    "box": [*corner.tolist(), 100, 100],
                    "idx": person,
                }
            )
    assert len(detections[0]["keypoints"]) == 3 * len(HALPE26_JOINTS)
    path.write_text(json.dumps(detections))
    return path


def config(keypoints: Path, model: Path, out: Path, **fields) -> LiftConfig:
    return LiftConfig(keypoints=str(keypoints), model=str(model), out=out, **fields)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_file_of_keypoints_becomes_motion_view_and_picture(keypoints: Path, model: Path, tmp_path: Path):
    out = main(config(keypoints, model, tmp_path / "deep" / "out"))
    assert sorted(path.name for path in out.iterdir()) == ["person_0.npz", "strip.png", "view.html"]
    lifted = LiftedMotion.load(out / "person_0.npz")
    assert lifted.metres_TJC.shape == (40, 17, 3)
    assert np.flatnonzero(~lifted.observed_T).tolist() == [10]
    assert lifted.fps == 25.0
    assert imread(out / "strip.png").ndim == 3
    assert "person 0" in (out / "view.html").read_text(encoding="utf-8")


def test_what_is_written_is_what_the_library_lifts(keypoints: Path, model: Path, tmp_path: Path):
    options = LiftOptions(window=9, stride=3, flip=False, stature_m=1.9)
    main(config(keypoints, model, tmp_path / "out", fps=50.0, lifting=options))
    written = LiftedMotion.load(tmp_path / "out" / "person_0.npz")
    network = DSTformer(SMALL, torch.Generator().manual_seed(0)).eval()
    raw = np.load(keypoints)
    keypoints_TJC, confidence_TJ = (raw[key].astype(np.float32) for key in ("keypoints_2d", "confidence"))
    ours = lift(network, keypoints_TJC, confidence_TJ, fps=50.0, options=options)
    np.testing.assert_allclose(written.pixels_TJC, ours.pixels_TJC, atol=1e-3)
    assert written.fps == 50.0


def test_everybody_who_is_there_long_enough_is_lifted(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    people = alphapose(tmp_path / "crowd.json", [12, 5, 14])
    out = main(config(people, model, tmp_path / "out", min_frames=10))
    lifted = {path.stem: len(LiftedMotion.load(path).observed_T) for path in out.glob("*.npz")}
    assert lifted == {"person_0": 12, "person_2": 14}
    assert "skipped 1 of 3 people: fewer than 10 frames" in caplog.text
    assert "person_2: 14 frames" in caplog.text


def coco_results(path: Path, num_frames: int, *, step: float) -> Path:
    """One person in COCO's result layout who walks by so many pixels a frame, with whole numbers for image ids."""
    points_K2 = np.random.default_rng(0).uniform(100, 400, (17, 2))
    entries = []
    for frame in range(num_frames):
        keypoints_K3 = np.column_stack([np.add(points_K2, (step * frame, 0)), np.ones(17)])
        entries.append({"image_id": frame, "category_id": 1, "keypoints": keypoints_K3.ravel().tolist(), "score": 0.9})
    path.write_text(json.dumps(entries))
    return path


def test_a_video_in_coco_s_result_layout_is_lifted(model: Path, tmp_path: Path):
    out = main(config(coco_results(tmp_path / "results.json", 40, step=3), model, tmp_path / "out"))
    assert len(LiftedMotion.load(out / "person_0.npz").observed_T) == 40


def test_the_user_may_name_the_format(model: Path, tmp_path: Path):
    """Half a person's width apart: a video of which few frames were looked at, as only the user knows."""
    results = coco_results(tmp_path / "results.json", 40, step=150)
    with pytest.raises(ValueError, match=r"found 40 single images: .* pass --reader alphapose"):
        main(config(results, model, tmp_path / "out"))
    renamed = results.rename(tmp_path / "results.dat")
    with pytest.raises(ValueError, match=r"expected a known format .*\. Pass one file, and name its --reader"):
        main(config(renamed, model, tmp_path / "out"))
    out = main(config(renamed, model, tmp_path / "out", reader="alphapose"))
    assert len(LiftedMotion.load(out / "person_0.npz").observed_T) == 40


def test_a_format_that_is_not_known_is_refused_before_anything_is_read(model: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"reader: expected one of .*alphapose.*, found mocap"):
        config(tmp_path / "absent.json", model, tmp_path / "out", reader="mocap")


def test_a_second_run_replaces_the_first_and_names_what_is_left_of_it(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "out"
    main(config(alphapose(tmp_path / "two.json", [12, 13]), model, out, min_frames=5))
    main(config(alphapose(tmp_path / "one.json", [9]), model, out, min_frames=5))
    assert len(LiftedMotion.load(out / "person_0.npz").observed_T) == 9
    assert "earlier run: person_1.npz" in caplog.text
    assert not list(out.glob(".*"))


def test_a_run_that_cannot_write_leaves_the_old_results(keypoints: Path, model: Path, tmp_path: Path, monkeypatch):
    out = main(config(keypoints, model, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.lift.frame_strip", full_disk)
    with pytest.raises(ValueError, match=r"results cannot be written: .*No space left"):
        main(config(keypoints, model, out, lifting=LiftOptions(flip=False)))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_of_results_is_lifted_but_for_what_is_broken(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder, frames = tmp_path / "openpose", {t: [test_openpose.person(10 + t)] for t in range(30)}
    for video in ("good", "broken"):
        test_openpose.write(folder, frames, f"{video}_")
    (folder / "broken_000000000007_keypoints.json").write_text("[{]")
    out = main(config(folder, model, tmp_path / "out"))
    assert [path.name for path in out.glob("*.npz")] == ["person_0.npz"]
    assert re.search("skipped: .*broken_000000000007_keypoints.json", caplog.text)
    (folder / "good_000000000007_keypoints.json").write_text("[{]")
    with pytest.raises(ValueError, match=r"broken_000000000007_keypoints\.json"):
        main(config(folder, model, tmp_path / "out"))


def test_an_npz_of_another_library_is_known_as_such(model: Path, tmp_path: Path):
    path = tmp_path / "pose.npz"
    path.write_bytes(test_rtmlib.WHOLE["pose.npz"])
    out = main(config(path, model, tmp_path / "out", min_frames=3))
    assert len(LiftedMotion.load(out / "person_0.npz").observed_T) == 3


def test_users_mistakes_are_named(keypoints: Path, model: Path, tmp_path: Path):
    bvh = tmp_path / "walk.bvh"
    bvh.write_text("HIERARCHY")
    unknown = tmp_path / "notes.dat"
    unknown.write_text("hello")
    rubbish = tmp_path / "rubbish.npz"
    rubbish.write_text("hello")
    other = tmp_path / "other.npz"
    np.savez(other, keypoints_2d=np.zeros((5, 16, 2)), confidence=np.zeros((5, 16)))
    a_file = tmp_path / "a_file"
    a_file.write_text("")
    cases = [
        (config(tmp_path / "absent.json", model, tmp_path / "out"), "absent.json: no such file"),
        (config(tmp_path / "absent.npz", model, tmp_path / "out"), "absent.npz"),
        (config(unknown, model, tmp_path / "out"), "notes.dat: expected a known format .*alphapose"),
        (config(rubbish, model, tmp_path / "out"), "rubbish.npz: expected an .npz of plain arrays"),
        (config(other, model, tmp_path / "out"), r"expected keypoints_2d \[T, 17, 2\].*found {.*\(5, 16, 2\)"),
        (config(keypoints, tmp_path / "no_model", tmp_path / "out"), "no_model: no such folder"),
        (config(keypoints, model, tmp_path / "out", min_frames=41), "at least 41 frames, found at most 40"),
        (config(keypoints, model, tmp_path / "out", lifting=LiftOptions(window=28)), "walk.npz.*window: .*found 28"),
        (config(keypoints, model, a_file), "a_file: the results cannot be written"),
    ]
    for case, message in cases:
        with pytest.raises(ValueError, match=message):
            main(case)
    assert not (tmp_path / "out").exists()


def test_motion_capture_has_no_2d_keypoints(model: Path, tmp_path: Path, real_data: Path):
    bvh = next((real_data / "cmu_bvh").glob("08_*.bvh"))
    with pytest.raises(ValueError, match="expected 2D keypoints, found only 3D motion"):
        main(config(bvh, model, tmp_path / "out"))


def test_an_action_model_does_not_lift(keypoints: Path, tmp_path: Path):
    random = torch.Generator().manual_seed(0)
    network = ActionModel(DSTformer(SMALL, random), ("run", "walk"), ActionHeadConfig(hidden=8), random)
    save(tmp_path / "action", network, task="action", card=ModelCard())
    with pytest.raises(ValueError, match=r"expected a model of 3D motion .*found one for action"):
        main(config(keypoints, tmp_path / "action", tmp_path / "out"))


@pytest.mark.parametrize(
    ("fields", "message"), [({"min_frames": 0}, "min_frames"), ({"fps": 0.0}, "fps: expected a positive number")]
)
def test_options_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        config(Path("a"), Path("b"), Path("c"), **fields)


def test_the_job_runs_as_a_module_and_as_a_file_from_anywhere(keypoints: Path, model: Path, tmp_path: Path):
    asked = ["--keypoints", str(keypoints), "--model", str(model), "--out", "out", "--lifting.no-flip"]
    done = run(str(CHECKOUT / "pipelines" / "lift.py"), *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "person_0: 40 frames (1.6 s at 25 Hz), observed in 39 of them" in done.stderr
    assert (tmp_path / "out" / "view.html").is_file()
    mistaken = run("-m", "pipelines.lift", "--keypoints", "absent.json", *asked[2:], cwd=CHECKOUT)
    assert mistaken.returncode == 2
    assert "error: " in mistaken.stderr
    assert "absent.json: no such file" in mistaken.stderr
    assert "Traceback" not in mistaken.stderr


def test_real_detections_are_lifted(model: Path, tmp_path: Path, real_data: Path):
    results = real_data / "wild2d" / "alphapose_halpe26" / "alphapose-results.json"
    out = main(config(results, model, tmp_path / "out"))
    first = LiftedMotion.load(out / "person_0.npz")
    assert first.observed_T.sum() > 300
    assert np.isfinite(first.metres_TJC).all()
