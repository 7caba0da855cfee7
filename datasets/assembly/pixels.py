"""Convert detections to pixels, and reject positions that are not image coordinates.

Normalised coordinates (shares of the image from 0 to 1) become pixels if the image size is known. World landmarks, 3D
predictions and poses centred for a classifier look like normalised coordinates; they are recognised by their origin and
signs.

Shapes: N detections, J = 17 joints of `h36m17`, the root first.
"""

from dataclasses import replace

import numpy as np

from datasets.assembly.linking import Detections
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

MAX_SHARE = 2.0
"""If most coordinates of a video are below this, they are not pixels."""
MAX_ORIGIN = 0.02
"""Distance in pixels or shares of the image; in a real video, the hips are not this close to the corner in half of all
frames."""
MAX_NEGATIVE = 0.4
"""Largest share of negative coordinates; a person half outside the image on the left has a quarter."""


def in_pixels(
    detections: Detections, image_size: tuple[int, int] | None, path: str, *, may_be_outside: bool
) -> Detections:
    """Return the detections in pixels. ``path`` is for messages.

    ``may_be_outside``: the detector extrapolates joints outside the image, so normalised coordinates may be negative.

    Raises:
        RecordingError: The positions are not image coordinates, or are normalised and the image size is not known.
    """
    points_NJ2, seen_NJ = detections.keypoints_NJ2, detections.confidence_NJ > 0
    seen = points_NJ2[seen_NJ]
    _check_origin(points_NJ2[:, 0][seen_NJ[:, 0]], path)
    if len(seen) == 0 or np.median(np.abs(seen)) > MAX_SHARE:
        return detections
    _check_signs(seen, path, may_be_outside=may_be_outside)
    if image_size is None:
        raise RecordingError(
            path,
            where="keypoints",
            expected="pixels, or shares of the image and its size",
            found="numbers from 0 to 1",
            fix='Put a file video.json beside it: {"width": 1920, "height": 1080}.',
        )
    scale = np.array(image_size, dtype=np.float32)
    return replace(
        detections, keypoints_NJ2=points_NJ2 * scale, box_N4=detections.box_N4 * np.tile(scale.astype(np.float64), 2)
    )


def not_of_an_image(path: str, where: str, found: str) -> RecordingError:
    """Return the error for a file whose positions are not image coordinates, such as a 3D prediction."""
    return RecordingError(
        path,
        where=where,
        expected="positions in the image: pixels, or shares of its width and height",
        found=found,
        fix="Pass the 2D keypoints that the detector found in the image, not what was computed from them.",
    )


def _check_origin(root_N2: Float[np.ndarray, "N 2"], path: str) -> None:
    """Reject a body whose hips are always at 0, 0: the poses were centred."""
    if len(root_N2) and np.median(np.abs(root_N2).max(axis=-1)) < MAX_ORIGIN:
        found = "the middle of the hips at 0, 0: world landmarks, or positions relative to the hips"
        raise not_of_an_image(path, "keypoints", found)


def _check_signs(seen: Float[np.ndarray, "points 2"], path: str, *, may_be_outside: bool) -> None:
    negative = float((seen < 0).mean())
    if negative > MAX_NEGATIVE and may_be_outside:
        raise not_of_an_image(path, "keypoints", f"numbers around 0, {negative:.0%} of them negative")
    if not may_be_outside and float(np.quantile(seen, 0.05)) < -0.1:
        raise RecordingError(
            path,
            where="keypoints",
            expected="pixels, or shares of the image from 0 to 1",
            found="numbers from -1 to 1",
            fix="Run the detector so that it writes pixels or such shares (OpenPose: --keypoint_scale 0 or 3).",
        )
