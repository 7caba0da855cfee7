"""Still pictures of motion, for READMEs and reports: a strip of frames, one row per kind of skeleton.

Each figure is seen where it stands in its row, without its travel, and all rows have one scale: a median figure is as
high in every row, be it in pixels or in metres.

Shapes: T frames, J = 17 joints of ``h36m17``, C = 2 (pixels, y down; NaN: not observed) or 3 (metres, Y up), F frames
shown.
"""

from collections.abc import Mapping
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
YAW_DEG, PITCH_DEG = 35.0, 12.0
FIGURE_SPACE = 0.85
"""Width of a figure's place, over its height; a lying or stretching person gets more."""
HEAD_RADIUS = 0.055
"""Over the figure's height."""
LABEL_SPACE = 0.14
"""Above and below the figures of a row."""
INCHES_PER_HEIGHT = 1.7


def frame_strip(
    path: str | Path, rows: Mapping[str, Float[np.ndarray, "T 17 C"]], *, frames: int = 8, title: str | None = None
) -> None:
    """Write a picture (PNG, or what the suffix says): rows of skeletons at even times, the left side blue.

    Raises:
        ValueError: There are no rows, no frames, or rows of unlike length.
    """
    lengths = {name: len(positions_TJC) for name, positions_TJC in rows.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"frame strip: expected rows of one length, at least 1 frame, found {lengths}")
    num_frames = next(iter(lengths.values()))
    shown = np.unique(np.linspace(0, num_frames - 1, frames).round().astype(int))
    figures = {name: upright(positions_TJC)[shown] for name, positions_TJC in rows.items()}
    _strip(figures, shown, title).savefig(path, facecolor=PAPER)


def upright(positions_TJC: Float[np.ndarray, "T 17 C"]) -> Float[np.ndarray, "T 17 3"]:
    """Return picture coordinates: right, up, and towards the viewer; the median figure is 1 high.

    Travel to the side is taken out, the ground (the lowest points, but for outliers) is at 0.
    """
    if positions_TJC.shape[-1] == 2:
        seen_TJ3 = np.concatenate([positions_TJC * [1, -1], np.zeros_like(positions_TJC[..., :1])], axis=-1)
    else:
        travel_T13 = positions_TJC[:, :1] * [1, 0, 1]
        seen_TJ3 = (positions_TJC - travel_T13) @ _three_quarter_view().T
    some_T = np.isfinite(seen_TJ3[..., 0]).any(axis=1)
    if not some_T.any():
        return seen_TJ3
    low_T, high_T = np.nanmin(seen_TJ3[some_T, :, 1], axis=1), np.nanmax(seen_TJ3[some_T, :, 1], axis=1)
    height = float(np.median(high_T - low_T)) or 1.0
    middle_T = np.zeros(len(seen_TJ3))
    middle_T[some_T] = (np.nanmin(seen_TJ3[some_T, :, 0], axis=1) + np.nanmax(seen_TJ3[some_T, :, 0], axis=1)) / 2
    seen_TJ3[..., 0] -= middle_T[:, None]
    seen_TJ3[..., 1] -= np.quantile(low_T, 0.1)
    return seen_TJ3 / height


def _three_quarter_view() -> np.ndarray:
    """Rotation of the world: turned by the yaw, then looked at from above by the pitch."""
    yaw, pitch = np.deg2rad(YAW_DEG), np.deg2rad(PITCH_DEG)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return tilt @ turn


def _strip(figures: Mapping[str, np.ndarray], shown: np.ndarray, title: str | None) -> Figure:
    spans = [np.nanmax(each[..., 0], initial=0) - np.nanmin(each[..., 0], initial=0) for each in figures.values()]
    space = max(FIGURE_SPACE, 1.1 * max(spans))
    lows = [float(np.nanmin(each[..., 1], initial=0.0)) - LABEL_SPACE for each in figures.values()]
    tops = [float(np.nanmax(each[..., 1], initial=1.0)) + LABEL_SPACE for each in figures.values()]
    heights = [top - low for low, top in zip(lows, tops, strict=True)]
    width, height = space * len(shown) * INCHES_PER_HEIGHT, sum(heights) * INCHES_PER_HEIGHT
    figure = Figure(figsize=(width, height + (0.4 if title else 0)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, color=TEXT, x=0.01, ha="left", fontsize=13, fontweight="bold")
    all_axes = figure.subplots(len(figures), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, points_FJ3), low, top in zip(all_axes, figures.items(), lows, tops, strict=True):
        _draw_row(axes, name, points_FJ3, space)
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


def _draw_row(axes: Axes, name: str, points_FJ3: np.ndarray, space: float) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.axhline(0, color=GROUND, linewidth=1, zorder=0)
    axes.text(0.004, 0.985, name, transform=axes.transAxes, color=TEXT, fontsize=11, va="top")
    for place, points_J3 in enumerate(points_FJ3):
        _draw_skeleton(axes, points_J3 + np.array([place * space, 0, 0]))


def _draw_skeleton(axes: Axes, points_J3: np.ndarray) -> None:
    """Draw bones from far to near, each with a rim of paper so that crossing limbs stay apart, then the head."""
    bones = [bone for bone in H36M17.bones if np.isfinite(points_J3[list(bone)]).all()]
    for bone in sorted(bones, key=lambda bone: points_J3[list(bone), 2].sum()):
        x_2, y_2, _ = points_J3[list(bone)].T
        axes.plot(x_2, y_2, color=PAPER, linewidth=6.4, solid_capstyle="butt")
        axes.plot(x_2, y_2, color=LIGHT[H36M17.sides[bone[1]]], linewidth=3.6, solid_capstyle="round")
    x, y, _ = points_J3[[H36M17.index("nose"), H36M17.index("head")]].mean(axis=0)
    if np.isfinite(x):
        axes.add_patch(Circle((x, y), HEAD_RADIUS, facecolor=LIGHT["centre"], edgecolor=PAPER, zorder=3))
