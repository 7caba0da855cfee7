"""Simulated output of a 2D detector, in place of detections in real videos.

The camera has a random direction and is zoomed out until the whole motion is in the image. The detector's errors are
the published noise and confidence model (``motion_encoder.corruption``), and joints that are lost for a moment.

Shapes: T frames, J = 17 joints, C = 2 coordinates.
"""

import numpy as np
import torch

from motion_encoder.cameras import ViewRange, sample_views
from motion_encoder.corruption import Corruption, NoiseDraws, add_noise
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Float
from motion_encoder.windows import Windows

IMAGE_SIZE = (1000, 1000)
MARGIN_PX = 30
"""Distance of the whole motion from the image border, before noise."""
KEYFRAME_EVERY = 9
"""Frames between independent displacements, as in a published clip: 27 in 243 frames."""
LOSSES_PER_SECOND = 1.0
LOST_SECONDS = (0.1, 0.5)
"""Time for which a joint is lost."""


def detect(
    world_TJ3: Float[np.ndarray, "T 17 3"], fps: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Return pixels of a 1000 × 1000 image and confidences; a lost joint has both 0."""
    random = KeyedRandom.at(int(rng.integers(2**31)), 0, torch.zeros(1, dtype=torch.int64))
    world_BTJ3 = torch.from_numpy(world_TJ3).float()[None]
    all_known_BTJ = torch.ones(world_BTJ3.shape[:-1])
    views = sample_views(random, world_BTJ3, all_known_BTJ, ViewRange())
    exact_BTJ2 = views.project(views.to_camera(world_BTJ3))
    exact_BTJ2 *= ((IMAGE_SIZE[0] / 2 - MARGIN_PX) / exact_BTJ2.abs().max()).clamp_max(1)

    windows = Windows.around(exact_BTJ2, all_known_BTJ)
    draws = NoiseDraws.of(random, len(world_TJ3), keyframes=max(2, round(len(world_TJ3) / KEYFRAME_EVERY)))
    noisy_BTJ2, confidence_BTJ = add_noise(windows.normalise(exact_BTJ2), draws, Corruption())
    pixels_TJ2 = windows.denormalise(noisy_BTJ2)[0].numpy() + np.array(IMAGE_SIZE) / 2
    seen_TJ = _seen(rng, len(world_TJ3), fps)
    return pixels_TJ2.astype(np.float32) * seen_TJ[..., None], confidence_BTJ[0].numpy() * seen_TJ


def _seen(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """1 where a joint was found, 0 in the frames in which it was lost."""
    seen_TJ = np.ones((num_frames, 17), np.float32)
    for _ in range(rng.poisson(LOSSES_PER_SECOND * num_frames / fps)):
        start, joint = rng.integers(num_frames), rng.integers(17)
        seen_TJ[start : start + max(1, round(fps * rng.uniform(*LOST_SECONDS))), joint] = 0
    return seen_TJ
