"""Poses of Human3.6M's cameras, to rotate sequences upright and to triangulate joints.

A pose in image space is known up to its scale; two rays to a joint determine its position. The cameras were moved
between people, so there are 28 poses: the four of `h36m.CAMERAS` for each of the seven people with poses. The numbers
are the data set's own (metadata.xml), as facebookresearch/VideoPose3D publishes them in common/h36m_dataset.py, rounded
to 1e-8 and 1/1000 mm; they agree with metadata.xml and with CHUNYUWANG/H36M-Toolbox's camera_data.pkl to 1.2e-7 and
1/1000 mm, less than 0.002 mm at a joint.

The room's axes are right-handed and Z up, in metres, from a point on the floor; a camera's are x right, y down, z
forward. Pixels are those of a pinhole, without the lens' distortion. All cameras are tilted, by 11 to 16 degrees.

Memory of a triangulation: 5 kB a frame. Speed: 35,000 frames a second of a take seen by four cameras.

Shapes: T frames, J joints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from datasets.readers.mocap.h36m import CAMERA_TO_CANONICAL, CAMERAS, Camera
from motion_encoder.shapes import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedCamera:
    """A camera and its pose in the room."""

    lens: Camera
    axes: Float[np.ndarray, "3 3"]
    """Rotation whose columns are the camera's x, y and z axes in the room's axes."""
    place: Float[np.ndarray, "3"]
    """Position in the room, in metres."""

    def from_room(self, room_TJ3: Float[np.ndarray, "T J 3"]) -> Float[np.ndarray, "T J 3"]:
        """Return points of the room in the camera's own axes, metres."""
        return (room_TJ3 - self.place) @ self.axes

    @property
    def to_upright(self) -> Float[np.ndarray, "3 3"]:
        """Return the rotation from the camera's own axes to Y up.

        First the axes are renamed (x right, y up, z back), then rotated by the smallest rotation that brings the room's
        up to +Y (Rodrigues' formula), so that the heading is the camera's.
        """
        up_3 = self.axes[2] * CAMERA_TO_CANONICAL
        x, y, z = np.cross(up_3, [0.0, 1.0, 0.0])
        across_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turn_33 = np.eye(3) + across_33 + across_33 @ across_33 / (1 + up_3[1])
        return turn_33 * CAMERA_TO_CANONICAL

    def rays(self, pixels_TJ2: Float[np.ndarray, "T J 2"]) -> Float[np.ndarray, "T J 3"]:
        """Return the directions of these pixels, of length 1 and in the room's axes."""
        forward_TJ3 = self.lens.unproject(pixels_TJ2, np.ones(pixels_TJ2.shape[:-1])) @ self.axes.T
        return forward_TJ3 / np.linalg.norm(forward_TJ3, axis=-1, keepdims=True)


def placed_camera(subject: str, camera: str) -> PlacedCamera | None:
    """Return a camera of `h36m.CAMERAS` with its pose for a subject such as ``S1``; None for people without poses."""
    if subject not in _PLACES or camera not in CAMERAS:
        return None
    w, x, y, z, *place_mm = _PLACES[subject][list(CAMERAS).index(camera)]
    return PlacedCamera(lens=CAMERAS[camera], axes=_rotation(w, x, y, z), place=np.array(place_mm) / 1000)


def upright(
    own_TJ3: Float[np.ndarray, "T J 3"], subject: str, camera: str
) -> tuple[Float[np.ndarray, "T J 3"], tuple[str, ...]]:
    """Rotate points from a camera's own axes to Y up, the lens at 0; a repair says if up is the camera's own.

    That is the case for people without poses, since the camera poses are not known.
    """
    placed = placed_camera(subject, camera)
    if placed is None:
        kept = "up is the camera's, more than ten degrees off: how it stood is not known"
        return (own_TJ3 * CAMERA_TO_CANONICAL).astype(np.float32), (kept,)
    return (own_TJ3 @ placed.to_upright.T).astype(np.float32), ()


