"""An interactive 3D view of motions in a single HTML file, which needs only a browser and no network.

The page (`viewer.html`) is a template with three placeholders: the title, the colours, and the clips as JSON. Positions
are stored as 16-bit integers between their extremes, in base64: 102 bytes per frame and motion (1,000 frames of one
person: 140 kB of text). The error is at most 1/131,070 of the range: 0.04 mm in 5 m.

Shapes: T frames, J = 17 joints of ``h36m17``, C channels.
"""

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from motion_encoder.palette import css_colours
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Skeleton

_STEPS = 2**16 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewedClip:
    """One clip of the page: 2D keypoints and any number of 3D motions of the same frames, shown side by side."""

    name: str
    fps: float
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"] | None = None
    """2D keypoints in pixels, y down; None to show only the 3D motions."""
    confidence_TJ: Float[np.ndarray, "T 17"] | None = None
    """Confidences in [0, 1]; joints with confidence 0 are not drawn. None if all joints were observed."""
    motions: Mapping[str, Float[np.ndarray, "T 17 3"]] = field(default_factory=dict)
    """3D motions by their titles on the page, in metres, Y up; the view starts on the +Z side."""

    def __post_init__(self) -> None:
        arrays = {"keypoints_2d": self.keypoints_2d_TJC, "confidence": self.confidence_TJ, **self.motions}
        lengths = {name: len(array) for name, array in arrays.items() if array is not None}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"clip {self.name!r}: expected arrays of one length, at least 1 frame, found {lengths}")
        for name, array in arrays.items():
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"clip {self.name!r}: {name} has numbers that are not finite")
        if self.confidence_TJ is not None and self.keypoints_2d_TJC is None:
            raise ValueError(
                f"clip {self.name!r}: expected keypoints_2d together with confidence, found only confidence"
            )
        if not 0 < self.fps < np.inf:
            raise ValueError(f"clip {self.name!r}: expected a positive fps, found {self.fps}")


def write_html(path: str | Path, clips: Sequence[ViewedClip], *, title: str) -> None:
    """Write the page to a file.

    Raises:
        ValueError: there are no clips.
    """
    Path(path).write_text(render_html(clips, title=title), encoding="utf-8")


def render_html(clips: Sequence[ViewedClip], *, title: str) -> str:
    """Return the page as text; errors as in ``write_html``."""
    if not clips:
        raise ValueError("viewer: expected at least one clip, found none")
    data = {"skeleton": _skeleton(H36M17), "clips": [_clip(clip) for clip in clips]}
    holes = {"title": html.escape(title), "colours": css_colours(), "data": _script_safe(json.dumps(data))}
    template = files("motion_encoder").joinpath("viewer.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: holes[hole[1]], template)


def _script_safe(text: str) -> str:
    """Escape JSON so that no name in it can end the script element around it."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _skeleton(skeleton: Skeleton) -> dict[str, Any]:
    return {"joints": skeleton.joints, "bones": skeleton.bones, "sides": skeleton.sides}


def _clip(clip: ViewedClip) -> dict[str, Any]:
    return {
        "name": clip.name,
        "fps": clip.fps,
        "keypoints": None if clip.keypoints_2d_TJC is None else _packed(clip.keypoints_2d_TJC),
        "confidence": None if clip.confidence_TJ is None else _packed(clip.confidence_TJ),
        "motions": [{"name": name, "positions": _packed(motion)} for name, motion in clip.motions.items()],
    }


def _packed(array: np.ndarray) -> dict[str, Any]:
    """Return shape, lowest value, step, and little-endian uint16 multiples of the step in base64."""
    low = float(array.min())
    step = float(array.max() - low) / _STEPS or 1.0
    steps = np.round((array.astype(np.float64) - low) / step).astype("<u2")
    return {"shape": array.shape, "low": low, "step": step, "data": base64.b64encode(steps.tobytes()).decode("ascii")}
