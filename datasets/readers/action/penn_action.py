"""Penn Action: one MATLAB file per clip with 13 joints in pixels and their visibility (Zhang et al., ICCV 2013).

Variables: ``x``, ``y``, ``visibility`` [T, 13], ``dimensions`` [height, width, T], ``nframes``, ``action``, ``train``
(1, or -1 for a clip of the test set). Height, width and counts are stored in the smallest possible integer type, even
uint8: they must be cast before any arithmetic. The position of a joint that is not visible has no meaning. The rate is
not stated (YouTube, mostly 30 Hz).

Shapes: T frames, N = 13 joints as published.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from datasets.containers.matlab import read_variables, shapes_in
from datasets.sequences import File, MotionSequence, Recording, Source, damaged
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

ASSUMED_FPS = 30.0
JOINTS = (
    "head", "lshoulder", "rshoulder", "lelbow", "relbow", "lwrist", "rwrist", "lhip", "rhip", "lknee", "rknee",
    "lankle", "rankle",
)  # fmt: skip
_HIPS, _SHOULDERS = ("lhip", "rhip"), ("lshoulder", "rshoulder")
CONVERSION = Conversion(
    source_joints=JOINTS,
    target=H36M17,
    table={
        **{joint: joint for joint in JOINTS},
        "root": dict.fromkeys(_HIPS, 1 / 2),
        "neck": dict.fromkeys(_SHOULDERS, 1 / 2),
        "belly": dict.fromkeys((*_HIPS, *_SHOULDERS), 1 / 4),
    },
)
SOURCES = (
    Source(
        name="penn_action",
        kind="action",
        licence_note="research use by custom, with a citation of Zhang et al., ICCV 2013",
        url="http://dreamdragon.github.io/PennAction",
        test_subjects=frozenset({"penn_action/test"}),
        labels=(
            "baseball_pitch", "baseball_swing", "bench_press", "bowl", "clean_and_jerk", "golf_swing", "jump_rope",
            "jumping_jacks", "pullup", "pushup", "situp", "squat", "strum_guitar", "tennis_forehand", "tennis_serve",
        ),
    ),
)  # fmt: skip
_NEEDED = ("x", "y", "visibility", "dimensions")
_OPTIONAL = ("nframes", "action", "train")


class PennActionReader:
    """Reads the files of Penn Action's ``labels`` folder."""

    name = "penn_action"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim MATLAB files with the data set's variables for 13 joints."""
        return [
            Recording(path=file.path, reader=self.name, source=SOURCES[0], size=file.size)
            for file in files
            if file.path.lower().endswith(".mat") and _is_ours(shapes_in(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file; people are not named, so every training clip is its own subject."""
        values = read_variables(recording.path, (*_NEEDED, *_OPTIONAL))
        if not _is_ours({name: value.shape for name, value in values.items()}):
            found = ", ".join(f"{name} {list(value.shape)}" for name, value in values.items())
            raise damaged(recording.path, "variables", "x, y and visibility [T, 13], dimensions of 3", found or "none")
        positions_TN2 = np.stack([_numbers(values, name, recording.path) for name in ("x", "y")], axis=-1)
        seen_TN = (_numbers(values, "visibility", recording.path) > 0) & np.isfinite(positions_TN2).all(axis=-1)
        keypoints_TJ2, confidence_TJ = CONVERSION.convert(positions_TN2.astype(np.float32), seen_TN.astype(np.float32))
        action, clip = _text(values.get("action")), PurePosixPath(recording.path).stem
        labels = SOURCES[0].labels
        yield MotionSequence(
            source=recording.source,
            sequence_id=clip,
            subject=f"penn_action/{'test' if _is_test(values) else clip}",
            action=action,
            label=labels.index(action) if action in labels else None,
            fps=ASSUMED_FPS,
            keypoints_2d_TJC=keypoints_TJ2,
            confidence_TJ=confidence_TJ,
            image_size=_image_size(_numbers(values, "dimensions", recording.path).ravel(), recording.path),
            repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",),
        )


READER = PennActionReader()


def _is_ours(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if not set(_NEEDED) <= set(shapes):
        return False
    joints = {shapes[name] for name in ("x", "y", "visibility")}
    return len(joints) == 1 and joints.pop()[1:] == (len(JOINTS),) and sorted(shapes["dimensions"]) == [1, 3]


def _numbers(values: Mapping[str, np.ndarray], name: str, path: str) -> Float[np.ndarray, "*any"]:
    try:
        return values[name].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise damaged(path, name, "numbers", str(error)) from error


def _image_size(dimensions_3: Float[np.ndarray, "3"], path: str) -> tuple[int, int]:
    height, width = dimensions_3[:2]
    if not (1 <= height <= 10_000 and 1 <= width <= 10_000):
        raise damaged(path, "dimensions", "height and width in pixels", f"{height:g} and {width:g}")
    return int(width), int(height)


def _text(value: np.ndarray | None) -> str | None:
    return str(value.ravel()[0]) if value is not None and value.dtype.kind == "U" and value.size == 1 else None


def _is_test(values: Mapping[str, np.ndarray]) -> bool:
    train = values.get("train", np.ones(1))
    return bool(train.size == 1 and train.dtype.kind in "if" and train.ravel()[0] < 0)