def triangulate(
    cameras: Sequence[PlacedCamera], pixels: Sequence[Float[np.ndarray, "T J 2"]]
) -> Float[np.ndarray, "T J 3"]:
    """Return the points in the room, in metres, nearest to the rays of all cameras (least squares of the distances).

    If the rays do not determine a point (all parallel, or pixels that are NaN), the result is far off or NaN.
    """
    normal_TJ33, target_TJ3 = np.zeros(()), np.zeros(())
    for camera, pixels_TJ2 in zip(cameras, pixels, strict=True):
        ray_TJ3 = camera.rays(pixels_TJ2)
        across_TJ33 = np.eye(3) - ray_TJ3[..., :, None] * ray_TJ3[..., None, :]
        normal_TJ33 = normal_TJ33 + across_TJ33
        target_TJ3 = target_TJ3 + across_TJ33 @ camera.place
    try:
        return np.linalg.solve(normal_TJ33, target_TJ3[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.full(target_TJ3.shape, np.nan)


def disagreement(
    camera: PlacedCamera, image_TJ3: Float[np.ndarray, "T J 3"], room_TJ3: Float[np.ndarray, "T J 3"]
) -> float:
    """Return the largest distance, in metres, of a camera's image space from these points in the room; NaN if unknown.

    Image space, as CHUNYUWANG/lcn-pose makes it (tools/gendb.py): pixels, and the depth behind the root (joint 0) times
    the width in pixels, plus one, of a box of two metres at the root, over the two metres. Both are converted to metres
    at the joint and compared, so that all three coordinates count.
    """
    focal = np.array(camera.lens.focal)
    own_TJ3 = camera.from_room(room_TJ3)
    depth_TJ1 = own_TJ3[..., 2:]
    behind_TJ1 = depth_TJ1 - depth_TJ1[:, :1]
    px_per_m_T11 = (2 * focal[0] / depth_TJ1[:, :1] + 1) / 2
    across_TJ2 = (camera.lens.project(own_TJ3) - image_TJ3[..., :2]) * depth_TJ1 / focal
    along_TJ1 = behind_TJ1 - (image_TJ3[..., 2:] - image_TJ3[:, :1, 2:]) / px_per_m_T11
    return float(np.linalg.norm(np.concatenate([across_TJ2, along_TJ1], axis=-1), axis=-1).max(initial=0.0))


# for each camera in the order of CAMERAS: the quaternion w, x, y, z from its axes to the room's; its position, mm
_PLACES: Mapping[str, tuple[tuple[float, ...], ...]] = MappingProxyType(
    {
        "S1": (
            (0.14070565, -0.15007018, -0.75524080, 0.62232804, 1841.107, 4955.285, 1563.445),
            (0.61571878, -0.76483631, -0.14833826, 0.11794741, 1761.279, -5078.007, 1606.265),
            (0.14651473, -0.14647852, 0.76530236, -0.60941756, -1846.778, 5215.046, 1491.972),
            (0.58340085, -0.78531623, 0.14548823, -0.14749594, -1794.790, -3722.699, 1574.893),
        ),
        "S5": (
            (0.14673772, -0.16237096, -0.75518930, 0.61789387, 2097.392, 4880.945, 1605.732),
            (0.61597586, -0.76267922, -0.15728192, 0.11898150, 2031.701, -5167.933, 1612.923),
            (0.14291371, -0.12907842, 0.76783848, -0.61101431, -1620.595, 5171.659, 1496.437),
            (0.59204799, -0.78142178, 0.12747486, -0.15036418, -1637.174, -3867.317, 1547.033),
        ),
        "S6": (
            (0.13378978, -0.15692396, -0.75710905, 0.61988795, 1935.452, 4950.246, 1618.084),
            (0.61471975, -0.76288128, -0.16174768, 0.11819245, 1969.804, -5128.739, 1632.779),
            (0.15299481, -0.13529131, 0.76460963, -0.61127812, -1769.596, 5185.361, 1476.993),
            (0.59161013, -0.78047740, 0.12832271, -0.15615939, -1721.669, -3884.131, 1540.488),
        ),
        "S7": (
            (0.14352418, -0.16313368, -0.75483286, 0.61888248, 1974.513, 4926.354, 1597.833),
            (0.61416727, -0.76382625, -0.15966456, 0.11779299, 1937.058, -5119.790, 1631.567),
            (0.14550060, -0.12874816, 0.76605165, -0.61271393, -1741.811, 5208.250, 1464.825),
            (0.59128481, -0.78217643, 0.12445474, -0.15196487, -1734.711, -3832.421, 1548.583),
        ),
        "S8": (
            (0.14110588, -0.15589868, -0.75619173, 0.61964405, 2150.652, 4896.161, 1611.905),
            (0.61696017, -0.76476681, -0.14846350, 0.11158158, 2219.966, -5148.453, 1613.044),
            (0.14714441, -0.13377120, 0.76701283, -0.61003697, -1571.222, 5137.019, 1498.176),
            (0.59278244, -0.78258705, 0.12147816, -0.14631996, -1476.913, -3896.741, 1547.972),
        ),
        "S9": (
            (0.15540588, -0.15548216, -0.75320953, 0.61995947, 2044.458, 4935.117, 1481.228),
            (0.61878449, -0.76347351, -0.14132239, 0.11933968, 1990.960, -5123.811, 1568.805),
            (0.13357827, -0.13671005, 0.76894546, -0.61007386, -1670.992, 5211.986, 1528.388),
            (0.58793992, -0.78234071, 0.14276144, -0.14794870, -1696.043, -3827.100, 1591.413),
        ),
        "S11": (
            (0.15232472, -0.15442321, -0.75475633, 0.61910701, 2098.440, 4926.555, 1500.279),
            (0.61894494, -0.76009172, -0.15300633, 0.12552583, 2083.182, -4912.173, 1561.079),
            (0.14943229, -0.15650228, 0.76812339, -0.60263044, -1609.815, 5177.336, 1537.897),
            (0.58942515, -0.78188771, 0.13991211, -0.14715362, -1590.738, -3854.169, 1578.018),
        ),
    }
)


def _rotation(w: float, x: float, y: float, z: float) -> Float[np.ndarray, "3 3"]:
    """Return the matrix of a quaternion of about length 1."""
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
