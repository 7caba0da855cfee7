"""Skeleton strips of stored sequences as SVG, drawn so that wrong axes and exchanged sides are easy to see.

In 3D each pose is rotated about the up axis until its hips face the viewer, and drawn from the front and from its right
side, facing right. In a correct source, people then stand on the line, their left (blue) is at the right of the front
view, and in the side view nose and bent knees point to the right. With a wrong up axis, people lie or are upside down;
with exchanged sides or left-handed axes, nose and knees point to the left. In 2D a pose is drawn in its image, y down,
and once more enlarged.

Pictures are about 8 kB of text per sequence, with coordinates of one decimal; their colours are the page's classes
``left``, ``right`` and ``centre``.

Shapes: F frames shown, J = 17 joints of ``h36m17``.
"""

import numpy as np

from datasets.report.samples import Sample
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

CELL, ROW, MARGIN, FOOT = 108.0, 132.0, 58.0, 18.0
"""Width of a pose's cell, height of a row, space for the axes at the left and for times below, in pixels."""
INSET = 8.0
"""Empty space around each pose, in pixels."""
_NOSE = H36M17.index("nose")


def strips(sample: Sample) -> list[tuple[str, str]]:
    """Return the pictures of a sequence's 3D and 2D, as far as it has them: ``svg`` elements, each with a caption."""
    pictures = []
    if sample.keypoints_3d_FJC is not None:
        pictures.append(_strip_3d(sample, sample.keypoints_3d_FJC.astype(np.float64)))
    if sample.keypoints_2d_FJC is not None:
        pictures.append(_strip_2d(sample, sample.keypoints_2d_FJC.astype(np.float64)))
    return pictures


def front_and_side(
    points_FJ3: Float[np.ndarray, "F 17 3"], seen_FJ: Bool[np.ndarray, "F 17"]
) -> tuple[Float[np.ndarray, "F 17 2"], Float[np.ndarray, "F 17 2"]]:
    """Return (right, up) in metres of each pose seen from its front and, facing right, from its right side.

    The root (if it was not observed, the mean of the observed joints) is at 0 horizontally; up is the world's up. A
    pose without hips and shoulders is seen along -Z and along +X.
    """
    front_FJ2, side_FJ2 = np.zeros((*points_FJ3.shape[:2], 2)), np.zeros((*points_FJ3.shape[:2], 2))
    for frame, (points_J3, seen_J) in enumerate(zip(points_FJ3, seen_FJ, strict=True)):
        left_x, left_z = _left(points_J3, seen_J)
        centre_3 = points_J3[0] if seen_J[0] else points_J3[seen_J].mean(axis=0) if seen_J.any() else np.zeros(3)
        x_J, z_J = points_J3[:, 0] - centre_3[0], points_J3[:, 2] - centre_3[2]
        front_FJ2[frame] = np.stack([x_J * left_x + z_J * left_z, points_J3[:, 1]], axis=-1)
        side_FJ2[frame] = np.stack([z_J * left_x - x_J * left_z, points_J3[:, 1]], axis=-1)
    return front_FJ2, side_FJ2


def _left(points_J3: Float[np.ndarray, "17 3"], seen_J: Bool[np.ndarray, "17"]) -> tuple[float, float]:
    """Horizontal direction from the right hip (or shoulder) to the left one: (x, z), of length 1."""
    for joint in ("hip", "shoulder"):
        left, right = H36M17.index(f"l{joint}"), H36M17.index(f"r{joint}")
        x, _, z = points_J3[left] - points_J3[right]
        if seen_J[left] and seen_J[right] and (length := float(np.hypot(x, z))) > 1e-6:
            return float(x) / length, float(z) / length
    return 1.0, 0.0


def _strip_3d(sample: Sample, points_FJ3: Float[np.ndarray, "F 17 3"]) -> tuple[str, str]:
    """Two rows with the same ground and scale, and an arrow of one metre upwards."""
    views = front_and_side(points_FJ3, sample.seen_FJ)
    seen_N2 = np.concatenate([view[sample.seen_FJ] for view in views])
    low, high = (float(seen_N2[:, 1].min()), float(seen_N2[:, 1].max())) if len(seen_N2) else (0.0, 0.0)
    width = 2 * float(np.abs(seen_N2[:, 0]).max(initial=0.0))
    scale = min(_fit(ROW - 2 * INSET, high - low), _fit(CELL - 2 * INSET, width))
    parts = []
    for row, (name, view_FJ2) in enumerate(zip(("front", "side"), views, strict=True)):
        ground = (row + 1) * ROW - INSET
        parts.append(f'<path class="ground" d="M{MARGIN:.1f} {ground:.1f}H{_width(sample):.1f}"/>')
        parts += [_text(4, row * ROW + 16, name), _up_arrow(ground, scale)]
        for place, (points_J2, seen_J) in enumerate(zip(view_FJ2, sample.seen_FJ, strict=True)):
            middle = MARGIN + (place + 0.5) * CELL
            drawn_J2 = np.stack([middle + points_J2[:, 0] * scale, ground - (points_J2[:, 1] - low) * scale], axis=-1)
            parts.append(_skeleton(drawn_J2, seen_J))
    return _picture(
        sample, parts, f"{high - low:.2f} m from the lowest to the highest joint; the line is at y = {low:.2f} m"
    )


