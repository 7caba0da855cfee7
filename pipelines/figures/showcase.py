"""Show held-out motion: the 2D view of a camera, the motion that a model lifts from it, and the recorded motion.

Shapes: T frames, J = 17 joints of ``h36m17``, N segments.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.loading.cache import Cache
from datasets.loading.gather import gather
from motion_encoder import LiftedMotion, lift, load
from motion_encoder.cameras import ViewRange, sample_views
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.lifting import Model
from motion_encoder.shapes import Float
from motion_encoder.viewer import ViewedClip, write_html
from pipelines.figures.pictures import Row, frame_strip
from pipelines.training.mlflow_tracking import TrackingConfig, use

log = logging.getLogger(__name__)

MOST_SECONDS = 8.0
"""Longest part of a motion that is shown."""
MOST_MOTIONS = 6
LEVEL = ViewRange(azimuth_deg=(-60.0, 60.0), elevation_deg=(0.0, 15.0), roll_deg=(0.0, 0.0))
"""Cameras like those in people's hands: level, and in front of the person."""
IMAGE_CENTRE = 500.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A motion as a camera sees it, and the recorded motion in that camera's axes, if it is known."""

    name: str
    fps: float
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"]
    confidence_TJ: Float[np.ndarray, "T 17"]
    recorded_TJC: Float[np.ndarray, "T 17 3"] | None
    """Recorded motion in metres, x right, y up, z towards the camera; the root of the first frame is at 0."""


def show(model_uri: str, caches: tuple[Cache, ...], out: Path, tracking: TrackingConfig) -> Path:
    """Lift motions of the caches and write view.html, strip.png and .npz files; return the path of 2D keypoints."""
    use(tracking)
    model = load(model_uri)
    seen = [each for cache in caches for each in (_see(cache, segment) for segment in _choose(cache))][:MOST_MOTIONS]
    out.mkdir(parents=True, exist_ok=True)
    lifted = {each.name: _lift(model, each) for each in tqdm(seen, desc="lifting", unit="motion", disable=None)}
    for each in seen:
        lifted[each.name].save_npz(out / f"{each.name}.npz")
    keypoints = out / f"{seen[0].name}-keypoints.npz"
    np.savez(
        keypoints, keypoints_2d=seen[0].keypoints_2d_TJC, confidence=seen[0].confidence_TJ, fps=np.float64(seen[0].fps)
    )
    write_html(out / "view.html", [_viewed(each, lifted[each.name]) for each in seen], title="Held-out people, lifted")
    frame_strip(out / "strip.png", _rows(seen[0], lifted[seen[0].name]), title=seen[0].name)
    return keypoints


def _choose(cache: Cache) -> list[int]:
    """Return the longest segment of each action (or of each person, if actions have no names), with 3D or without."""
    segments = cache.segments
    what = np.where(segments.action == "", segments.subject, segments.action)
    by_length = np.argsort(-segments.num_frames, kind="stable")
    _, first = np.unique(what[by_length], return_index=True)
    return by_length[np.sort(first)].tolist()


def _see(cache: Cache, segment: int) -> Seen:
    segments = cache.segments
    fps = float(segments.fps[segment])
    length = min(int(segments.num_frames[segment]), round(MOST_SECONDS * fps))
    clips = gather(cache, np.array([segment]), np.array([0]), np.array([length]), length)
    name = f"{segments.source[segment]}-{segments.sequence_id[segment]}".replace("/", "-")
    confidence_TJ = clips.confidence_BTJ[0].numpy()
    if not clips.has_depth_B[0]:
        pixels_TJC = clips.points_BTJ3[0, :, :, :2].numpy()
        return Seen(name=name, fps=fps, keypoints_2d_TJC=pixels_TJC, confidence_TJ=confidence_TJ, recorded_TJC=None)
    random = KeyedRandom.at(0, 0, torch.tensor([segment]))
    views = sample_views(random, clips.points_BTJ3, clips.confidence_BTJ, LEVEL)
    camera_BTJ3 = views.to_camera(clips.points_BTJ3)
    recorded_TJC = (camera_BTJ3 - camera_BTJ3[:, :1, :1])[0] * torch.tensor([1.0, -1.0, -1.0])
    pixels_TJC = (views.project(camera_BTJ3)[0] + IMAGE_CENTRE).numpy()
    return Seen(
        name=name, fps=fps, keypoints_2d_TJC=pixels_TJC, confidence_TJ=confidence_TJ, recorded_TJC=recorded_TJC.numpy()
    )


def _lift(model: Model, seen: Seen) -> LiftedMotion:
    return lift(model, seen.keypoints_2d_TJC, seen.confidence_TJ, fps=seen.fps)


def _rows(seen: Seen, lifted: LiftedMotion) -> tuple[Row, Row]:
    recorded_TJC = seen.recorded_TJC
    name = "lifted, from another side" + ("" if recorded_TJC is None else "; grey: recorded")
    side = Row(name=name, positions_TJC=lifted.metres_TJC, behind_TJ3=recorded_TJC)
    return Row(name="2D input", positions_TJC=seen.keypoints_2d_TJC), side


def _motions(seen: Seen, lifted: LiftedMotion) -> dict[str, np.ndarray]:
    recorded = {} if seen.recorded_TJC is None else {"recorded": seen.recorded_TJC}
    return {"lifted": lifted.metres_TJC, **recorded}


def _viewed(seen: Seen, lifted: LiftedMotion) -> ViewedClip:
    return ViewedClip(
        name=seen.name,
        fps=seen.fps,
        keypoints_2d_TJC=seen.keypoints_2d_TJC,
        confidence_TJ=seen.confidence_TJ,
        motions=_motions(seen, lifted),
    )
