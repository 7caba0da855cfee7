"""Sources: who is held out, which terms hold, and when two are the same."""

from datasets.assembly.path_rules import BVH, CMU, HDM05
from datasets.sequences import Source


def source(**facts) -> Source:
    return Source(**{"name": "mine", "kind": "mocap", "url": "", **facts})


def test_named_people_are_held_out_and_no_others_of_that_source():
    held_out = [f"cmu/{number:02d}" for number in range(1, 145) if CMU.split_of(f"cmu/{number:02d}") == "test"]
    assert held_out == ["cmu/08", "cmu/16", "cmu/32"]
    assert [actor for actor in ("bd", "bk", "dg", "mm", "tr") if HDM05.split_of(f"hdm05/{actor}") == "test"] == ["dg"]


def test_about_one_in_eight_others_is_held_out_and_always_the_same_ones():
    people = [f"bvh/subject{number}" for number in range(2000)]
    held_out = [person for person in people if BVH.split_of(person) == "test"]
    assert 200 < len(held_out) < 300  # 250 expected, standard deviation 15
    # By the command line: of subject0 to subject11, only subject9's sha256 begins with 8 bytes (ff1eb6c3be8e2288)
    # that 8 divides.
    assert [person for person in held_out if int(person[11:]) < 12] == ["bvh/subject9"]


def test_terms_are_the_licence_or_what_is_known_without_one():
    assert source(licence="MIT").terms == "MIT"
    assert source().terms == "unknown: pass --licence"
    assert source(licence_note="the video's terms").terms == "unknown (the video's terms): pass --licence"


def test_a_source_is_its_name():
    assert source(licence="MIT") == source(kind="action", labels=("walk",))
    assert source() != source(name="yours")
    assert str(source()) == "mine"
