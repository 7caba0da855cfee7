"""A body for the tests of Human3.6M's layouts: seventeen joints, metres, x right, y DOWN, z forward, from the root.

It faces a camera that looks along +z, so that its right side is at smaller x. Thighs and shins are 0.45 m.
"""

import numpy as np

BODY = {
    "root": (0, 0, 0), "rhip": (-0.13, 0, 0), "rknee": (-0.13, 0.45, 0), "rankle": (-0.13, 0.9, 0),
    "lhip": (0.13, 0, 0), "lknee": (0.13, 0.45, 0), "lankle": (0.13, 0.9, 0), "belly": (0, -0.25, 0),
    "neck": (0, -0.5, 0), "nose": (0, -0.6, -0.1), "head": (0, -0.72, 0), "lshoulder": (0.15, -0.45, 0),
    "lelbow": (0.4, -0.4, 0.1), "lwrist": (0.6, -0.35, 0.2), "rshoulder": (-0.15, -0.45, 0),
    "relbow": (-0.4, -0.4, -0.1), "rwrist": (-0.6, -0.3, -0.2),
}  # fmt: skip
"""In the order that Human3.6M's seventeen joints have in all of the literature."""


def walk(frames: int, start=(0.3, 0.1, 5.0), step=(0.01, 0.0, 0.02)) -> np.ndarray:
    """[T, 17, 3]: the stiff body, moving by ``step`` a frame."""
    t = np.arange(frames)[:, None, None]
    return np.array(list(BODY.values()), float) + np.array(start) + t * np.array(step)
