"""Still pictures of motion, for READMEs and reports: a strip of frames with one row per motion.

Poses are shown without movement through space, and are scaled so that the median pose has the same height in every row,
in pixels or in metres. A row may show a second motion in grey behind the first, for example the recorded motion behind
the one that a model predicted.

Shapes: T frames, J = 17 joints of ``h36m17``, C = 2 (pixels, y down; NaN: not observed) or 3 (metres, Y up), F frames
shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from motion_encoder.palette import LIGHT
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

TEXT, GROUND, PAPER = LIGHT["text"], LIGHT["edge"], LIGHT["panel"]
BEHIND = dict.fromkeys(("left", "right", "centre"), "#c3cad6")
"""Colours of the motion that is drawn behind another one."""
YAW_DEG, PITCH_DEG = 35.0, 12.0
FIGURE_SPACE = 0.85
"""Space for a figure, as a multiple of its height; a lying or stretching person gets more."""
HEAD_RADIUS = 0.055
"""Radius of the head, as a multiple of the figure's height."""
LABEL_SPACE = 0.14
"""Space above and below the figures of a row, as a multiple of their height."""
INCHES_PER_HEIGHT = 1.7


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One motion of a strip."""

    name: str
    positions_TJC: Float[np.ndarray, "T 17 C"]
    behind_TJ3: Float[np.ndarray, "T 17 3"] | None = None
    """Another motion, also in metres, that is drawn in grey behind this one, with the same root positions."""
    yaw_deg: float = YAW_DEG
    """Angle from which a motion in metres is seen, in degrees; 0 is along -Z."""


def frame_strip(path: str | Path, rows: Sequence[Row], *, frames: int = 8, title: str | None = None) -> None:
    """Write a picture with rows of skeletons at evenly spaced frames; the suffix of ``path`` gives the format.

    Raises:
        ValueError: there are no rows, no frames, or rows of different lengths.
    """
    lengths = {row.name: len(row.positions_TJC) for row in rows}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"frame strip: expected rows of equal length, at least 1 frame, found {lengths}")
    num_frames = next(iter(lengths.values()))
    shown = np.unique(np.linspace(0, num_frames - 1, frames).round().astype(int))
    poses = {row.name: [layer_TJ3[shown] for layer_TJ3 in arrange(row)] for row in rows}
    _strip(poses, shown, title).savefig(path, facecolor=PAPER)


def arrange(row: Row) -> list[Float[np.ndarray, "T 17 3"]]:
    """Return the row's motion in picture coordinates, after the motion behind it if there is one.

    The axes are right, up and towards the viewer. The median pose has the height 1. Movement through space is removed:
    the middle of each pose is at x = 0, and the root has a constant height, so that 9 of 10 poses are above the ground.
    """
    seen_TJ3 = _as_seen(row.positions_TJC, row.yaw_deg)
    anchor_T3 = _anchors(seen_TJ3)
    relative_TJ3 = seen_TJ3 - anchor_T3[:, None]
    some_T = np.isfinite(relative_TJ3[..., 0]).any(axis=1)
    if not some_T.any():
        return [relative_TJ3]
    low_T3, high_T3 = (bound(relative_TJ3[some_T], axis=1) for bound in (np.nanmin, np.nanmax))
    height = float(np.median(high_T3[:, 1] - low_T3[:, 1])) or 1.0
    shift_T3 = np.zeros_like(anchor_T3)
    shift_T3[some_T, 0] = (low_T3[:, 0] + high_T3[:, 0]) / 2
    shift_T3[:, 1] = np.quantile(low_T3[:, 1], 0.1)
    layers = [relative_TJ3]
    if row.behind_TJ3 is not None:
        behind_TJ3 = _as_seen(row.behind_TJ3, row.yaw_deg)
        layers.insert(0, behind_TJ3 - _anchors(behind_TJ3)[:, None])
    return [(layer_TJ3 - shift_T3[:, None]) / height for layer_TJ3 in layers]


def _as_seen(positions_TJC: Float[np.ndarray, "T 17 C"], yaw_deg: float) -> Float[np.ndarray, "T 17 3"]:
    if positions_TJC.shape[-1] == 2:
        return np.concatenate([positions_TJC * [1, -1], np.zeros_like(positions_TJC[..., :1])], axis=-1)
    return positions_TJC @ _view_from(yaw_deg).T


def _anchors(seen_TJ3: Float[np.ndarray, "T 17 3"]) -> Float[np.ndarray, "T 3"]:
    """Return the point of each pose that is kept in place: the root or, if unobserved, the mean of observed joints."""
    sum_T3, count_T3 = np.nansum(seen_TJ3, axis=1), np.isfinite(seen_TJ3).sum(axis=1)
    root_T3 = seen_TJ3[:, 0]
    return np.where(np.isfinite(root_T3), root_T3, sum_T3 / np.maximum(count_T3, 1))


def _view_from(yaw_deg: float) -> np.ndarray:
    """Return the rotation of the world: first by the yaw, then by the pitch, which gives a view from above."""
    yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(PITCH_DEG)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return tilt @ turn


def _strip(poses: Mapping[str, Sequence[np.ndarray]], shown: np.ndarray, title: str | None) -> Figure:
    drawn = [np.concatenate(layers) for layers in poses.values()]
    spans = [np.nanmax(each[..., 0], initial=0) - np.nanmin(each[..., 0], initial=0) for each in drawn]
    space = max(FIGURE_SPACE, 1.1 * max(spans))
    lows = [float(np.nanmin(each[..., 1], initial=0.0)) - LABEL_SPACE for each in drawn]
    tops = [float(np.nanmax(each[..., 1], initial=1.0)) + LABEL_SPACE for each in drawn]
    heights = [top - low for low, top in zip(lows, tops, strict=True)]
    width, height = space * len(shown) * INCHES_PER_HEIGHT, sum(heights) * INCHES_PER_HEIGHT
    figure = Figure(figsize=(width, height + (0.4 if title else 0)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, color=TEXT, x=0.01, ha="left", fontsize=13, fontweight="bold")
    all_axes = figure.subplots(len(poses), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, layers), low, top in zip(all_axes, poses.items(), lows, tops, strict=True):
        _draw_row(axes, name, layers, space)
        axes.set(xlim=(-space / 2, space * (len(shown) - 0.5)), ylim=(low, top))
    _draw_legend(all_axes[0])
    for place, frame in enumerate(shown):
        all_axes[-1].text(place * space, lows[-1], f"frame {frame}", color=TEXT, alpha=0.6, ha="center", fontsize=8)
    return figure


def _draw_legend(axes: Axes) -> None:
    for side, points_from_right in (("left", 38), ("right", 4)):
        axes.annotate(
            side, (1, 1), xycoords="axes fraction", xytext=(-points_from_right, -2), textcoords="offset points",
            color=LIGHT[side], ha="right", va="top",
        )  # fmt: skip


def _draw_row(axes: Axes, name: str, layers: Sequence[np.ndarray], space: float) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.axhline(0, color=GROUND, linewidth=1, zorder=0)
    axes.text(0.004, 0.985, name, transform=axes.transAxes, color=TEXT, fontsize=11, va="top")
    colours = [LIGHT, BEHIND][: len(layers)][::-1]
    for points_FJ3, layer_colours in zip(layers, colours, strict=True):
        for place, points_J3 in enumerate(points_FJ3):
            _draw_skeleton(axes, points_J3 + np.array([place * space, 0, 0]), layer_colours)


def _draw_skeleton(axes: Axes, points_J3: np.ndarray, colours: Mapping[str, str]) -> None:
    """Draw bones from far to near, each with a light border to separate crossing limbs, then the head."""
    bones = [bone for bone in H36M17.bones if np.isfinite(points_J3[list(bone)]).all()]
    for bone in sorted(bones, key=lambda bone: points_J3[list(bone), 2].sum()):
        x_2, y_2, _ = points_J3[list(bone)].T
        axes.plot(x_2, y_2, color=PAPER, linewidth=6.4, solid_capstyle="butt")
        axes.plot(x_2, y_2, color=colours[H36M17.sides[bone[1]]], linewidth=3.6, solid_capstyle="round")
    x, y, _ = points_J3[[H36M17.index("nose"), H36M17.index("head")]].mean(axis=0)
    if np.isfinite(x):
        axes.add_patch(Circle((x, y), HEAD_RADIUS, facecolor=colours["centre"], edgecolor=PAPER, zorder=3))
