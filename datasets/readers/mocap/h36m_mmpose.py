"""Human3.6M as MMPose prepares it: `annotation_body3d/fps50/h36m_train.npz` and `h36m_test.npz` (or fps10).

open-mmlab/mmpose, tools/dataset_converters/preprocess_h36m.py. One row per image: `imgname`
(`S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg`: subject, take, camera, frame number from 1 on at 50
Hz), `part` [N, 17, 3] (true joints in pixels, with lens distortion, and whether they are visible), `S` [N, 17, 4]
(metres in the camera's own axes, and whether they are visible), `center` and `scale` of a box. The joints are in the
canonical order. There is one sequence per take and camera, with 2D and 3D; the 3D is rotated upright.

Traps. The tool's default keeps every fifth frame: 10 Hz, in a folder called fps10, but in files with the same names.
The frame numbers show it: the rate is 50 Hz divided by the step of a take, and missing frames in between are gaps. A
take is split at gaps of more than two seconds. The variant `h36m_*_original.npz` has image space instead of metres in
`S` and is rejected.

Memory: the size of the file; one array is fetched after the other and kept as float32. Speed: 30,000 frames a second.

Shapes: N rows, M rows of a take, T frames, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from datasets.assembly.timeline import split_tracklets
from datasets.containers.npz import Npz, names_in, open_npz
from datasets.joints.tables import to_canonical
from datasets.readers.mocap.h36m import CAMERAS, FPS, H36M, SAME_JOINTS, action_of
from datasets.readers.mocap.h36m_cameras import upright
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.shapes import Float, Int

SOURCES = (H36M,)
MAX_DEPTH_M = 20.0
"""Largest plausible depth: nothing in the room is farther from a camera than about 8 m; image space has hundreds."""
_IMAGE = re.compile(
    r"(?:.*[/\\])?(?P<video>(?P<subject>S\d{1,2})_(?P<take>\w+)\.(?P<camera>\d{8}))_(?P<frame>\d{6})\.\w+"
)


class H36mMmposeReader:
    """Reads an annotation file; each take of one camera is one sequence."""

    name = "h36m_mmpose"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim archives by their arrays, except those of SMPL fits, which also have pose and shape."""
        return [
            Recording(path=file.path, reader=self.name, source=H36M, size=file.size) for file in files if _is_ours(file)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the takes in the order in which they begin."""
        with open_npz(recording.path) as archive:
            videos = _videos(archive.array("imgname"), recording.path)
            joints_NJ4, part_NJ3 = _joints(archive, "S", 4), _joints(archive, "part", 3)
        rows = sum(len(video.rows) for video in videos)
        if not rows == len(joints_NJ4) == len(part_NJ3):
            found = f"{rows}, {len(joints_NJ4)} and {len(part_NJ3)} rows"
            raise _error(recording.path, "imgname, S and part", "one row an image", found)
        for video in videos:
            yield from _sequences(video, joints_NJ4, part_NJ3, recording.path)


READER = H36mMmposeReader()


@dataclass(frozen=True, kw_only=True)
class _Video:
    """The rows of one take of one camera, and their frame numbers."""

    name: str
    subject: str
    take: str
    camera: str
    rows: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


def _is_ours(file: File) -> bool:
    return {"imgname", "center", "scale", "part", "S"} <= names_in(file) and "pose" not in names_in(file)


def _videos(imgname_N: np.ndarray, path: str) -> list[_Video]:
    if imgname_N.dtype.kind != "U" or imgname_N.ndim != 1:
        raise _error(path, "imgname", "a text for each row", f"{imgname_N.dtype} {list(imgname_N.shape)}")
    videos: dict[str, _Video] = {}
    matches = (_checked(_IMAGE.fullmatch(str(name)), str(name), path) for name in imgname_N)
    for row, match in enumerate(matches):
        video = videos.get(match["video"])
        if video is None:
            video = _Video(name=match["video"], subject=match["subject"], take=match["take"], camera=match["camera"])
            videos[video.name] = video
        video.rows.append(row)
        video.frames.append(int(match["frame"]))
    return list(videos.values())


def _checked(match: re.Match[str] | None, name: str, path: str) -> re.Match[str]:
    if match is None or match["camera"] not in CAMERAS:
        expected = f"SUBJECT_TAKE.CAMERA_FRAME.jpg with a camera of {', '.join(CAMERAS)}"
        raise _error(path, "imgname", expected, name[:80])
    return match


def _joints(archive: Npz, name: str, columns: int) -> Float[np.ndarray, "N 17 C"]:
    values = archive.array(name)
    if values.dtype.kind not in "fiu" or values.shape[1:] != (17, columns):
        expected = f"numbers [N, 17, {columns}]"
        raise _error(archive.path, name, expected, f"{values.dtype} {list(values.shape)}")
    with np.errstate(over="ignore"):  # values that float32 cannot represent become infinite and so not observed
        return values.astype(np.float32)


def _sequences(
    video: _Video, joints_NJ4: Float[np.ndarray, "N 17 4"], part_NJ3: Float[np.ndarray, "N 17 3"], path: str
) -> Iterator[MotionSequence]:
    frame_M, first_M = np.unique(video.frames, return_index=True)
    row_M = np.array(video.rows)[first_M]
    repeated = len(video.frames) - len(frame_M)
    step = int(np.gcd.reduce(np.diff(frame_M))) if len(frame_M) > 1 else 1
    at_M = (frame_M - frame_M[0]) // step
    action, label = action_of(video.take)
    for number, tracklet in enumerate(split_tracklets(at_M.astype(np.float64), FPS / step)):
        metric_TJ3, pixels_TJ2, confidence_TJ = _over_time(
            at_M[tracklet] - at_M[tracklet[0]], joints_NJ4[row_M[tracklet]], part_NJ3[row_M[tracklet]]
        )
        farthest = float(np.abs(metric_TJ3).max())
        if farthest > MAX_DEPTH_M:
            raise _error(path, f"S of {video.name}", f"metres, at most {MAX_DEPTH_M:g}", f"{farthest:.4g}")
        upright_TJ3, repairs = upright(metric_TJ3, video.subject, video.camera)
        yield MotionSequence(
            source=H36M,
            sequence_id=video.name + (f"#{number}" if number else ""),
            subject=f"h36m/{video.subject}",
            action=action,
            label=label,
            view=video.camera,
            fps=FPS / step,
            keypoints_3d_TJC=upright_TJ3,
            keypoints_2d_TJC=pixels_TJ2,
            confidence_TJ=confidence_TJ,
            image_size=CAMERAS[video.camera].image_size,
            repairs=(*repairs, *([f"{repeated} rows of a frame that was there before left out"] if repeated else [])),
        )


def _over_time(
    at_M: Int[np.ndarray, "M"], joints_MJ4: Float[np.ndarray, "M 17 4"], part_MJ3: Float[np.ndarray, "M 17 3"]
) -> tuple[Float[np.ndarray, "T 17 3"], Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Put each frame at its number; a joint is observed if both its pixels and its metres are."""
    metric_MJ3, seen_MJ = to_canonical(SAME_JOINTS, joints_MJ4[..., :3], joints_MJ4[..., 3])
    pixels_MJ2, visible_MJ = to_canonical(SAME_JOINTS, part_MJ3[..., :2], part_MJ3[..., 2])
    confidence_MJ = np.minimum(seen_MJ, visible_MJ)
    there_MJ1 = (confidence_MJ > 0)[..., None]
    placed = []
    for values_M in (metric_MJ3 * there_MJ1, pixels_MJ2 * there_MJ1, confidence_MJ):
        values_T = np.zeros((int(at_M[-1]) + 1, *values_M.shape[1:]), np.float32)
        values_T[at_M] = values_M
        placed.append(values_T)
    return placed[0], placed[1], placed[2]


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    fix = "Prepare the file again with MMPose's preprocess_h36m.py."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)
