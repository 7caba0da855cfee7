"""A small store of simple motion, a tiny recipe, and a Ray cluster of the tests' own.

Shapes: T frames, J = 17 joints of ``h36m17``.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from datasets.loading.cache import Cache, fill
from datasets.sequences import MotionSequence, Source
from datasets.store.manifest import FileEntry, Manifest, SourceEntry, SplitCounts
from datasets.store.parquet import Store, open_store, partition, segment_rows, write_part, write_whole
from motion_encoder.model.dstformer import EncoderSize
from motion_encoder.tasks.pose import PretrainRecipe
from motion_encoder.tasks.recipe import Optimisation
from pipelines.runtime.cluster import connect
from pipelines.training.mlflow_tracking import TrackingConfig, client

LABELS = ("raise", "squat")
LICENCES = {"lab": "lab licence", "street": "street licence"}
FPS = 30.0
CLIP_FRAMES = 9
BATCH = 9  # odd: two workers have unlike shares of it
SMALL = EncoderSize(dim_feat=16, depth=1, num_heads=2, dim_rep=16, max_frames=27)

# Metres, Y up, facing +Z, in the order of h36m17: a person who stands with the arms hanging down.
STANDING_J3 = np.array(
    [
        [0.00, 0.95, 0.00], [-0.13, 0.93, 0.00], [-0.13, 0.50, 0.03], [-0.13, 0.08, 0.00], [0.13, 0.93, 0.00],
        [0.13, 0.50, 0.03], [0.13, 0.08, 0.00], [0.00, 1.18, 0.00], [0.00, 1.42, 0.00], [0.00, 1.52, 0.08],
        [0.00, 1.66, 0.02], [0.17, 1.40, 0.00], [0.20, 1.12, -0.02], [0.20, 0.88, 0.02], [-0.17, 1.40, 0.00],
        [-0.20, 1.12, -0.02], [-0.20, 0.88, 0.02],
    ]
)  # fmt: skip
WRISTS = [13, 16]
ABOVE_KNEES = [0, 1, 4, *range(7, 17)]


def move(action: str, frames: int, size: float = 1.0) -> np.ndarray:
    """Raise the hands or squat, once a second, float32 [T, 17, 3]; ``size`` scales the person."""
    phase_T = np.sin(np.arange(frames) * 2 * np.pi / FPS) ** 2
    motion_TJ3 = np.repeat(STANDING_J3[None], frames, axis=0)
    if action == "raise":
        motion_TJ3[:, WRISTS, 1] += 0.8 * phase_T[:, None]
    else:
        motion_TJ3[:, ABOVE_KNEES, 1] -= 0.4 * phase_T[:, None]
    return (size * motion_TJ3).astype(np.float32)


def sequence(
    name: str, frames: int, *, action: str = "raise", labelled: bool = True, size: float = 1.0
) -> MotionSequence:
    """One person with 3D, all of it observed."""
    return MotionSequence(
        source=Source(name="lab", kind="mocap", url=""),
        sequence_id=name,
        subject=name,
        action=action,
        label=LABELS.index(action) if labelled else None,
        fps=FPS,
        keypoints_3d_TJC=move(action, frames, size),
        confidence_TJ=np.ones((frames, 17), np.float32),
    )


def detection(name: str, frames: int) -> MotionSequence:
    """One person seen from the front, in pixels, y down; a hand is not found, and no joint is sure."""
    pixels_TJC = (move("raise", frames)[..., :2] * [200, -200] + [500, 800]).astype(np.float32)
    confidence_TJ = np.full((frames, 17), 0.75, np.float32)
    confidence_TJ[:, WRISTS[0]] = 0
    return MotionSequence(
        source=Source(name="street", kind="detections", url=""),
        sequence_id=name,
        subject=name,
        fps=FPS,
        keypoints_2d_TJC=pixels_TJC * (confidence_TJ > 0)[..., None],
        confidence_TJ=confidence_TJ,
        image_size=(1000, 1000),
    )


LAB = {
    "train": [
        sequence("long", 31, action="raise"),
        sequence("short", 5, action="squat", size=0.8),  # shorter than a clip: padded
        sequence("tall", 24, action="squat", size=1.15),
        sequence("idle", 13, labelled=False),
    ],
    "test": [
        sequence("held out", 20, action="squat", size=0.9),  # two clips and a tail
        sequence("held out too", 7, action="raise"),
    ],
}
STREET = {"train": [detection("passer-by", 22), detection("child", 4)], "test": [detection("cyclist", 11)]}


def write_store(url: str, sources: dict[str, dict[str, list[MotionSequence]]]) -> Store:
    """Write {source: {split: sequences}} as a finished store; labels where a sequence has one."""
    files: list[FileEntry] = []
    entries: dict[str, SourceEntry] = {}
    for source, splits in sources.items():
        for split, members in splits.items():
            rows = pa.concat_tables([segment_rows(each, 16) for each in members])  # long ones: several segments
            files.append(write_part(url, f"{partition(source, split)}/part-1.parquet", rows))
        everybody = [each for members in splits.values() for each in members]
        entries[source] = SourceEntry(
            kind="mocap" if everybody[0].keypoints_3d_TJC is not None else "detections",
            licence=LICENCES.get(source, f"{source} licence"),
            url="",
            labels=LABELS if any(each.label is not None for each in everybody) else (),
            recordings=len(everybody),
            quarantined=0,
            quarantined_sequences=0,
            splits={split: _counts(members) for split, members in splits.items()},
        )
    manifest = Manifest(fps=FPS, command="", sources=entries, files=tuple(files))
    write_whole(f"{url}/manifest.json", manifest.to_json().encode())
    return open_store(url)


def _counts(members: list[MotionSequence]) -> SplitCounts:
    frames = sum(each.num_frames for each in members)
    has_3d = members[0].keypoints_3d_TJC is not None
    return SplitCounts(
        sequences=len(members), frames=frames, frames_3d=frames if has_3d else 0, frames_2d=0 if has_3d else frames
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """``lab`` (3D, labels, clips short and long) and ``street`` (2D only), people held out in both."""
    return write_store(str(tmp_path_factory.mktemp("data") / "store"), {"lab": LAB, "street": STREET})


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests: a cache is named by its store's digest."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def training(store: Store, cache_folder: Path) -> Cache:
    """The training split."""
    return fill(store, "train", cache_folder)


@pytest.fixture(scope="session")
def held_out(store: Store, cache_folder: Path) -> Cache:
    """The test split."""
    return fill(store, "test", cache_folder)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without rows: making them takes seconds, copying them none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client(TrackingConfig(uri=f"sqlite:///{path}")).search_experiments()
    return path


@pytest.fixture
def tracking(tmp_path: Path, empty_database: Path) -> TrackingConfig:
    """A tracking store of the test's own."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="tests")


def small_recipe(*, steps: int = 12, name: str = "small") -> PretrainRecipe:
    """Seconds of pretraining: mixed supervision from the start, masks and noise as published."""
    return PretrainRecipe(
        name=name,
        encoder=SMALL,
        clip_frames=CLIP_FRAMES,
        optimisation=Optimisation(steps=steps, global_batch=BATCH, lr=3e-3, warmup_steps=2),
    )


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray cluster of our own on two CPUs; one that runs on this machine is never joined."""
    patch = pytest.MonkeyPatch()
    patch.delenv("RAY_ADDRESS", raising=False)
    patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")  # short runs have system metrics, too
    connect(num_cpus=2)
    yield
    ray.shutdown()
    patch.undo()
