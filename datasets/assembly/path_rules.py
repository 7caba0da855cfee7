"""Identify motion capture files by their paths: data set, person, action.

BVH and AMC files contain no names. The first rule that matches a path identifies it. A file that no rule matches
belongs to the source named after its format, whose licence is unknown and must be stated by the user.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from datasets.sequences import Source

_CMU_LICENCE = (
    "CMU Graphics Lab Motion Capture Database: free for all uses, not to be resold as data. The data used in this "
    "project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)
CMU = Source(
    name="cmu",
    kind="mocap",
    licence=_CMU_LICENCE,
    url="http://mocap.cs.cmu.edu",
    test_subjects=frozenset({"cmu/08", "cmu/16", "cmu/32"}),
)
HDM05 = Source(
    name="hdm05",
    kind="mocap",
    licence="CC BY-SA 3.0. The data used in this project was obtained from HDM05.",
    url="https://resources.mpi-inf.mpg.de/HDM05",
    test_subjects=frozenset({"hdm05/dg"}),
    labels=(
        "depositFloorR", "elbowToKnee1RepsLelbowStart", "grabHighR", "hopBothLegs1hops", "jogLeftCircle4StepsRstart",
        "kickLFront1Reps", "lieDownFloor", "rotateArmsBothBackward1Reps", "sneak2StepsLStart", "squat1Reps",
        "throwBasketball",
    ),
)  # fmt: skip
FAIR = Source(name="fair", kind="mocap", licence="MIT", url="https://github.com/facebookresearch/AnimatedDrawings")
BVH = Source(name="bvh", kind="mocap", url="")
AMC = Source(name="amc", kind="mocap", url="")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The source, sequence name, subject and action of a recording, as derived from its path."""

    source: Source
    sequence_id: str
    """Name of the sequence; unique within the source unless two folders and their files have the same names."""
    subject: str
    action: str | None = None
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The file names of one data set: a pattern for the whole path, and templates that use the pattern's groups."""

    source: Source
    formats: frozenset[str]
    pattern: re.Pattern[str]
    subject: str
    """Template: ``{name}`` is a named group of the pattern."""

    def identify(self, path: str, file_format: str) -> Identity | None:
        """Return the identity of the file at ``path``, or None if the pattern does not match."""
        match = self.pattern.search(path)
        if file_format not in self.formats or match is None:
            return None
        groups = match.groupdict()
        action = groups.get("action")
        return Identity(
            source=self.source,
            sequence_id=PurePosixPath(path).stem + "." + file_format,
            subject=f"{self.source.name}/{self.subject.format(**groups).lower()}",
            action=action,
            label=self.source.labels.index(action) if action in self.source.labels else None,
        )


RULES = (
    Rule(  # 08_01.bvh, 02_01_ignoreFirstFrame.bvh, 141_05.amc
        source=CMU,
        formats=frozenset({"bvh", "amc"}),
        pattern=re.compile(r"(?:^|/)(?P<subject>\d{2,3})_\d{2,3}(_ignoreFirstFrame)?\.(bvh|amc)$", re.IGNORECASE),
        subject="{subject}",
    ),
    Rule(  # HDM_bd_squat1Reps_005_120.amc
        source=HDM05,
        formats=frozenset({"amc"}),
        pattern=re.compile(r"(?:^|/)HDM_(?P<actor>[a-z]{2})_(?P<action>\w+)_\d+_120\.amc$", re.IGNORECASE),
        subject="{actor}",
    ),
    Rule(  # fair_bvh/dab.bvh, AnimatedDrawings/examples/bvh/fair1/zombie.bvh: one rig, people not named
        source=FAIR,
        formats=frozenset({"bvh"}),
        pattern=re.compile(r"(?:^|/)(?P<folder>fair(?:_bvh|\d+)?)/[^/]+\.bvh$", re.IGNORECASE),
        subject="{folder}",
    ),
)
_PERSON = re.compile(r"(?:subject|subj|actor|performer|person)[_-]?(\d+)", re.IGNORECASE)


def identify(path: str, file_format: Literal["bvh", "amc"]) -> Identity:
    """Return the identity of a recording from its path and format.

    If no rule matches, the sequence is named after its folder and file. Its subject is the ``subjectN`` (actor, person,
    performer) in the path, or else the folder, since files of one folder are often of one person.
    """
    for rule in RULES:
        if identity := rule.identify(path, file_format):
            return identity
    folder_and_file = "/".join(PurePosixPath(path).parts[-2:])
    person = _PERSON.findall(path)
    who = f"subject{person[-1]}" if person else PurePosixPath(path).parent.name
    source = {"bvh": BVH, "amc": AMC}[file_format]
    return Identity(source=source, sequence_id=folder_and_file, subject=f"{source}/{who}")
