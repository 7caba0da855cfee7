"""Gather the clips of a batch into tensors: one vectorised gather per array, no loop over clips or frames.

The sampler chooses the clips of a batch and the cache has the frames; everything after this (cameras, flips,
normalisation, noise, masks) happens on the device. A segment that has both 3D and 2D is read as 3D: virtual cameras
create its 2D in training. A clip shorter than T repeats its last frame, with confidence 0 and ``valid`` False. A batch
without padded clips has no mask; this is decided here, without synchronising with the device.

Shapes: B clips, T frames, J = 17 joints.
"""

import numpy as np
import torch

from datasets.loading.cache import Cache
from motion_encoder.clips import Clips
from motion_encoder.shapes import Int


def gather(
    cache: Cache,
    segment_B: Int[np.ndarray, "B"],
    start_B: Int[np.ndarray, "B"],
    length_B: Int[np.ndarray, "B"],
    clip_frames: int,
) -> Clips:
    """Read frames ``start`` to ``start + length`` of each clip's segment, padded to ``clip_frames``.

    Raises:
        ValueError: A clip is not inside its segment, for example because the sampler was made for another cache.
    """
    segments = cache.segments
    _check_inside(segments.num_frames, segment_B, start_B, length_B, clip_frames)
    step_T = np.arange(clip_frames)
    frame_BT = start_B[:, None] + np.minimum(step_T, length_B[:, None] - 1)
    valid_BT = step_T < length_B[:, None]

    first_3d_B, first_2d_B = segments.first_3d[segment_B], segments.first_2d[segment_B]
    has_depth_B = first_3d_B >= 0
    points_BTJ3 = np.zeros((*frame_BT.shape, 17, 3), np.float32)
    points_BTJ3[has_depth_B] = cache.keypoints_3d_RJC[(first_3d_B[:, None] + frame_BT)[has_depth_B]]
    points_BTJ3[~has_depth_B, ..., :2] = cache.keypoints_2d_RJC[(first_2d_B[:, None] + frame_BT)[~has_depth_B]]
    confidence_BTJ = cache.confidence_RJ[segments.first_confidence[segment_B][:, None] + frame_BT]
    return Clips(
        points_BTJ3=torch.from_numpy(points_BTJ3),
        confidence_BTJ=torch.from_numpy(confidence_BTJ * valid_BT[..., None]),
        has_depth_B=torch.from_numpy(has_depth_B),
        valid_BT=None if valid_BT.all() else torch.from_numpy(valid_BT),
        label_B=torch.from_numpy(segments.label[segment_B]),
    )


def _check_inside(
    num_frames_N: np.ndarray, segment_B: np.ndarray, start_B: np.ndarray, length_B: np.ndarray, clip_frames: int
) -> None:
    known_B = (segment_B >= 0) & (segment_B < len(num_frames_N))
    frames_B = np.where(known_B, num_frames_N[np.where(known_B, segment_B, 0)], 0)
    inside_B = (start_B >= 0) & (length_B >= 1) & (length_B <= clip_frames) & (start_B + length_B <= frames_B)
    if not inside_B.all():
        clip = int(np.flatnonzero(~inside_B)[0])
        raise ValueError(
            f"clip {clip}: expected frames inside a segment of the cache (segment {segment_B[clip]} has "
            f"{frames_B[clip]}, a clip at most {clip_frames}), found start {start_B[clip]}, length {length_B[clip]}"
        )
