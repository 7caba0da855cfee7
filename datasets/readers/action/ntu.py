"""NTU RGB+D ``.skeleton`` files: the people that a Kinect v2 tracked in one clip, as text, 30 Hz.

Numbers separated by white space, in the order of the authors' ``read_skeleton_file.m``: the number of frames; per frame
the number of bodies; per body its tracking id, nine states, the number of joints (25), and per joint x, y, z in metres
(camera space, Y up), its pixels in the depth and the colour image, a quaternion, and its tracking state. Pixels may be
``NaN``. Tracking ids exceed 2⁵³: read as floating-point numbers, two people would become one.

Each body id is one sequence, from its first frame to its last; frames between them without it are gaps. The sensor
gives a lost body a new id, and sometimes detects furniture as a body, which the checks have to reject. Samples that the
authors list as missing or incomplete are rejected, as the authors request.

A name SsssCcccPpppRrrrAaaa states setup, camera, person, replication and class. In actions of two people, both get the
person of the name, since the other one is not known; so the whole clip is in one split.

Shapes: T frames, K = 25 joints, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.path_rules import Identity
from datasets.files import head, read_bytes
from datasets.joints.kinect import V2_JOINTS, V2_TO_H36M17
from datasets.joints.tables import to_canonical
from datasets.readers.action.ntu_lists import LABELS, MISSING, PEOPLE, TRAINING_PEOPLE
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float

FPS = 30.0
"""The rate of the Kinect v2; the files do not state it."""
STATE_CONFIDENCE = {0: 0.0, 1: 0.5, 2: 1.0}
"""Confidences of Kinect's tracking states: not tracked, inferred (estimated), tracked."""
NTU = Source(
    name="ntu",
    kind="action",
    licence="NTU RGB+D: academic research only, on request; no redistribution, also of what is derived from it.",
    url="https://rose1.ntu.edu.sg/dataset/actionRecognition",
    test_subjects=frozenset(f"ntu/p{person:03d}" for person in PEOPLE if person not in TRAINING_PEOPLE),
    labels=LABELS,
)
SOURCES = (NTU,)
MAX_BYTES = 64 * 2**20
MAX_FRAMES = 100_000
"""Nearly an hour; the data set's clips last seconds and have a few megabytes."""
SAMPLE = re.compile(r"S\d{3}(?P<view>C\d{3})P(?P<person>\d{3})R\d{3}A(?P<action>\d{3})(?!\d)", re.IGNORECASE)
_BODY_NUMBERS = 10
_JOINT_NUMBERS = 12
_JOINTS = len(V2_JOINTS)