def _up_arrow(ground: int | float, scale: int | float) -> str:
    top = ground - scale
    if scale > ROW - INSET:  # for large scales the arrow would leave its row
        return ""
    tip = f"M26 {top + 5:.1f}L30 {top:.1f}L34 {top + 5:.1f}"
    return f'<path class="axis" d="M30 {ground:.1f}V{top:.1f}{tip}"/>' + _text(4, (ground + top) / 2 + 4, "1 m")


def _strip_2d(sample: Sample, points_FJ2: Float[np.ndarray, "F 17 2"]) -> tuple[str, str]:
    """Two rows: the image with the person in it, and the person enlarged, each row with one scale."""
    low_2, high_2 = _extent(points_FJ2, sample.seen_FJ)
    known = sample.image_size is not None
    if sample.image_size is not None:
        low_2, high_2 = np.zeros(2), np.array(sample.image_size, dtype=np.float64)
    image_2 = high_2 - low_2
    scale = min(_fit(CELL - 2 * INSET, image_2[0]), _fit(ROW - 2 * INSET, image_2[1]))
    extents = [_extent(*each) for each in zip(points_FJ2, sample.seen_FJ, strict=True)]
    largest_2 = np.max([high - low for low, high in extents], axis=0, initial=0.0)
    near = min(_fit(CELL - 2 * INSET, largest_2[0]), _fit(ROW - 2 * INSET, largest_2[1]))
    parts = [_text(4, 16, "image"), _image_axes(), _text(4, ROW + 16, "near by")]
    for place, (points_J2, seen_J) in enumerate(zip(points_FJ2, sample.seen_FJ, strict=True)):
        middle_2 = np.array([MARGIN + (place + 0.5) * CELL, ROW / 2])
        corner_2 = middle_2 - image_2 * scale / 2
        parts.append(
            f'<rect class="{"image" if known else "image unknown"}" x="{corner_2[0]:.1f}" y="{corner_2[1]:.1f}" '
            f'width="{image_2[0] * scale:.1f}" height="{image_2[1] * scale:.1f}"/>'
        )
        parts.append(_skeleton(corner_2 + (points_J2 - low_2) * scale, seen_J))
        centre_2 = np.mean(extents[place], axis=0)
        parts.append(_skeleton(middle_2 + [0, ROW] + (points_J2 - centre_2) * near, seen_J))
    size = f"image of {image_2[0]:.0f} × {image_2[1]:.0f} pixels" if known else "size of the image not known"
    return _picture(sample, parts, f"{size}; the person measures up to {largest_2[0]:.0f} × {largest_2[1]:.0f}")


def _image_axes() -> str:
    """Arrows: x to the right, y down."""
    return (
        '<path class="axis" d="M12 34H40M35 30L40 34L35 38M12 34V62M8 57L12 62L16 57"/>'
        + _text(44, 38, "x")
        + _text(9, 76, "y")
    )


def _extent(
    points_FJ2: Float[np.ndarray, "*F 17 2"], seen_FJ: Bool[np.ndarray, "*F 17"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    seen_N2 = points_FJ2[seen_FJ]
    return (seen_N2.min(axis=0), seen_N2.max(axis=0)) if len(seen_N2) else (np.zeros(2), np.zeros(2))


def _fit(space: int | float, extent: int | float) -> float:
    """Pixels per unit; 1 for a single point."""
    return space / extent if extent > 1e-9 else 1.0


def _skeleton(points_J2: Float[np.ndarray, "17 2"], seen_J: Bool[np.ndarray, "17"]) -> str:
    """One path per side, the left first, since the side view is from the right, and a dot for the nose."""
    paths = []
    for side in ("left", "centre", "right"):
        bones = [bone for bone in H36M17.bones if H36M17.sides[bone[1]] == side and seen_J[list(bone)].all()]
        if bones:
            paths.append(f'<path class="{side}" d="{"".join(_line(points_J2[list(bone)]) for bone in bones)}"/>')
    if seen_J[_NOSE]:
        x, y = points_J2[_NOSE]
        paths.append(f'<circle class="nose" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return "".join(paths)


def _line(ends_22: Float[np.ndarray, "2 2"]) -> str:
    (x, y), (to_x, to_y) = ends_22
    return f"M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"


def _picture(sample: Sample, parts: list[str], figures: str) -> tuple[str, str]:
    """Build a picture from its parts, with the times below."""
    width, height = _width(sample), 2 * ROW + FOOT
    for place, frame in enumerate(sample.frame_F):
        parts.append(_text(MARGIN + (place + 0.5) * CELL, height - 5, f"{frame / sample.fps:.2f} s", anchor="middle"))
    svg = (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img"><title>{figures}</title>{"".join(parts)}</svg>'
    )
    return svg, figures


def _width(sample: Sample) -> int | float:
    return MARGIN + max(1, len(sample.frame_F)) * CELL


def _text(x: int | float, y: int | float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
