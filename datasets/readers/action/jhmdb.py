"""JHMDB: 928 clips of 21 actions, 15 joints in pixels (Jhuang et al., ICCV 2013), in two published forms.

- The data set's own: ``ACTION/CLIP/joint_positions.mat`` with ``pos_img`` [2, 15, T], pixels of frames of 320 x 240.
- The pickles that come with DD-Net: {"pose": [[T, 15, 2]], "label": [action]}, named ``GT_train_1.pkl`` or
  ``GT_test_1.pkl``. Their coordinates are the data set's ``pos_world``, relative to the middle of the image and divided
  by the size of the person: ((x / W - 1/2) · W / H, y / H - 1/2) / scale. Multiplied by H, they are pixels of an image
  of unknown size.

The joints come from a puppet that annotators fitted to the person: all 15 have a position in every frame, including
those that are hidden or outside the frame, which are not marked. All get confidence 1, and the repairs say so. There is
no top of the head. The rate is that of HMDB51, 30 Hz.

Shapes: T frames, N = 15 joints as published.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.containers.matlab import read_variables, shapes_in
from datasets.containers.pickles import load
from datasets.files import head
from datasets.sandbox.calls import value_of
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source, damaged
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

FPS = 30.0
IMAGE_SIZE = (320, 240)
JOINTS = (
    "neck", "belly", "face", "rshoulder", "lshoulder", "rhip", "lhip", "relbow", "lelbow", "rknee", "lknee",
    "rwrist", "lwrist", "rankle", "lankle",
)  # fmt: skip
CONVERSION = Conversion(
    source_joints=JOINTS,
    target=H36M17,
    table={
        **{joint: joint for joint in JOINTS if joint != "face"},
        "root": {"lhip": 1 / 2, "rhip": 1 / 2},
        "nose": "face",
    },
)
LABELS = (
    "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour", "pullup", "push", "run",
    "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand", "swing_baseball", "throw", "walk", "wave",
)  # fmt: skip
_NOTE = "research use by custom, with a citation of Jhuang et al., ICCV 2013"
_URL = "http://jhmdb.is.tue.mpg.de"
SOURCES = (
    Source(name="jhmdb", kind="action", licence_note=_NOTE, url=_URL, labels=LABELS),
    Source(
        name="jhmdb_ddnet",
        kind="action",
        licence_note=_NOTE,
        url="https://github.com/fandulu/DD-Net",
        test_subjects=frozenset({f"jhmdb_ddnet/test_{split}" for split in (1, 2, 3)}),
        labels=LABELS,
    ),
)
MAX_PICKLE = 256 * 2**20
"""Largest file in bytes; 928 clips of 40 frames and 15 joints in double precision have 9 MB."""
_PUPPET = "hidden joints are not told from seen ones: all count as seen"
_FIRST_KEY = re.compile(rb"(?:X.\x00\x00\x00|\x8c.|U.)(?:pose|label)(?![a-z_])", re.DOTALL)


class JhmdbReader:
    """Reads ``joint_positions.mat`` files, and DD-Net's pickles."""

    name = "jhmdb"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim MATLAB files with ``pos_img`` of 15 joints, and pickles of poses of 15 joints."""
        found = []
        for file in files:
            if file.path.lower().endswith(".mat") and shapes_in(file).get("pos_img", ())[:2] == (2, len(JOINTS)):
                found.append(Recording(path=file.path, reader=self.name, source=SOURCES[0], size=file.size))
            elif file.path.lower().endswith((".pkl", ".pickle")) and _is_ddnet(file):
                found.append(Recording(path=file.path, reader=self.name, source=SOURCES[1], size=file.size))
        return found

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the clip of a MATLAB file, or all clips of a pickle."""
        if recording.path.lower().endswith(".mat"):
            yield _official(recording)
        else:
            yield from _ddnet(recording)


READER = JhmdbReader()


def _official(recording: Recording) -> MotionSequence:
    path = PurePosixPath(recording.path)
    pixels = read_variables(recording.path, ["pos_img"]).get("pos_img", np.zeros(0))
    if pixels.ndim != 3 or pixels.shape[:2] != (2, len(JOINTS)) or pixels.dtype.kind not in "iuf":
        raise damaged(recording.path, "pos_img", "numbers [2, 15, T]", f"{pixels.dtype} {list(pixels.shape)}")
    clip, action = path.parent.name, path.parent.parent.name
    return _sequence(
        pixels.transpose(2, 1, 0).astype(np.float64),
        recording.source,
        sequence_id=f"{action}/{clip}",
        subject=f"jhmdb/{_video_of(clip, action)}",
        action=action,
        image_size=IMAGE_SIZE,
        repairs=(_PUPPET,),
    )


def _ddnet(recording: Recording) -> Iterator[MotionSequence]:
    name = PurePosixPath(recording.path).stem
    content = load(recording.path)
    if not _is_clips(content):
        raise damaged(recording.path, "pickle", "a pose [T, 15, 2] and a label for each clip", "something else")
    who = re.search(r"(train|test)_(\d)", name.lower())
    for number, (pose, label) in enumerate(zip(content["pose"], content["label"], strict=True)):
        try:
            pose_TN2 = np.asarray(pose, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise damaged(recording.path, f"clip {number}", "numbers", str(error)) from error
        if pose_TN2.shape[1:] != (len(JOINTS), 2):
            raise damaged(recording.path, f"clip {number}", "[T, 15, 2] numbers", f"{list(pose_TN2.shape)}")
        yield _sequence(
            pose_TN2 * IMAGE_SIZE[1],
            recording.source,
            sequence_id=f"{name}/{number:04d}",
            subject=f"jhmdb_ddnet/{'_'.join(who.groups()) if who else name}",
            action=str(label),
            image_size=None,
            repairs=(f"coordinates over the size of the person: times {IMAGE_SIZE[1]} for pixels", _PUPPET),
        )


def _sequence(
    positions_TN2: Float[np.ndarray, "T 15 2"],
    source: Source,
    *,
    sequence_id: str,
    subject: str,
    action: str,
    image_size: tuple[int, int] | None,
    repairs: tuple[str, ...],
) -> MotionSequence:
    seen_TN = np.asarray(np.isfinite(positions_TN2).all(axis=-1))
    keypoints_TJ2, confidence_TJ = CONVERSION.convert(positions_TN2.astype(np.float32), seen_TN.astype(np.float32))
    return MotionSequence(
        source=source,
        sequence_id=sequence_id,
        subject=subject,
        action=action,
        label=LABELS.index(action) if action in LABELS else None,
        fps=FPS,
        keypoints_2d_TJC=keypoints_TJ2,
        confidence_TJ=confidence_TJ,
        image_size=image_size,
        repairs=repairs,
    )


def _video_of(clip: str, action: str) -> str:
    """The film that a clip is from: clips of one film have the same people, and their names begin with the film's."""
    return clip.partition(f"_{action}_")[0]


def _is_ddnet(file: File) -> bool:
    if file.size > MAX_PICKLE or not _FIRST_KEY.search(head(file)[:256]):
        return False
    return value_of(_holds_clips, file, default=False)


def _holds_clips(path: str) -> bool:
    try:
        content = load(path)
    except RecordingError:
        return False
    return _is_clips(content) and bool(content["pose"]) and np.shape(content["pose"][0])[1:] == (len(JOINTS), 2)


def _is_clips(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and set(content) == {"pose", "label"}
        and all(isinstance(content[key], list) for key in content)
        and len(content["pose"]) == len(content["label"])
    )
