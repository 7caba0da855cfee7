"""Finds arms and legs by name: the joints where the upper bone, the lower bone, and the hand or foot start.

A word can name several positions (``shoulder`` is a collar bone or the start of the upper arm, ``foot`` an ankle or the
joint below it), and the order of the joints in the rig decides between them. So the words of one limb need not come
from one tool. A joint without a known word is found if its neighbours leave only one choice; such guesses are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from datasets.joints.limb_words import ABOVE, END, MIDDLE, START, LimbKind
from datasets.joints.rig_tree import RigTree
from datasets.sequences import RecordingError

SIDES = ("l", "r")
LONGER = 1.3
"""Ratio from which one bone counts as clearly longer than another."""
UNLIKE = 2.0
"""Largest plausible ratio between the two bones of a limb; at most 1.85 in 330 public files."""
LONGEST_CHAIN = 20
"""Most joints of one limb that are considered; a body has fewer."""
TWISTS = ("twist", "roll")


@dataclass(frozen=True, kw_only=True)
class Limbs:
    """The canonical joints that were found, each with its node, and a description of every guess."""

    nodes: Mapping[str, int]
    guesses: tuple[str, ...] = ()


def limbs_by_name(tree: RigTree, kind: LimbKind, path: str) -> Limbs:
    """Return the joints of both limbs of a kind by names and order; empty if too few have known names.

    If the bones would have implausible lengths, words that can name a collar bone are read as collar bones, provided
    that the lengths are plausible then.

    Raises:
        RecordingError: Two chains of joints fit equally well.
    """
    limbs = _read(tree, kind, path)
    if _is_shapely(tree, kind, limbs.nodes):
        return limbs
    collars = {word: (ABOVE,) if ABOVE in places else places for word, places in kind.words.items()}
    other = _read(tree, replace(kind, words=collars), path)
    return other if len(other.nodes) == 6 and _is_shapely(tree, kind, other.nodes) else limbs


def _read(tree: RigTree, kind: LimbKind, path: str) -> Limbs:
    found = {side: _best_chain(tree, kind, side, path) for side in SIDES}
    fuller, other = sorted(SIDES, key=lambda side: -len(found[side]))
    if len(found[fuller]) < 2:
        return Limbs(nodes={})
    if len(found[other]) < len(found[fuller]):
        found[other] = _same_words(tree, kind, found[fuller], other)
    nodes, guesses = {}, []
    for side in SIDES:
        guesses += _complete(tree, found[side], side, kind)
        nodes |= {side + kind.joints[place - START]: node for place, node in found[side].items()}
    return Limbs(nodes=nodes, guesses=tuple(guesses))


def _is_shapely(tree: RigTree, kind: LimbKind, nodes: Mapping[str, int]) -> bool:
    """Whether the ratio of upper and lower bone is plausible; limbs that are not complete are ignored."""
    for side in SIDES:
        start, middle, end = (nodes.get(side + joint) for joint in kind.joints)
        if start is not None and middle is not None and end is not None:
            upper, lower = tree.length(start, middle), tree.length(middle, end)
            if max(upper, lower) > UNLIKE * min(upper, lower):
                return False
    return True


def _best_chain(tree: RigTree, kind: LimbKind, side: str, path: str) -> dict[int, int]:
    """Position to node, along the chain of joints of this side that fills the most positions."""
    words = {
        node: word for node, part in enumerate(tree.parts) if part.side == side and (word := part.word(kind.words))
    }
    placed = [_placed(chain, tuple(kind.words[words[node]] for node in chain)) for chain in _chains(tree, kind, words)]
    best = max(placed, key=len, default={})
    for rival in placed:
        for place in best:
            if len(rival) == len(best) and rival.get(place, best[place]) != best[place]:
                raise _twice(tree, [best[place], rival[place]], side + kind.joints[place - START], path)
    for place, node in best.items():
        same = [each for each in words if tree.parts[each].rest == tree.parts[node].rest]
        if len(same) > 1:
            raise _twice(tree, same, side + kind.joints[place - START], path)
    return best


def _chains(tree: RigTree, kind: LimbKind, words: Mapping[int, str]) -> list[list[int]]:
    """Chains of joints with known words, top first; in a rig without chains, one chain in the order of a limb."""
    lowest = set(words) - {above for node in words for above in tree.above(node)}
    chains = [[*(above for above in reversed([*tree.above(node)]) if above in words), node] for node in sorted(lowest)]
    if all(len(chain) == 1 for chain in chains):
        return [sorted(words, key=lambda node: kind.words[words[node]])]
    return chains


def _twice(tree: RigTree, nodes: Sequence[int], joint: str, path: str) -> RecordingError:
    return RecordingError(
        path,
        where="joint names",
        expected=f"one joint that can be {joint}",
        found=", ".join(tree.names[node] for node in nodes),
        fix="Say which it is in a joint_map.json beside the recordings (docs/data.md).",
    )


def _placed(chain: Sequence[int], choices: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    """Position to node, for the three joints of a limb."""
    places = _align(choices[-LONGEST_CHAIN:], ABOVE)
    return {
        place: node
        for node, place in zip(chain[-LONGEST_CHAIN:], places, strict=True)
        if place is not None and START <= place <= END
    }


@cache
def _align(choices: tuple[tuple[int, ...], ...], lowest: int) -> tuple[int | None, ...]:
    """Assign each joint of a chain one of its positions or None, in ascending order, filling as many as possible."""
    if not choices:
        return ()
    skipped = [(None, *_align(choices[1:], lowest))]
    placed = [(place, *_align(choices[1:], place + 1)) for place in choices[0] if place >= lowest]
    return max(placed + skipped, key=_merit)


def _merit(places: tuple[int | None, ...]) -> tuple[int, int, list[bool], list[int]]:
    """Rank: most joints of the limb itself, then most joints, then upper joints kept, then higher positions."""
    filled = [place for place in places if place is not None]
    in_limb = sum(START <= place <= END for place in filled)
    return in_limb, len(filled), [place is not None for place in places], [-place for place in filled]


def _same_words(tree: RigTree, kind: LimbKind, model: Mapping[int, int], side: str) -> dict[int, int]:
    """The joints of an incomplete side, found by the words that the other side uses for them."""
    found = {}
    for place, node in model.items():
        word = tree.parts[node].word(kind.words)
        same = [n for n, part in enumerate(tree.parts) if part.side == side and part.word(kind.words) == word]
        found |= {place: same[0]} if same else {}
    return found


def _complete(tree: RigTree, found: dict[int, int], side: str, kind: LimbKind) -> list[str]:
    """Add joints without a known word if their neighbours leave one choice; return a description of each guess.

    An end site below the lower bone is certain to be its end, so it is not reported as a guess.
    """
    guessed = {}
    for place, guess in ((END, _end_below), (MIDDLE, _middle_between), (START, _start_above)):
        node = guess(tree, found, kind)
        if node is not None and tree.parts[node].side in (side, ""):
            found[place] = guessed[place] = node
    return [
        f"{side}{kind.joints[place - START]} by its place in the rig: {tree.names[node]}"
        for place, node in guessed.items()
        if not tree.is_end(node)
    ]


def _end_below(tree: RigTree, found: Mapping[int, int], kind: LimbKind) -> int | None:
    """The only node below the lower bone's start."""
    below = tree.children[found[MIDDLE]] if MIDDLE in found and END not in found else []
    return below[0] if len(below) == 1 and _has_no_word(tree, below[0], kind) else None


