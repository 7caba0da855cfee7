"""A view of motions that one can send around: one HTML file that needs no network and no program but a browser.

The page (`viewer.html`) is a template with three holes: the title, the colours, and the clips as JSON. Positions travel
as 16-bit steps between their extremes, base64: 102 bytes a frame and motion (1,000 frames of one person: 140 kB of
text), with an error of at most 1/131,070 of the range, 0.04 mm in 5 m.

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
    """One entry of the clip selector: 2D keypoints and any number of 3D motions of the same frames, side by side."""

    name: str
    fps: float
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"] | None = None
    """Pixels, y down."""
    confidence_TJ: Float[np.ndarray, "T 17"] | None = None
    """In [0, 1]; joints at 0 are not drawn. None: all were observed."""
    motions: Mapping[str, Float[np.ndarray, "T 17 3"]] = field(default_factory=dict)
    """3D motions by what they are called on the page: metres, Y up; the camera starts on the +Z side."""

    def __post_init__(self) -> None:
        arrays = {"keypoints_2d": self.keypoints_2d_TJC, "confidence": self.confidence_TJ, **self.motions}
        lengths = {name: len(array) for name, array in arrays.items() if array is not None}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"clip {self.name!r}: expected arrays of one length, at least 1 frame, found {lengths}")
        for name, array in arrays.items():
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"clip {self.name!r}: {name} holds numbers that are not finite")
        if self.confidence_TJ is not None and self.keypoints_2d_TJC is None:
            raise ValueError(f"clip {self.name!r}: confidence without keypoints_2d")
        if not 0 < self.fps < np.inf:
            raise ValueError(f"clip {self.name!r}: expected a positive fps, found {self.fps}")


def write_html(path: str | Path, clips: Sequence[ViewedClip], *, title: str) -> None:
    """Write the page.

    Raises:
        ValueError: There are no clips.
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
    """Keep JSON from ending the script element it stands in, whatever names it holds."""
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
