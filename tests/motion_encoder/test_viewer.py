import base64
import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_encoder.skeletons import H36M17
from motion_encoder.viewer import ViewedClip, render_html, write_html


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: its elements, the text of its scripts, its title and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag):
        if self.open:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data

    @property
    def data(self) -> dict:
        return json.loads(self.texts["data"])


def motion(num_frames: int = 4, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_frames, 17, channels)).astype(np.float32)


def clip(name: str = "walk", **fields) -> ViewedClip:
    return ViewedClip(**({"name": name, "fps": 30.0, "motions": {"lifted": motion()}} | fields))


def unpack(packed: dict) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(packed["data"]), dtype="<u2").reshape(packed["shape"])
    return packed["low"] + packed["step"] * steps.astype(np.float64)


def test_the_page_needs_no_network(tmp_path: Path):
    write_html(tmp_path / "view.html", [clip()], title="Lifted")
    text = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    page = Page(text)
    assert not [attrs for _, attrs in page.tags if {"src", "href", "srcset"} & set(attrs)]
    assert {"link", "iframe", "object", "embed", "img"}.isdisjoint(tag for tag, _ in page.tags)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_everything_that_was_put_in_is_on_the_page():
    keypoints, confidence = 1000 * motion(6, 2, seed=1), np.linspace(0, 1, 6 * 17, dtype=np.float32).reshape(6, 17)
    lifted, recorded = motion(6, seed=2), motion(6, seed=3) + 50
    shown = clip(
        fps=29.97,
        keypoints_2d_TJC=keypoints,
        confidence_TJ=confidence,
        motions={"lifted": lifted, "recorded": recorded},
    )
    data = Page(render_html([shown, clip("other")], title="t")).data
    first, second = data["clips"]
    assert (first["name"], first["fps"], second["name"]) == ("walk", 29.97, "other")
    assert [each["name"] for each in first["motions"]] == ["lifted", "recorded"]
    assert (second["keypoints"], second["confidence"]) == (None, None)
    packed = [first["keypoints"], first["confidence"], *(each["positions"] for each in first["motions"])]
    for array, entry in zip((keypoints, confidence, lifted, recorded), packed, strict=True):
        assert np.abs(unpack(entry) - array).max() <= 0.51 * (array.max() - array.min()) / 65535
    assert unpack(first["confidence"])[0, 0] == 0


@settings(max_examples=25, deadline=None)
@given(value=st.floats(-1e5, 1e5, width=32), num_frames=st.integers(1, 5))
def test_a_motion_that_never_changes_comes_back(value, num_frames):
    still = np.full((num_frames, 17, 3), value, np.float32)
    data = Page(render_html([clip(motions={"still": still})], title="t")).data
    np.testing.assert_array_equal(unpack(data["clips"][0]["motions"][0]["positions"]), still)


def test_the_skeleton_on_the_page_is_h36m17():
    skeleton = Page(render_html([clip()], title="t")).data["skeleton"]
    sides = dict(zip(skeleton["joints"], skeleton["sides"], strict=True))
    assert tuple(skeleton["joints"]) == H36M17.joints
    assert len(skeleton["bones"]) == 16
    assert [skeleton["joints"].index("rhip"), skeleton["joints"].index("rknee")] in skeleton["bones"]
    assert (sides["lwrist"], sides["rankle"], sides["neck"]) == ("left", "right", "centre")
    assert list(sides.values()).count("left") == list(sides.values()).count("right") == 6


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=40))
def test_names_are_text_whatever_they_hold(name):
    page = Page(render_html([clip(name, motions={name: motion()})], title="t"))
    assert page.data["clips"][0]["name"] == page.data["clips"][0]["motions"][0]["name"] == name


@pytest.mark.parametrize("text", ["</script><script>x()</script>", "<!--<script>", "{{data}} & {{title}}", "\u2028"])
def test_hostile_text_adds_no_element(text):
    plain = Page(render_html([clip()], title="t"))
    hostile = Page(render_html([clip(text, motions={text: motion()})], title=text))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert hostile.texts["title"] == hostile.texts["h1"] == text
    assert hostile.data["clips"][0]["name"] == text


def test_controls_have_accessible_names():
    page = Page(render_html([clip()], title="t"))
    for tag, attrs in page.tags:
        if tag == "button" and "data-yaw" not in attrs:
            assert attrs.get("aria-label")
        if tag == "input" and attrs.get("type") == "range":
            assert attrs.get("aria-label")
    assert ("html", {"lang": "en"}) in page.tags


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"motions": {}}, "expected arrays of one length"),
        ({"motions": {"a": motion(3), "b": motion(4)}}, r"found {'a': 3, 'b': 4}"),
        ({"motions": {"a": motion(0)}}, "at least 1 frame"),
        ({"motions": {"a": np.full((2, 17, 3), np.nan, np.float32)}}, "a has numbers that are not finite"),
        ({"confidence_TJ": np.ones((4, 17), np.float32)}, "expected keypoints_2d together with confidence"),
        ({"fps": 0.0}, "expected a positive fps, found 0"),
    ],
)
def test_clips_that_cannot_be_shown_are_refused(fields, message):
    with pytest.raises(ValueError, match="clip 'walk': .*" + message):
        clip(**fields)


def test_no_clips_is_an_error():
    with pytest.raises(ValueError, match="at least one clip"):
        render_html([], title="t")