def _middle_between(tree: RigTree, found: Mapping[int, int], kind: LimbKind) -> int | None:
    """The only node between the limb's start and its end."""
    between = tree.between(found[START], found[END]) if {START, END} <= set(found) and MIDDLE not in found else []
    return between[0] if len(between) == 1 and _has_no_word(tree, between[0], kind) else None


def _start_above(tree: RigTree, found: Mapping[int, int], kind: LimbKind) -> int | None:
    """The node above the lower bone's start, unless it is a collar bone; also below a word that can name a collar bone.

    So ``LeftShoulder > LeftXyz > LeftElbow`` has its upper arm at ``LeftXyz`` where that is the longer bone.
    """
    if MIDDLE not in found:
        return None
    upper = tree.parents[found[MIDDLE]]
    if upper < 0 or not tree.parts[upper].side or not _has_no_word(tree, upper, kind):
        return None
    if START not in found:
        is_long = END not in found or tree.bones_N[found[MIDDLE]] > 0.5 * tree.bones_N[found[END]]
        return upper if is_long else None
    may_be_collar = ABOVE in kind.words.get(tree.parts[found[START]].word(kind.words), ())
    is_only_one = tree.parents[upper] == found[START]
    is_longer = tree.bones_N[found[MIDDLE]] > LONGER * tree.bones_N[upper]
    return upper if may_be_collar and is_only_one and is_longer else None


def _has_no_word(tree: RigTree, node: int, kind: LimbKind) -> bool:
    """Whether a joint has no known word and may be a joint of the limb; twist joints may not."""
    part = tree.parts[node]
    return tree.is_end(node) or (not part.word(kind.words) and bool(part.tokens) and part.tokens[-1] not in TWISTS)
