"""A body for the tests of Human3.6M's layouts: seventeen joints, metres, x right, y DOWN, z forward, from the root.

It faces a camera that looks along +z, so that its right side is at smaller x. Thighs and shins are 0.45 m. It also
walks in the data set's room, whose axes are Z up, seen by the cameras of S1 and S9.
"""

import numpy as np
from scipy.spatial.transform import Rotation

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


PLACES = {  # the data set's metadata.xml, w0: angles about x, y, z (radians), place in the room (mm)
    ("S1", "54138969"): (-1.38382776, -3.16734304, 0.41363631, 1841.107028, 4955.284623, 1563.445396),
    ("S1", "55011271"): (-1.35517119, 3.13934427, 2.76026318, 1761.278530, -5078.006590, 1606.264960),
    ("S1", "58860488"): (-1.35460454, -3.09585375, -0.41501068, -1846.777660, 5215.046500, 1491.972470),
    ("S1", "60457274"): (-1.29084726, -3.20353825, -2.72857299, -1794.789730, -3722.698920, 1574.892730),
    ("S9", "54138969"): (-1.38660154, -3.18292551, 0.44147876, 2044.458530, 4935.117280, 1481.227530),
    ("S9", "55011271"): (-1.36358354, 3.14892190, 2.76957840, 1990.959660, -5123.810550, 1568.804820),
    ("S9", "58860488"): (-1.34888172, -3.10296069, -0.38278896, -1670.992150, 5211.985740, 1528.388000),
    ("S9", "60457274"): (-1.30216364, -3.20525795, -2.73209049, -1696.043470, -3827.099890, 1591.412730),
}


def turn(x: float, y: float, z: float) -> np.ndarray:
    """[3, 3], from the room's axes to the camera's: about z, then y, then x."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def seen_in_room(room: np.ndarray, person: str, camera: str) -> np.ndarray:
    """[T, J, 3]: points of the room in a camera's own axes, metres."""
    *angles, x, y, z = PLACES[person, camera]
    return (room - np.array([x, y, z]) / 1000) @ turn(*angles).T


def upright(own: np.ndarray, person: str, camera: str) -> np.ndarray:
    """[T, J, 3]: points in a camera's own axes, with Y up as in the room: the turn by the least angle that does it."""
    renamed = np.array([1, -1, -1])  # x right, y up, z back
    up = turn(*PLACES[person, camera][:3]) @ [0, 0, 1] * renamed
    about = np.cross(up, [0, 1, 0])
    tilt = Rotation.from_rotvec(about / np.linalg.norm(about) * np.arccos(up[1]))
    return tilt.apply((own * renamed).reshape(-1, 3)).reshape(own.shape)


def walk_in_room(frames: int, start=(-0.4, 0.2, 0.9), step=(0.03, -0.02, 0.0)) -> np.ndarray:
    """[T, 17, 3]: the same body upright in the room, Z up."""
    x, down, forward = np.moveaxis(walk(frames, start=(0, 0, 0), step=(0, 0, 0)), -1, 0)
    return np.stack([x, forward, -down], axis=-1) + np.array(start) + np.arange(frames)[:, None, None] * np.array(step)
