"""Words that tools use for the joints of arms and legs, each with the positions in the limb where it occurs."""

from collections.abc import Mapping
from dataclasses import dataclass

ABOVE, START, MIDDLE, END, BELOW = range(5)


@dataclass(frozen=True, kw_only=True)
class LimbKind:
    """Arms or legs: their canonical joints, and for each word the positions that it can name."""

    name: str
    joints: tuple[str, str, str]
    words: Mapping[str, tuple[int, ...]]


def _words(**places: str) -> dict[str, tuple[int, ...]]:
    numbers = {"above": ABOVE, "start": START, "middle": MIDDLE, "end": END, "below": BELOW}
    return {
        word: tuple(numbers[place] for place in key.split("_or_"))
        for key, words in places.items()
        for word in words.split()
    }


LEG = LimbKind(
    name="leg",
    joints=("hip", "knee", "ankle"),
    words=_words(
        above_or_start="hip",
        start="thigh upleg upperleg legupper uleg femur",
        start_or_middle="leg",
        middle="knee shin calf shank lowleg loleg lowerleg leglower tibia",
        end="ankle",
        end_or_below="foot",
    ),
)
ARM = LimbKind(
    name="arm",
    joints=("shoulder", "elbow", "wrist"),
    words=_words(
        above="clavicle clav collar collarbone scapula",
        above_or_start="shoulder shldr",
        start="upperarm uparm uarm armupper humerus",
        start_or_middle="arm",
        middle="elbow forearm farm lowerarm lowarm loarm armlower radius ulna",
        end="wrist",
        end_or_below="hand",
    ),
)

LIMB_WORDS = frozenset({*LEG.words, *ARM.words})
