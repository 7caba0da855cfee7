"""Lift 2D keypoints to 3D motion with a model, and show the result.

Reads the output of a 2D detector in any format of docs/formats.md, or an .npz with keypoints_2d [T, 17, 2] in pixels
and confidence [T, 17] in the h36m17 order. Lifts every person in it and writes to one folder: person_N.npz for each
person (arrays pixels, metres, observed, fps), view.html to watch them in a browser, and strip.png, a picture of the
longest one. If the format is not recognised, or is mistaken for another one, name it with --reader.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import io
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from datasets.extraction.quarantine import Quarantined
from datasets.extraction.reading import read_sequences
from datasets.files import read_bytes, write_aside
from datasets.readers.discovery import find_in
from datasets.readers.registry import all_readers, find_format
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Reader, Source
from motion_encoder import DSTformer
from motion_encoder.io.loading import load_with_task
from motion_encoder.lifting import LiftedMotion, LiftOptions, lift
from motion_encoder.viewer import ViewedClip, write_html
from pipelines.figures.pictures import Row, frame_strip
from pipelines.runtime.cli import parse, run_job

log = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
"""Frame rate of an .npz that does not state one."""
VIEW, STRIP = "view.html", "strip.png"


@dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """Options of the lift job."""

    keypoints: str
    """2D keypoints: the path or URL of a file or folder in any format of docs/formats.md, or of an .npz with
    keypoints_2d and confidence."""
    model: str
    """Model to lift with: an encoder or a 3D pose model. models:/NAME@ALIAS or models:/NAME/VERSION in the registry at
    MLFLOW_TRACKING_URI, a model folder or file, or the URL of one."""
    out: Path
    """Folder for the results. Files of the same name are replaced."""
    reader: str | None = None
    """Format of the keypoints: the name of a reader, or a module with a reader of your own (package.module). By default
    the format of each file is recognised by its name and content."""
    min_frames: int = 30
    """Smallest number of frames: people with fewer frames are skipped, and the log says how many."""
    fps: float | None = None
    """Frame rate of the keypoints in Hz: how many frames per second the detector processed. By default as the file
    states, or 30 if it does not. (The frame rate of the video itself is stated in video.json, see docs/data.md.)"""
    lifting: LiftOptions = field(default_factory=LiftOptions)
    """How keypoints of any length are lifted: windows, mirroring and scale."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """Limits on the time and memory for reading the keypoints. Raise them if a large file is rejected."""

    def __post_init__(self) -> None:
        if self.reader is not None:
            find_format(self.reader)
        if self.min_frames < 1:
            raise ValueError(f"min_frames: expected at least 1, found {self.min_frames}")
        if self.fps is not None and not 0 < self.fps < np.inf:
            raise ValueError(f"fps: expected a positive number, found {self.fps}")


def main(config: LiftConfig) -> Path:
    """Lift the keypoints and write the results; return the output folder.

    Raises:
        ValueError: the file, the model or an option cannot be used, or the results cannot be written.
    """
    people = _people(config)
    model = _pose_model(config.model)
    bar = tqdm(people.items(), desc="lifting", unit="person", disable=None)
    lifted = {name: _lift_person(model, person, config) for name, person in bar}
    _write(config, people, lifted)
    for name, motion in lifted.items():
        log.info("%s", _summary(name, motion))
    log.info("wrote to %s: %s", config.out, ", ".join([*(f"{name}.npz" for name in lifted), VIEW, STRIP]))
    log.info("to see the result, open %s in a browser", config.out / VIEW)
    return config.out


def _people(config: LiftConfig) -> dict[str, MotionSequence]:
    """Return the people to lift by the name of their output; N in person_N also counts people who are skipped."""
    path = config.keypoints
    readers = all_readers() if config.reader is None else {config.reader: find_format(config.reader).reader}
    found = _read(path, readers, config.limits)
    flat = {f"person_{n}": person for n, person in enumerate(found) if person.keypoints_2d_TJC is not None}
    if not flat:
        raise ValueError(
            f"{path}: expected 2D keypoints, found only 3D motion; lifting needs the output of a 2D detector"
        )
    long = {name: person for name, person in flat.items() if person.num_frames >= config.min_frames}
    if not long:
        raise ValueError(f"{path}: expected a person with at least {config.min_frames} frames, {_too_short(flat)}")
    if len(long) < len(flat):
        log.info("skipped %d of %d people: fewer than %d frames", len(flat) - len(long), len(flat), config.min_frames)
    return {name: replace(person, fps=config.fps or person.fps) for name, person in long.items()}


def _too_short(people: Mapping[str, MotionSequence]) -> str:
    longest = max(person.num_frames for person in people.values())
    if longest == 1 and len(people) > 1:
        return (
            f"found {len(people)} single images: people in unrelated photographs. If they are the frames of one video, "
            "pass --reader alphapose."
        )
    return f"found at most {longest}. Pass a smaller --min-frames."


def _read(path: str, readers: Mapping[str, Reader], limits: ReadLimits) -> list[MotionSequence]:
    recordings, _ = find_in(path, readers)
    if not recordings and path.endswith(".npz"):
        return [_read_npz(path)]
    if not recordings:
        known = f"{', '.join(readers)}, or .npz of keypoints_2d"
        raise ValueError(
            f"{path}: expected a known format ({known}), found none. Pass one file, and name its --reader."
        )
    found = [
        each for recording in recordings for each in read_sequences(recording, readers[recording.reader], limits=limits)
    ]
    lost = [each.reason for each in found if isinstance(each, Quarantined)]
    if len(lost) == len(found):
        raise ValueError(lost[0] if lost else f"{path}: expected at least one person, found none")
    for reason in lost:
        log.warning("skipped: %s", reason)
    return [each for each in found if isinstance(each, MotionSequence)]


def _read_npz(path: str) -> MotionSequence:
    arrays = _arrays(path)
    keypoints_TJC, confidence_TJ = (arrays.get(key, np.empty(0)) for key in ("keypoints_2d", "confidence"))
    num_frames = len(keypoints_TJC)
    if (keypoints_TJC.shape, confidence_TJ.shape) != ((num_frames, 17, 2), (num_frames, 17)):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"{path}: expected keypoints_2d [T, 17, 2] and confidence [T, 17], found {shapes}")
    return MotionSequence(
        source=Source(name="npz", kind="detections", url=""),
        sequence_id=Path(path).name,
        subject="npz",
        fps=float(arrays.get("fps", DEFAULT_FPS)),
        keypoints_2d_TJC=keypoints_TJC.astype(np.float32),
        confidence_TJ=confidence_TJ.astype(np.float32),
    )


def _arrays(path: str) -> Mapping[str, np.ndarray]:
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path}: expected an .npz of plain arrays, found something else: {error}") from error


def _pose_model(uri: str) -> DSTformer:
    model, task = load_with_task(uri)
    if not isinstance(model, DSTformer):
        raise ValueError(f"{uri}: expected a model of 3D motion (an encoder or a pose3d model), found one for {task}")
    return model


def _lift_person(model: DSTformer, person: MotionSequence, config: LiftConfig) -> LiftedMotion:
    assert person.keypoints_2d_TJC is not None, "_people keeps those that have them"
    try:
        return lift(model, person.keypoints_2d_TJC, person.confidence_TJ, fps=person.fps, options=config.lifting)
    except ValueError as error:
        raise ValueError(f"{config.keypoints}, {person.sequence_id}: {error}") from error


def _write(config: LiftConfig, people: Mapping[str, MotionSequence], lifted: Mapping[str, LiftedMotion]) -> None:
    clips = [_clip(name, people[name], motion) for name, motion in lifted.items()]
    writers: dict[str, Callable[[Path], None]] = {f"{name}.npz": motion.save_npz for name, motion in lifted.items()}
    writers[VIEW] = lambda path: write_html(path, clips, title=f"{Path(config.keypoints).name}, lifted")
    writers[STRIP] = lambda path: _strip(path, max(clips, key=_frames_observed))
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        _write_together(config.out, writers)
    except OSError as error:
        raise ValueError(f"{config.out}: the results cannot be written: {error}") from error
    if stale := sorted(path.name for path in config.out.glob("person_*.npz") if path.name not in writers):
        log.warning("%s also contains files of an earlier run: %s", config.out, ", ".join(stale))


def _write_together(out: Path, writers: Mapping[str, Callable[[Path], None]]) -> None:
    """Write all files to temporary names, then rename them: after a failure the old files are still there."""
    with ExitStack() as stack:
        for name, write in writers.items():
            write(stack.enter_context(write_aside(out / name)))


def _clip(name: str, person: MotionSequence, motion: LiftedMotion) -> ViewedClip:
    return ViewedClip(
        name=f"{name.replace('_', ' ')} ({person.num_frames} frames)",
        fps=person.fps,
        keypoints_2d_TJC=person.keypoints_2d_TJC,
        confidence_TJ=person.confidence_TJ,
        motions={"lifted": motion.metres_TJC},
    )


def _frames_observed(clip: ViewedClip) -> int:
    assert clip.confidence_TJ is not None, "a detector's people have one"
    return int((clip.confidence_TJ > 0).any(axis=1).sum())


def _strip(path: Path, clip: ViewedClip) -> None:
    assert clip.keypoints_2d_TJC is not None, "a detector's people have them"
    assert clip.confidence_TJ is not None, "a detector's people have one"
    seen_TJC = np.where(clip.confidence_TJ[..., None] > 0, clip.keypoints_2d_TJC, np.nan)
    rows = (
        Row(name="2D keypoints", positions_TJC=seen_TJC),
        Row(name="lifted, from another side", positions_TJC=clip.motions["lifted"]),
    )
    frame_strip(path, rows, title=clip.name)


def _summary(name: str, motion: LiftedMotion) -> str:
    frames, observed = len(motion.observed_T), int(motion.observed_T.sum())
    seconds = frames / motion.fps
    return f"{name}: {frames} frames ({seconds:.1f} s at {motion.fps:g} Hz), observed in {observed} of them"


def configure(arguments: Sequence[str]) -> LiftConfig:
    """Parse the command line."""
    return parse(LiftConfig, __doc__ or "", arguments)


if __name__ == "__main__":
    run_job(main, configure)
