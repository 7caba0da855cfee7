"""What MotionBERT's own preparation gets wrong, each from a file through the store to the frames that training reads.

The readers' own tests go into each further: test_amass.py, test_h36m_sh.py, test_pyskl.py, test_windows.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.extraction.finish import finish
from datasets.extraction.plan import extend
from datasets.extraction.shard_writer import extract_shard
from datasets.files import list_files
from datasets.joints.tables import COCO17_JOINTS
from datasets.loading.cache import Cache, fill
from datasets.loading.gather import Clips, gather
from datasets.loading.sampler import ClipSampler, SourceSpan
from datasets.readers.discovery import find_recordings
from datasets.readers.registry import READERS
from datasets.store.parquet import open_store
from motion_encoder.skeletons import H36M17
from motion_encoder.windows import Windows
from tests.datasets import body_model_writer
from tests.datasets.h36m_body import walk
from tests.datasets.readers.action import test_pyskl
from tests.datasets.readers.detectors import test_openpose
from tests.datasets.readers.mocap import test_h36m_sh
from tests.datasets.small_files import pictured, write_body_models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


def trained_on(folder: Path, *, fps: float, split: str = "train") -> Cache:
    """Extract a folder, and open what training would."""
    store = str(folder.with_name("store"))
    recordings, _ = find_recordings(list_files(str(folder)))
    for plan in extend(store, recordings, fps=fps, command="test", licence="ours"):
        for shard in plan.shards:
            extract_shard(shard, store, readers=READERS)
    assert finish(store).sources
    return fill(open_store(store), split, folder.with_name("cache"))


def only_clip(cache: Cache) -> Clips:
    [frames] = cache.segments.num_frames.tolist()
    return gather(cache, np.array([0]), np.array([0]), np.array([frames]), frames)


@pytest.mark.parametrize("rate", [30, 100])
def test_30_hz_is_not_dropped_and_100_hz_is_not_called_60(folder, monkeypatch, rate):
    """There the stride is round(rate / 60): 0 for 30 Hz, which fails, and 2 for 100 Hz, which gives 50."""
    write_body_models(folder.with_name("models"))
    monkeypatch.setenv("MOTION_BODY_MODELS", str(folder.with_name("models")))
    seconds = np.arange(2 * rate + 1) / rate
    trans = np.stack([1.5 * seconds, 0 * seconds, 0 * seconds], axis=-1)
    take = body_model_writer.take(len(seconds), trans=trans, mocap_framerate=np.array(float(rate)))
    body_model_writer.write_npz(folder / "CMU/01/01_01_poses.npz", take)
    cache = trained_on(folder, fps=60.0)
    root_x_T = cache.keypoints_3d_RJC[:, 0, 0]
    np.testing.assert_allclose(root_x_T - root_x_T[0], 1.5 * np.arange(121) / 60, atol=1e-5)


def test_tails_are_trained_on_too(folder):
    """There windows of 243 frames are cut, and what is left of a video is lost: 7 of 250 frames here."""
    folder.mkdir()
    test_h36m_sh.write(folder, {"test": test_h36m_sh.video(test_h36m_sh.S9, walk(250, start=(-1, 0.1, 5)))})
    cache = trained_on(folder, fps=50.0, split="test")
    assert cache.segments.num_frames.tolist() == [250]
    span = SourceSpan(name="h36m", weight=None, segment_lengths=np.array([250]))
    sampler = ClipSampler([span], seed=0, global_batch=64, clip_frames=243)
    batch = sampler.batch(0)
    seen = {frame for start in batch.start_B.tolist() for frame in range(start, start + 243)}
    assert seen == set(range(250))


def test_confidences_are_those_of_their_joints(folder):
    """There COCO's scores stay in COCO's order beside joints in Human3.6M's (issue 132)."""
    folder.mkdir()
    score_MTK = np.tile(np.arange(1, 18) / 32, (1, 4, 1)).astype(np.float16)
    annotation = test_pyskl.annotation(pictured(COCO17_JOINTS)[None], score_MTK)
    test_pyskl.write(folder, test_pyskl.published(annotation))
    confidence_TJ = trained_on(folder, fps=30.0).confidence_RJ
    for joint in ("lwrist", "rwrist", "lankle", "rknee"):
        expected = (COCO17_JOINTS.index(joint) + 1) / 32
        np.testing.assert_array_equal(confidence_TJ[:, H36M17.index(joint)], expected)


def test_joints_outside_of_a_window_are_not_moved_to_its_border(folder):
    """There a window of 0.6 times the body is clamped to [-1, 1]: input and target then have no hands and feet."""
    folder.mkdir()
    test_openpose.write(folder, {t: [test_openpose.person(10 + t)] for t in range(5)})
    (folder / "video.json").write_text(json.dumps({"width": 640, "height": 480, "fps": 30}))
    clips = only_clip(trained_on(folder, fps=30.0))
    points_BTJ2 = clips.points_BTJ3[..., :2]
    windows = Windows.around(points_BTJ2, clips.confidence_BTJ, margin=0.6)
    inside_BTJ2 = windows.normalise(points_BTJ2)
    assert inside_BTJ2.abs().amax() == pytest.approx(1 / 0.6)
    torch.testing.assert_close(windows.denormalise(inside_BTJ2), points_BTJ2)
