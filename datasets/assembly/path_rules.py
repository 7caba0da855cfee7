"""How motion capture files say in their paths what they are: data set, person, action.

BVH and AMC carry no names inside. A path is recognised by the first rule that matches; a file that no rule knows
belongs to the source named like its format, with an unknown licence that the user must state.
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
    """What a path says about a recording."""

    source: Source
    sequence_id: str
    """Unique within the source as long as no two folders of the same name hold a file of the same name."""
    subject: str
    action: str | None = None
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one data set names its files: a pattern over the whole path, and templates over the pattern's groups."""

    source: Source
    formats: frozenset[str]
    pattern: re.Pattern[str]
    subject: str
    """Template: ``{name}`` is a named group of the pattern."""

    def identify(self, path: str, file_format: str) -> Identity | None:
        """Return what ``path`` says, or None where the pattern does not fit."""
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
    """Return what is known of a recording from its path and format.

    Where no rule fits: the sequence is named by its folder and file; its subject is the ``subjectN`` (actor, person,
    performer) that the path names, else the folder, since files of one folder are often of one person.
    """
    for rule in RULES:
        if identity := rule.identify(path, file_format):
            return identity
    folder_and_file = "/".join(PurePosixPath(path).parts[-2:])
    person = _PERSON.findall(path)
    who = f"subject{person[-1]}" if person else PurePosixPath(path).parent.name
    source = {"bvh": BVH, "amc": AMC}[file_format]
    return Identity(source=source, sequence_id=folder_and_file, subject=f"{source}/{who}")
