"""All readers and all sources: who reads what, under which licence, and who is held out.

One module per public format, each with a ``READER`` and, in ``SOURCES``, the data sets that come in it. Splits are made
by person, never by recording: named test subjects where a data set has them, else about one subject in eight by a hash
that never changes.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

from datasets.readers.action import (
    jhmdb,
    msr_action3d,
    ntu,
    nw_ucla,
    penn_action,
    pyskl,
    ui_prmd_kinect,
    ui_prmd_vicon,
    utd_mhad,
    utkinect,
)
from datasets.readers.detectors import (
    alphapose,
    bonn_posetrack,
    coco,
    detectron2,
    gast,
    instavariety,
    mediapipe,
    mmpose,
    openpose,
    posetrack,
    rtmlib,
    ultralytics,
)
from datasets.readers.mocap import amass, amc, bvh, c3d, h36m_mmpose, h36m_sh, h36m_videopose, mpi_inf_3dhp, threedpw
from datasets.readers.procedural import reader as procedural_motion
from datasets.sequences import Reader, Source

FORMATS = (
    *(bvh, amc, c3d, amass, h36m_sh, h36m_videopose, h36m_mmpose, threedpw, mpi_inf_3dhp),
    *(ntu, pyskl, nw_ucla, utkinect, msr_action3d, utd_mhad, ui_prmd_kinect, ui_prmd_vicon, penn_action, jhmdb),
    *(coco, posetrack, bonn_posetrack, instavariety, openpose, alphapose, mmpose, mediapipe, gast, detectron2),
    *(ultralytics, rtmlib),
    procedural_motion,
)
READERS: dict[str, Reader] = {module.READER.name: module.READER for module in FORMATS}
"""By name, in the order in which they may claim a file: COCO's results before AlphaPose's, which look like them."""
SOURCES: dict[str, Source] = {source.name: source for module in FORMATS for source in module.SOURCES}
TEST_SHARE = 8
"""One subject in this many is held out where the source names no test subjects."""


def has_licence(source: str) -> bool:
    """Whether the makers of a source state its terms."""
    return not SOURCES[source].licence.startswith(("unknown", "not stated", "no licence stated"))


def split_of(source: str, subject: str, *, sources: Mapping[str, Source] = SOURCES) -> Literal["train", "test"]:
    """Return where a person's motion goes; the same on every machine and in every run."""
    named = sources[source].test_subjects if source in sources else frozenset()
    if named:
        return "test" if subject in named else "train"
    digest = hashlib.sha256(subject.encode()).digest()
    return "test" if int.from_bytes(digest[:8]) % TEST_SHARE == 0 else "train"
