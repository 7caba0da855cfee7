"""Procedural motion: a source that needs no download, for first runs, tests, and chosen frame rates and body shapes.

Eight labelled actions by any number of people, each with their own body and habits, are computed from a seed: forward
and inverse kinematics of a small body (``body``), gait (``gait``), key poses (``actions``) and ballistics (``jump``).
The motions are simple, easy to distinguish, and physically correct where errors would be visible; they do not replace
recordings. One CPU core makes ten seconds at 30 Hz in about 5 ms. Recordings are URLs: ``procedural://?people=12``
names a corpus, ``procedural://walking?person=3&…`` one of its takes, and every number depends on the URL only.

World: metres, right-handed, Y up, ground at 0. Shapes: T frames, J = 17 joints.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from datasets.readers.procedural.actions import KICKING, SITTING_DOWN, SQUATTING, THROWING, act, wave
from datasets.readers.procedural.body import Person, Pose, joint_positions, sample_person, turns
from datasets.readers.procedural.detections import IMAGE_SIZE, detect
from datasets.readers.procedural.gait import gait_pose, sample_running, sample_walking
from datasets.readers.procedural.jump import jump
from datasets.readers.procedural.urls import MAX_PEOPLE, SCHEME, Take, parse_corpus, parse_take
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

_ON_THE_SPOT = {"squatting": SQUATTING, "sitting_down": SITTING_DOWN, "kicking": KICKING, "throwing": THROWING}
ACTIONS = ("walking", "running", "jumping", "waving", *_ON_THE_SPOT)
_OTHER_HAND = 0.2
"""Share of takes in which a person uses the other hand or foot."""

SOURCE = Source(
    name="procedural",
    kind="mocap",
    licence="CC0-1.0",
    url="procedural://",
    test_subjects=frozenset(f"procedural/p{person:02d}" for person in range(3, MAX_PEOPLE, 4)),
    labels=ACTIONS,
)
DETECTIONS_SOURCE = Source(name="procedural_detections", kind="detections", licence="CC0-1.0", url="procedural://")
SOURCES = (SOURCE, DETECTIONS_SOURCE)


def generate(action: str, person: int, take: int, seed: int, seconds: float, fps: float) -> Float[np.ndarray, "T 17 3"]:
    """Return one take of one person, a pure function of its arguments.

    The motion does not depend on ``fps``, which only determines the sampling times. Takes differ in tempo, side,
    position, direction, path and starting phase; a person's body and habits are the same in all of them.

    Raises:
        ValueError: The action is unknown.
    """
    if action not in ACTIONS:
        raise ValueError(f"procedural action {action!r}: expected one of {', '.join(ACTIONS)}")
    habits = _random(seed, person)
    rng = _random(seed, person, take, zlib.crc32(action.encode()))
    who = sample_person(habits)
    who = replace(who, tempo=who.tempo * rng.uniform(0.93, 1.07))
    time_T = np.arange(round(seconds * fps)) / fps

    other_side = who.left_handed != (rng.random() < _OTHER_HAND)
    place_3, turn_33 = _placing(rng)
    joints_TJ3 = joint_positions(who.body, _perform(action, who, habits, rng, time_T))
    if other_side:
        joints_TJ3 = joints_TJ3[:, H36M17.flip_order] * (-1, 1, 1)
    return joints_TJ3 @ turn_33.T + place_3


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _perform(
    action: str, who: Person, habits: np.random.Generator, rng: np.random.Generator, time_T: np.ndarray
) -> Pose:
    if action == "walking":
        return gait_pose(who.body, sample_walking(who.body, habits, rng), time_T)
    if action == "running":
        return gait_pose(who.body, sample_running(who.body, habits, rng), time_T)
    if action == "jumping":
        return jump(who, rng, time_T)
    if action == "waving":
        return wave(who, rng, time_T)
    return act(_ON_THE_SPOT[action], who, rng, time_T)


def _placing(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random position on the ground and a random heading."""
    place_3 = rng.uniform(-2, 2, 3) * (1, 0, 1)
    return place_3, turns(np.array([[0.0, rng.uniform(-180, 180), 0.0]]))[0]


class ProceduralReader:
    """Generates motion instead of reading it."""

    name = SCHEME
    parses_files = False

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim nothing: procedural recordings are not files; see ``recordings``."""
        return []

    def recordings(self, url: str) -> list[Recording]:
        """Return the takes of a corpus such as ``procedural://?people=8&takes=2``.

        Raises:
            ValueError: A parameter is unknown, repeated, unreadable or out of range; the message names it.
        """
        return [_recording(take) for take in parse_corpus(url).all_takes(ACTIONS)]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence that the recording's URL describes."""
        try:
            take = parse_take(recording.path, ACTIONS)
        except ValueError as error:
            raise RecordingError(
                recording.path,
                where="URL",
                expected=f"{SCHEME}://ACTION?person=…&take=…&seconds=…&fps=…&seed=…",
                found=str(error),
                fix="Use URLs that recordings() returns.",
            ) from error
        yield _sequence(take)


READER = ProceduralReader()


def _recording(take: Take) -> Recording:
    source = DETECTIONS_SOURCE if take.detections else SOURCE
    size = round(take.seconds * take.fps) * 17 * 3 * 4
    return Recording(path=take.url, reader=SCHEME, source=source, size=size)


def _sequence(take: Take) -> MotionSequence:
    action = take.action
    world_TJ3 = generate(action, take.person, take.take, take.seed, take.seconds, take.fps)
    name = f"{action}-p{take.person:02d}-t{take.take}-seed{take.seed}-{take.seconds:.12g}s-{take.fps:.12g}fps"
    if take.detections:
        rng = _random(take.seed, take.person, take.take, zlib.crc32(action.encode()), take.detections)
        pixels_TJ2, confidence_TJ = detect(world_TJ3, take.fps, rng)
        return MotionSequence(
            source=DETECTIONS_SOURCE,
            sequence_id=name,
            subject=f"{DETECTIONS_SOURCE.name}/p{take.person:02d}",
            fps=take.fps,
            keypoints_2d_TJC=pixels_TJ2,
            confidence_TJ=confidence_TJ,
            image_size=IMAGE_SIZE,
        )
    return MotionSequence(
        source=SOURCE,
        sequence_id=name,
        subject=f"{SOURCE.name}/p{take.person:02d}",
        action=action,
        label=ACTIONS.index(action),
        fps=take.fps,
        keypoints_3d_TJC=world_TJ3.astype(np.float32),
        confidence_TJ=np.ones(world_TJ3.shape[:2], np.float32),
    )