class NtuReader:
    """Reads ``.skeleton`` files; each body's id is one sequence."""

    name = "ntu"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim files that begin like a skeleton file, or are named like a sample of the data set."""
        return [
            Recording(path=file.path, reader=self.name, source=NTU, size=file.size)
            for file in files
            if _is_named_so(file.path) or looks_like_skeletons(head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per body, in the order in which bodies appear."""
        sample = identify(recording.path)
        named = SAMPLE.fullmatch(PurePosixPath(recording.path).stem)
        if sample.sequence_id in MISSING:
            raise _error(recording.path, "sample", "skeletons", "one that the authors list as missing or incomplete")
        content = read_bytes(recording.path, first=MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _error(recording.path, "size", f"a clip of at most {MAX_BYTES:,} bytes", "more")
        for body, found in _bodies(content.split(), recording.path).items():
            positions_TJ3, confidence_TJ = _over_time(found)
            yield MotionSequence(
                source=NTU,
                sequence_id=f"{sample.sequence_id}#{body}",
                subject=sample.subject,
                action=sample.action,
                label=sample.label,
                view=named["view"].upper() if named else None,
                fps=FPS,
                keypoints_3d_TJC=positions_TJ3,
                confidence_TJ=confidence_TJ,
            )


READER = NtuReader()


def identify(path: str) -> Identity:
    """Return the identity that a sample's name states; any other name is its own person, with an unknown action."""
    name = PurePosixPath(path).stem
    sample = SAMPLE.fullmatch(name)
    label = int(sample["action"]) - 1 if sample else -1
    known = 0 <= label < len(LABELS)
    return Identity(
        source=NTU,
        sequence_id=name.upper() if sample else "/".join(PurePosixPath(path).parts[-2:]),
        subject=f"ntu/p{sample['person']}" if sample else f"ntu/{name}",
        action=LABELS[label] if known else None,
        label=label if known else None,
    )


def looks_like_skeletons(start: bytes) -> bool:
    """Tell whether a file begins like skeletons: frames without a body, then a body's ten numbers, 25, and a joint."""
    lines = [line.split() for line in start.splitlines()[:-1]]
    counts = [len(numbers) for numbers in lines]
    body = next((n for n, count in enumerate(counts) if count != 1), 0)
    return (
        body >= 2
        and counts[body : body + 3] == [_BODY_NUMBERS, 1, _JOINT_NUMBERS]
        and lines[body + 1] == [str(_JOINTS).encode()]
        and all(numbers[0].isdigit() for numbers in lines[:body])
    )


def _is_named_so(path: str) -> bool:
    return path.lower().endswith(".skeleton") and SAMPLE.fullmatch(PurePosixPath(path).stem) is not None


def _bodies(numbers: list[bytes], path: str) -> dict[int, dict[int, Float[np.ndarray, "25 12"]]]:
    """Return the tracked joints by body and frame."""
    bodies: dict[int, dict[int, Float[np.ndarray, "25 12"]]] = {}
    at = 0
    try:
        num_frames, at = int(numbers[at]), at + 1
        if not 0 <= num_frames <= MAX_FRAMES:
            raise _error(path, "number 1", f"at most {MAX_FRAMES:,} frames", f"{num_frames}")
        for frame in range(num_frames):
            num_bodies, at = int(numbers[at]), at + 1
            for _ in range(num_bodies):
                body, num_joints = int(numbers[at]), int(numbers[at + _BODY_NUMBERS])
                end = at + _BODY_NUMBERS + 1 + _JOINTS * _JOINT_NUMBERS
                if num_joints != _JOINTS or end > len(numbers) or frame in bodies.get(body, {}):
                    found = f"{num_joints} joints, {len(numbers) - at} numbers left, body {body}"
                    raise _error(path, f"frame {frame}", f"complete bodies of {_JOINTS} joints, each once", found)
                joints = np.array(numbers[at + _BODY_NUMBERS + 1 : end], np.float64)
                bodies.setdefault(body, {})[frame] = joints.reshape(_JOINTS, _JOINT_NUMBERS)
                at = end
    except (IndexError, ValueError) as error:
        if isinstance(error, RecordingError):
            raise
        expected = "numbers for as many frames as the first line says"
        raise _error(path, f"number {at + 1}", expected, f"{error}"[:100]) from error
    if at != len(numbers):
        raise _error(path, "end", f"nothing after {num_frames} frames", f"{len(numbers) - at} more numbers")
    return bodies


def _over_time(
    found: dict[int, Float[np.ndarray, "25 12"]],
) -> tuple[Float[np.ndarray, "T 17 3"], Float[np.ndarray, "T 17"]]:
    """Lay one body out from its first frame to its last."""
    frame_N = np.array(list(found))
    joints_TKC = np.zeros((int(frame_N[-1] - frame_N[0]) + 1, _JOINTS, _JOINT_NUMBERS))
    joints_TKC[frame_N - frame_N[0]] = np.stack(list(found.values()))
    state_TK = joints_TKC[..., -1]
    confidence_TK = sum((state_TK == state) * confidence for state, confidence in STATE_CONFIDENCE.items())
    return to_canonical(V2_TO_H36M17, joints_TKC[..., :3], np.asarray(confidence_TK, np.float64))


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the sample again, or leave it out."
    )
