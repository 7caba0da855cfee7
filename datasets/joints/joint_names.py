"""Splits the name of a joint into the side of the body and the word for the body part.

The side is found by looking for the counterpart: ``LUArm`` is left because the rig also has ``RUArm``. The same holds
for ``HipLeft``, ``forearm.L``, ``J_Bip_L_LowerLeg`` and ``lshoulder``. Only a joint without a counterpart is judged by
the usual spellings of a side.

The word is the end of the remaining name, without numbers and without the decorations that rigs add to all names
(``DEF-``, ``mixamorig_``, ``_JNT``): ``DEF-upper_arm.L.001`` gives ``upperarm``. Control joints for animators
(``ik_foot_l``) give no word.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from datasets.joints.limb_words import LIMB_WORDS

LONGEST_NAME = 100
_SIDES = (("left", "right"), ("lft", "rgt"), ("lf", "rt"), ("l", "r"), ("左", "右"))
_USUAL_SPELLINGS = (
    re.compile(r"(?:^|[_ .-])(left|right|l|r)(?=[_ .-]|$)", re.IGNORECASE),
    re.compile(r"^(left|right)|(?<=[^_ .-])(left|right)$", re.IGNORECASE),
    re.compile(r"^([lrLR])(?=[A-Z])"),
    re.compile(rf"^([lr])(?=(?:{'|'.join(sorted(LIMB_WORDS))})$)"),
)
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_DECORATIONS = frozenset({"jnt", "joint", "jt", "bone", "bind", "bnd", "skin", "def", "stretch", "m", "c", "x"})
"""The single letters mark the middle of the body, as L and R its sides."""
_FOR_ANIMATORS = frozenset({"ik", "fk", "ctrl", "control", "target", "pole", "goal", "mch", "helper", "tweak", "prop"})
_COPIES = "org"
"""Rigify's prefix for the bones that its ``DEF`` bones follow; ignored in a rig that has both."""


@dataclass(frozen=True, kw_only=True)
class JointName:
    """The parts of a joint's name."""

    side: str
    """``l`` or ``r``; empty for joints in the middle of the body."""
    rest: str
    """The name without its side, in lower case, letters and digits only."""
    tokens: tuple[str, ...]
    """The words of ``rest``, without numbers and decorations; empty for end sites and control joints."""

    def word(self, known: Collection[str]) -> str:
        """Return the longest of the known words that the name ends with, or an empty string."""
        endings = ("".join(self.tokens[start:]) for start in range(len(self.tokens)))
        return next((ending for ending in endings if ending in known), "")


def take_apart(names: Sequence[str]) -> list[JointName]:
    """Split the names of all nodes of a rig; ``NAME/end`` is the end site below NAME."""
    whole_names = {name.lower() for name in names}
    silent = _FOR_ANIMATORS | ({_COPIES} if any(name.startswith("def") for name in whole_names) else frozenset())
    return [_take_apart(name, whole_names, silent) for name in names]


def _take_apart(name: str, whole_names: Collection[str], silent: frozenset[str]) -> JointName:
    joint, end, _ = name.partition("/end")
    side, rest = _side(joint, whole_names)
    tokens = [token.lower() for token in _TOKEN.findall(rest)]
    says_nothing = bool(end) or not silent.isdisjoint(tokens)
    return JointName(
        side=side,
        rest=re.sub(r"[\W_]", "", rest.lower()) + end,
        tokens=() if says_nothing else tuple(token for token in tokens if token not in _DECORATIONS),
    )


def _side(name: str, whole_names: Collection[str]) -> tuple[str, str]:
    """Return the side, and the name without it; names longer than ``LONGEST_NAME`` are not searched."""
    if len(name) > LONGEST_NAME:
        return "", name
    for side, rest, counterpart in _exchanges(name):
        if counterpart in whole_names and re.search(r"\w", rest):
            return side, rest
    for pattern in _USUAL_SPELLINGS:
        if (match := pattern.search(name)) and len(match[0]) < len(name):
            side = "l" if "l" in match[0].lower() else "r"
            return side, f"{name[: match.start()]}_{name[match.end() :]}"
    return "", name


def _exchanges(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield each reading of a part of the name as a side: the side, the rest, and the name on the other side."""
    lower = name.lower()
    for left, right in _SIDES:
        for side, here, there in (("l", left, right), ("r", right, left)):
            for match in re.finditer(here, lower):
                start, end = match.span()
                yield side, f"{name[:start]}_{name[end:]}", lower[:start] + there + lower[end:]
