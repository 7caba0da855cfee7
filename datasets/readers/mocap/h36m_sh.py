"""Human3.6M as MotionBERT publishes it: `h36m_sh_conf_cam_source_final.pkl`, detections and image-space 3D.

Walter0807/MotionBERT, docs/pose3d.md and lib/data/datareader_h36m.py; made by the authors of LCN (Ci et al. 2019) with
CHUNYUWANG/H36M-Toolbox. A pickle of `{"train": {...}, "test": {...}}`, each with one row per frame, 1,559,752 and
566,920 at 50 Hz: `joint_2d` [N, 17, 2] (pixels, by a Stacked Hourglass finetuned on this data), `confidence` [N, 17] or
[N, 17, 1], `joint3d_image` [N, 17, 3], `camera_name`, and `source`, the video (`s_09_act_02_subact_01_ca_01`). "test"
also has `action`, `2.5d_factor` [N] and `joints_2.5d_image` (the product of the factor and `joint3d_image`, not needed
here).

Metres in "test". `joint3d_image` is u, v of the true joints through a pinhole camera, and the depth behind the root in
the scale of the root's pixels. The factor is that scale in mm per pixel: root depth over focal length. With it and the
camera's known lens, the joints in the camera's space are

    depth = factor (focal_x + w),    x = (u - centre_x) / focal_x * depth,    y likewise

to within 0.2%, since the toolbox adds one pixel to the width that the scale is computed from.

Metres in "train", which has no factor (a file that has it is read as above): each take is in the file four times, once
per camera, with the same number of frames (1,559,752 is four times the frames of these people's mocap), and the camera
poses are known (h36m_cameras.py). So every joint is triangulated from the pinhole pixels of all cameras, and
transformed to each camera again. This is exact, and overdetermined: u, v and depth of each camera in each frame must
agree with it to 10 mm, which fails for cameras that are not synchronised or have another pose; exact pixels agree to
0.05 mm, and to 1 mm if a file's depths lack the toolbox's additional pixel. Takes that fail, or with only one camera,
get detections without 3D, and the repairs say so.

The metres of both parts are rotated from the camera's axes to Y up. A joint without confidence is absent from 2D and
3D. The published preparation cuts videos into windows of 243 frames and drops the rest; here each video is one complete
sequence.

Memory: 1.6 times the file's size, since arrays are views of it and names are not; videos are converted one by one, and
only the last triangulated take is kept, 0.4 kB per frame: the four views of a take are adjacent. Speed: 60,000 frames a
second with the factor, 40,000 without.

Shapes: N frames of a part, T frames of a video, J = 17 joints.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from datasets.containers import pickles
from datasets.files import head
from datasets.joints.tables import to_canonical
from datasets.readers.mocap.h36m import ACTIONS, CAMERAS, FIRST_ACTION, FPS, H36M, SAME_JOINTS, Camera, action_of
from datasets.readers.mocap.h36m_cameras import PlacedCamera, disagreement, placed_camera, triangulate, upright
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.shapes import Float

SOURCES = (H36M,)
PARTS = ("train", "test")
MAX_DEPTH_M = 20.0
"""Largest plausible depth: nothing in the room is farther from a camera than about 8 m."""
MAX_DISAGREEMENT_M = 0.01
"""Largest disagreement of cameras. One frame of delay exceeds it if a hand moves at 0.5 m/s; exact data stay below 2
mm."""
_LEFT_OUT = f"3D left out: not in front of the camera within {MAX_DEPTH_M:g} m"
_NO_SIZE = "no 2.5d_factor, so how large the person is cannot be known, detections alone"
_VIDEO = re.compile(r"s_(?P<subject>\d\d)_act_(?P<action>\d\d)_subact_\d\d_ca_(?P<camera>\d\d)")
_KEYS = rb"joint_2d|joint3d_image|confidence|camera_name|source|action|2\.5d_factor|joints_2\.5d_image"
_START = re.compile(rb"\x80.{0,24}[\x8cUX](?:.\0\0\0|.)(?:train|test).{0,24}(?:%s)" % _KEYS, re.DOTALL)


class H36mShReader:
    """Reads the pickle; each video, of one person and one camera, is one sequence."""

    name = "h36m_sh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim pickles whose first entry of a part is one of the format's."""
        return [
            Recording(path=file.path, reader=self.name, source=H36M, size=file.size)
            for file in files
            if _START.match(head(file)[:128])
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the videos in the order of the file."""
        data = pickles.load(recording.path)
        if not isinstance(data, dict) or not any(isinstance(data.get(part), dict) for part in PARTS):
            raise _error(recording.path, "pickle", "dictionaries train and test", type(data).__name__)
        times_seen: Counter[str] = Counter()
        for part in PARTS:
            if isinstance(data.get(part), dict):
                yield from _videos(_Part(path=recording.path, name=part, data=data[part]), times_seen)


READER = H36mShReader()


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The frames of the train or test subjects."""

    path: str
    name: str
    data: dict[Any, Any]

    def array(self, key: str, *item: int) -> Float[np.ndarray, "N ..."]:
        """Return a numeric array with rows of this shape; lists of rows are concatenated."""
        values = self.data.get(key)
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise self.error(key, "rows of one length", str(error)[:80]) from error
        if array.dtype.kind not in "fiu" or array.shape[1:] != item:
            expected = f"numbers [N{''.join(f', {size}' for size in item)}]"
            raise self.error(key, expected, "none" if values is None else f"{array.dtype} {list(array.shape)}")
        return array if array.dtype.kind == "f" else array.astype(np.float32)

    def names(self, key: str) -> list[str]:
        """Return a text for each frame."""
        values = self.data.get(key)
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        if not isinstance(listed, list) or not all(isinstance(value, str) for value in listed):
            raise self.error(key, "a name for each frame", type(values).__name__)
        return listed

    def error(self, where: str, expected: str, found: str) -> RecordingError:
        """Return the error for a place in this part."""
        return _error(self.path, f"{self.name}: {where}", expected, found)


def _videos(part: _Part, times_seen: Counter[str]) -> Iterator[MotionSequence]:
    """Yield the sequences of a part; a video is the consecutive rows with the same name."""
    sources, cameras = part.names("source"), part.names("camera_name")
    pixels_NJ2, confidence_NJ = part.array("joint_2d", 17, 2), _confidence(part)
    factor_N = part.array("2.5d_factor") if "2.5d_factor" in part.data else None
    has_image = factor_N is not None or "joint3d_image" in part.data
    image_NJ3 = part.array("joint3d_image", 17, 3) if has_image else None
    given = (sources, cameras, pixels_NJ2, confidence_NJ, factor_N, image_NJ3)
    counts = {len(each) for each in given if each is not None}
    if len(counts) > 1:
        raise part.error("frames", "one row a frame in all entries", f"{sorted(counts)} rows")
    videos, room = _runs(sources, cameras), None
    takes: defaultdict[str, list[_Video]] = defaultdict(list)
    for video in videos:
        takes[video.take].append(video)
    for video in videos:
        source, frames = video.source, video.frames
        facts = _facts(source, set(cameras[frames]), part)
        person = facts.subject.removeprefix("h36m/")
        positions_TJ2, confidence_TJ = to_canonical(SAME_JOINTS, pixels_NJ2[frames], confidence_NJ[frames])
        if factor_N is not None and image_NJ3 is not None:
            metric_TJ3, said = _metric(facts.camera, image_NJ3[frames], factor_N[frames])
        else:
            views = takes[video.take]
            if room is None or room.take != video.take:
                room = _room(video.take, views, [placed_camera(person, view.camera) for view in views], image_NJ3)
            metric_TJ3, said = room.seen_from(placed_camera(person, video.camera))
        repairs = (said, *(() if "confidence" in part.data else ("no confidences: 1 assumed",)))
        if metric_TJ3 is not None:
            metric_TJ3, kept = upright(metric_TJ3, person, video.camera)
            metric_TJ3, repairs = metric_TJ3 * (confidence_TJ > 0)[..., None], (*repairs, *kept)
        times_seen[source] += 1
        yield MotionSequence(
            source=H36M,
            sequence_id=source if times_seen[source] == 1 else f"{source}#{times_seen[source]}",
            subject=facts.subject,
            action=facts.action,
            label=facts.label,
            view=video.camera,
            fps=FPS,
            keypoints_3d_TJC=metric_TJ3,
            keypoints_2d_TJC=positions_TJ2,
            confidence_TJ=confidence_TJ,
            image_size=facts.camera.image_size,
            repairs=repairs,
        )


@dataclass(frozen=True, kw_only=True)
class _Video:
    """Consecutive rows with one name: one take of one camera."""

    source: str
    camera: str
    frames: slice

    def __len__(self) -> int:
        return self.frames.stop - self.frames.start

    @property
    def take(self) -> str:
        return self.source.rpartition("_ca_")[0]


def _runs(sources: list[str], cameras: list[str]) -> list[_Video]:
    videos, start = [], 0
    for source, run in groupby(sources):
        frames = slice(start, start := start + len(list(run)))
        videos.append(_Video(source=source, camera=cameras[frames.start], frames=frames))
    return videos


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Subject, take and camera from the name of a video."""

    subject: str
    action: str | None
    label: int | None
    camera: Camera


def _facts(source: str, cameras: set[str], part: _Part) -> _Facts:
    match = _VIDEO.fullmatch(source)
    if match is None:
        raise part.error("source", "s_SS_act_AA_subact_BB_ca_CC", source[:80])
    if len(cameras) != 1 or not cameras <= set(CAMERAS):
        raise part.error(f"camera_name of {source}", f"one of {', '.join(CAMERAS)}", ", ".join(sorted(cameras))[:80])
    number = int(match["action"]) - FIRST_ACTION
    action, label = action_of(ACTIONS[number]) if 0 <= number < len(ACTIONS) else (None, None)
    return _Facts(
        subject=f"h36m/S{int(match['subject'])}", action=action, label=label, camera=CAMERAS[next(iter(cameras))]
    )


def _confidence(part: _Part) -> Float[np.ndarray, "N 17"]:
    if "confidence" not in part.data:
        return np.ones((len(part.array("joint_2d", 17, 2)), 17), np.float32)
    is_column = np.ndim(part.data["confidence"]) == 3
    confidence = part.array("confidence", 17, 1) if is_column else part.array("confidence", 17)
    return confidence.reshape(len(confidence), 17)


def _metric(
    camera: Camera, image_TJ3: Float[np.ndarray, "T 17 3"], factor_T: Float[np.ndarray, "T"]
) -> tuple[Float[np.ndarray, "T 17 3"] | None, str]:
    """Joints in metres in the camera's own axes, or None if they are not plausible, and a description of how."""
    with np.errstate(over="ignore", invalid="ignore"):
        scale_T1 = factor_T.astype(np.float64)[:, None] / 1000
        depth_TJ = scale_T1 * (camera.focal[0] + image_TJ3[..., 2] - image_TJ3[:, :1, 2])
        metric_TJ3 = camera.unproject(image_TJ3[..., :2].astype(np.float64), depth_TJ)
    if not (_is_in_front(metric_TJ3) and (scale_T1 > 0).all()):
        return None, _LEFT_OUT
    return metric_TJ3.astype(np.float32), "3D from image space by 2.5d_factor and the camera's lens (0.2% of depth)"


def _is_in_front(metric_TJ3: Float[np.ndarray, "T 17 3"]) -> bool:
    return bool((np.abs(metric_TJ3) < MAX_DEPTH_M).all() and (metric_TJ3[..., 2] > 0).all())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Room:
    """The joints of a take in the room, triangulated from all of its cameras, or why they are not known."""

    take: str
    said: str
    joints_TJ3: Float[np.ndarray, "T 17 3"] | None = None

    def seen_from(self, camera: PlacedCamera | None) -> tuple[Float[np.ndarray, "T 17 3"] | None, str]:
        """Return the joints in metres in the camera's own axes, and a description of how they were computed."""
        if self.joints_TJ3 is None or camera is None:
            return None, self.said
        metric_TJ3 = camera.from_room(self.joints_TJ3)
        return (metric_TJ3.astype(np.float32), self.said) if _is_in_front(metric_TJ3) else (None, _LEFT_OUT)


def _room(
    take: str, views: list[_Video], cameras: list[PlacedCamera | None], image_NJ3: Float[np.ndarray, "N 17 3"] | None
) -> _Room:
    known, frames = [camera for camera in cameras if camera], {len(view) for view in views}
    if image_NJ3 is None or len(views) < 2:
        return _Room(take=take, said=f"{_NO_SIZE}: no image space of two cameras")
    if len(known) < len(views):
        return _Room(take=take, said=f"{_NO_SIZE}: where the cameras stood is not known either")
    if len(frames) > 1 or len({view.camera for view in views}) < len(views):
        return _Room(take=take, said=f"{_NO_SIZE}: the take has {len(views)} videos of {sorted(frames)} frames")
    with np.errstate(all="ignore"):
        images = [image_NJ3[view.frames].astype(np.float64) for view in views]
        joints_TJ3 = triangulate(known, [image_TJ3[..., :2] for image_TJ3 in images])
        apart = float(np.max([disagreement(*each, joints_TJ3) for each in zip(known, images, strict=True)]))
    if not apart < MAX_DISAGREEMENT_M:
        return _Room(take=take, said=f"{_NO_SIZE}: the take's {len(views)} cameras disagree by {1000 * apart:.0f} mm")
    said = f"no 2.5d_factor: scale recovered from the take's {len(views)} cameras, which agree to {1000 * apart:.1f} mm"
    return _Room(take=take, said=said, joints_TJ3=joints_TJ3)


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    fix = "Use h36m_sh_conf_cam_source_final.pkl as MotionBERT publishes it, or a file in the same form."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)
