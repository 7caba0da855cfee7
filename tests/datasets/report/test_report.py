"""The report says what is in a store: figures reckoned by hand, reasons by kind, pictures that betray wrong axes."""

import hashlib
import json
import re
import shutil
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.report.measures import EDGES, SourceReport, measure
from datasets.report.messages import MAX_GROUPS, OTHERS, MessageGroups, make_printable, summarise_reason
from datasets.report.page import page
from datasets.report.report import to_json, write_report
from datasets.report.samples import Sample
from datasets.report.skeletons import front_and_side, strips
from datasets.report.table import table
from datasets.sequences import MotionSequence, RecordingError, Source
from datasets.store.manifest import Manifest, SourceEntry, SplitCounts, StoreError
from datasets.store.parquet import QUARANTINE, Store, open_store, partition, segment_rows, write_part, write_whole
from motion_encoder.skeletons import H36M17
from tests.pipelines.conftest import STANDING_J3

FPS = 30.0
LEFT_WRIST, NOSE, RIGHT_KNEE = (H36M17.index(joint) for joint in ("lwrist", "nose", "rknee"))
HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>\x1b[31m\u202e&amp;\n"


def walk(name: str, frames: int, *, speed: float = 1.2, fps: float = FPS) -> MotionSequence:
    """A person who stands and glides along X at ``speed`` m/s, all of it observed."""
    points_TJ3 = np.repeat(STANDING_J3[None], frames, axis=0)
    points_TJ3[..., 0] += (np.arange(frames) * speed / fps)[:, None]
    return MotionSequence(
        source=Source(name="lab", kind="mocap", url=""),
        sequence_id=name,
        subject=f"lab/{name}",
        fps=fps,
        keypoints_3d_TJC=points_TJ3.astype(np.float32),
        confidence_TJ=np.ones((frames, 17), np.float32),
    )


def in_image(name: str, frames: int, *, moves_px: float = 0.0, fps: float = FPS) -> MotionSequence:
    """A person in a box of 60 x 80 pixels, whose diagonal is 100; confidence 0.75."""
    points_J2 = np.full((17, 2), [30.0, 40.0])
    points_J2[1], points_J2[2] = [0, 0], [60, 80]
    points_TJ2 = points_J2 + 100 + np.arange(frames)[:, None, None] * np.array([moves_px, 0])
    return MotionSequence(
        source=Source(name="street", kind="detections", url=""),
        sequence_id=name,
        subject=f"street/{name}",
        fps=fps,
        keypoints_2d_TJC=points_TJ2.astype(np.float32),
        confidence_TJ=np.full((frames, 17), 0.75, np.float32),
        image_size=(640, 480),
    )


def lost(reason: str, *, path: str = "in/a.bvh", sequence_id: str | None = None, source: str = "lab") -> dict:
    return {"path": path, "reader": "bvh", "source": source, "sequence_id": sequence_id, "reason": reason}


def build(
    url: str,
    parts: Mapping[tuple[str, str], Sequence[Sequence[MotionSequence]]],
    *,
    segment_frames: int = 2000,
    quarantine: Sequence[dict] = (),
    duplicates: tuple[tuple[str, ...], ...] = (),
    **entry: object,
) -> Store:
    """Write {(source, split): parts of sequences} as a finished store; ``entry`` replaces facts of each source."""
    files = []
    splits: dict[str, dict[str, SplitCounts]] = {str(row["source"]): {} for row in quarantine}
    for (source, split), each in parts.items():
        for number, members in enumerate(each):
            rows = pa.concat_tables([segment_rows(member, segment_frames) for member in members])
            files.append(write_part(url, f"{partition(source, split)}/part-{number}.parquet", rows))
        everybody = [member for members in each for member in members]
        lengths = [len(member.confidence_TJ) for member in everybody]
        splits.setdefault(source, {})[split] = SplitCounts(
            sequences=len(lengths),
            segments=sum(-(-length // segment_frames) for length in lengths),
            frames=sum(lengths),
            frames_3d=sum(len(member.confidence_TJ) for member in everybody if member.keypoints_3d_TJC is not None),
            frames_2d=sum(len(member.confidence_TJ) for member in everybody if member.keypoints_2d_TJC is not None),
            hours=sum(len(member.confidence_TJ) / member.fps for member in everybody) / 3600,
        )
    if quarantine:
        files.append(write_part(url, "_quarantine/part-0.parquet", pa.Table.from_pylist(quarantine, schema=QUARANTINE)))
    facts = {"kind": "mocap", "licence": "ours", "url": "", "recordings": 9, "quarantined": 0}
    facts |= {"quarantined_sequences": 0, **entry}
    sources = {name: SourceEntry(**facts, splits=each) for name, each in sorted(splits.items())}  # pyright: ignore[reportArgumentType]
    manifest = Manifest(fps=FPS, command="extract it", sources=sources, files=tuple(files), duplicates=duplicates)
    write_whole(f"{url}/manifest.json", manifest.to_json().encode())
    return open_store(url)


def count_in(source: SourceReport, name: str) -> dict[float, int]:
    """The bins that hold something, by their lower edge."""
    histogram = source.histograms[name]
    assert len(histogram.counts) == len(histogram.edges) + 1
    return {low: count for low, count in zip((0.0, *histogram.edges), histogram.counts, strict=True) if count}


def test_joints_observed_are_shares_of_all_frames(tmp_path: Path) -> None:
    half = walk("half", 10)
    half.confidence_TJ[:5, LEFT_WRIST] = 0
    store = build(str(tmp_path), {("lab", "train"): [[half]], ("lab", "test"): [[walk("whole", 10)]]})
    observed = measure(store).sources["lab"].observed
    assert observed == {joint: 0.75 if joint == "lwrist" else 1.0 for joint in H36M17.joints}


def test_lengths_are_counted_by_sequence_not_by_segment(tmp_path: Path) -> None:
    walks = [walk("a", 30), walk("b", 45), walk("c", 44), walk("d", 2), walk("slow", 30, fps=10.0)]
    store = build(str(tmp_path), {("lab", "train"): [walks]}, segment_frames=7)
    assert count_in(measure(store).sources["lab"], "length_s") == {0.0: 1, 1.0: 2, 1.5: 1, 3.0: 1}


def test_root_speed_goes_over_segments_but_not_from_one_sequence_to_the_next(tmp_path: Path) -> None:
    away = walk("b", 6, speed=2.5)
    assert away.keypoints_3d_TJC is not None
    away.keypoints_3d_TJC[...] += 1000  # from a to b it is far
    unseen = walk("c", 10, speed=0.6)
    unseen.confidence_TJ[4, 0] = 0
    store = build(str(tmp_path), {("lab", "train"): [[walk("a", 10), away], [unseen]]}, segment_frames=4)
    report = measure(store).sources["lab"]
    assert count_in(report, "root_speed_m_s") == {1.0: 9, 2.0: 5, 0.5: 7}  # 9 steps less 2 to and from the unseen
    assert count_in(report, "root_speed_sizes_s") == {}


def test_speed_in_the_image_is_in_sizes_of_the_person(tmp_path: Path) -> None:
    # 4 of 100 pixels a frame, 30 frames a second: 1.2 sizes a second; nobody moves in the other.
    store = build(str(tmp_path), {("street", "train"): [[in_image("a", 5, moves_px=4.0), in_image("b", 3)]]})
    report = measure(store).sources["street"]
    assert count_in(report, "root_speed_sizes_s") == {1.0: 4, 0.0: 2}
    assert count_in(report, "root_speed_m_s") == {}


def test_confidence_counts_what_was_observed_and_edges_belong_above(tmp_path: Path) -> None:
    some = in_image("a", 1)
    some.confidence_TJ[0] = [0.0, 0.7, 0.95, 1.0, 0.049, *[0.75] * 12]  # float32, in which 0.7 and 0.95 are not exact
    store = build(str(tmp_path), {("street", "train"): [[some]]})
    report = measure(store).sources["street"]
    assert count_in(report, "confidence") == {0.0: 1, 0.7: 1, 0.75: 12, 0.95: 2}


def test_repairs_are_counted_by_sequence_and_by_kind(tmp_path: Path) -> None:
    walks = [
        replace(walk("a", 9), repairs=("arms: left and right exchanged back in 3 frames", "turned from +Z up to Y up")),
        replace(walk("b", 9), repairs=("arms: left and right exchanged back in 12 frames",)),
        walk("c", 9),
    ]
    report = measure(build(str(tmp_path), {("lab", "train"): [walks]}, segment_frames=4)).sources["lab"]
    assert report.repaired == 2
    assert [(each.count, each.message) for each in report.repairs] == [
        (2, "arms: left and right exchanged back in … frames"),
        (1, "turned from +Z up to Y up"),
    ]
    assert report.repairs[1].examples == ("a: turned from +Z up to Y up",)


@settings(max_examples=20, deadline=None)  # each writes a few small stores
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=8), group=st.integers(1, 9), segment=st.integers(1, 50)
)
def test_how_a_store_is_cut_does_not_matter(
    lengths: list[int], group: int, segment: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def measured(cut: int, parts: Sequence[Sequence[MotionSequence]]) -> dict:
        store = build(str(tmp_path_factory.mktemp("store")), {("lab", "train"): parts}, segment_frames=cut)
        source = json.loads(to_json(measure(store)))["sources"]["lab"]
        source["splits"]["train"].pop("segments")
        return source

    walks = [walk(f"walk {number}", length, speed=length / 8) for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.store.parquet._GROUP_ROWS", (group, group))
        in_parts = measured(segment, [[each] for each in walks])
        in_groups = measured(segment, [walks])
    assert in_parts == in_groups == measured(2000, [walks])


def test_the_figures_reconcile_with_the_manifest(tmp_path: Path) -> None:
    unsure = in_image("unsure", 7)
    unsure.confidence_TJ[:3, :8] = 0
    parts = {
        ("lab", "train"): [[walk("a", 10), walk("b", 20)], [walk("c", 5)]],
        ("lab", "test"): [[walk("d", 6)]],
        ("street", "train"): [[unsure, in_image("e", 4)]],
    }
    rows = [lost("?")] * 3 + [lost("?", source="street")]
    store = build(str(tmp_path), parts, segment_frames=6, quarantine=rows, recordings=12, quarantined=1)
    write_report(store.url)
    raw = json.loads((tmp_path / "report.json").read_text())
    assert raw["store"] == store.manifest.digest
    for name, entry in store.manifest.sources.items():
        source = raw["sources"][name]
        assert source["splits"] == json.loads(store.manifest.to_json())["sources"][name]["splits"]
        assert sum(source["histograms"]["length_s"]["counts"]) == entry.total.sequences
        observed = sum(source["histograms"]["confidence"]["counts"])
        assert sum(source["observed"].values()) * entry.total.frames == pytest.approx(observed)
        assert (source["recordings"], source["quarantined"]) == (12, 1)
    assert sum(raw["sources"]["lab"]["histograms"]["root_speed_m_s"]["counts"]) == 9 + 19 + 4 + 5
    assert [raw["sources"][name]["quarantine"][0]["count"] for name in ("lab", "street")] == [3, 1]


@pytest.mark.parametrize("field", ["sequences", "segments", "frames", "frames_3d", "frames_2d", "hours"])
def test_a_manifest_that_states_other_numbers_is_refused(field: str, tmp_path: Path) -> None:
    store = build(str(tmp_path), {("lab", "train"): [[walk("a", 10)]]})
    entry = store.manifest.sources["lab"]
    counts = entry.splits["train"]
    more = replace(counts, **{field: getattr(counts, field) + 1})
    manifest = replace(store.manifest, sources={"lab": replace(entry, splits={"train": more})})
    with pytest.raises(StoreError, match=rf"lab: {field} in split train: expected .* found .* Extract again"):
        measure(Store(url=store.url, manifest=manifest))


def test_a_loss_without_a_row_in_quarantine_is_refused(tmp_path: Path) -> None:
    store = build(str(tmp_path), {("lab", "train"): [[walk("a", 9)]]}, quarantine=[lost("?")] * 2, quarantined=3)
    with pytest.raises(StoreError, match=r"rows of the quarantine table: expected at least 3 .* found 2"):
        measure(store)


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    store = build(str(tmp_path), {("lab", "train"): [[walk("a", 9)]]})
    part = tmp_path / store.files()[0].path
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="SHA-256"):
        write_report(store.url)
    assert not (tmp_path / "report.json").exists()


def refused(path: str, where: str, expected: str, found: str) -> str:
    return str(RecordingError(path, where=where, expected=expected, found=found, fix="Fetch it again."))


def test_reasons_are_grouped_by_where_and_what_was_expected(tmp_path: Path) -> None:
    rows = [
        lost(refused("in/7: a.bvh", "frame 3", "31 numbers", "12"), path="in/7: a.bvh"),
        lost(refused("in/b.bvh", "frame 4711", "31 numbers", "'x, found nothing'"), path="in/b.bvh"),
        lost(refused("in/c.bvh", "frame 9", "31 numbers", "1"), path="in/c.bvh"),
        lost(refused("in/d.bvh", "header", "HIERARCHY", "?"), path="in/d.bvh"),
        lost(refused("lab/e", "bone lhip to lknee", "a constant length", "0.1"), path="in/e.bvh", sequence_id="e"),
        lost(refused("lab/f", "bone rhip to rknee", "a constant length", "0.2"), path="in/f.bvh", sequence_id="f"),
        lost(refused("in/01.asf", "line 4", ":root", "x"), path="in/01_02.amc"),
        lost(refused("in/02.asf", "line 9", ":root", "y"), path="in/02_02.amc"),
        lost("in/g.bvh: ValueError: could not convert 'abc'", path="in/g.bvh"),
        lost("in/h.bvh: ValueError: could not convert 'de'", path="in/h.bvh"),
        lost("in/i.bvh: no sequence in it", path="in/i.bvh"),
        lost("in/j.bvh: j: the same motion as lab/a, which is stored", path="in/j.bvh", sequence_id="j"),
        lost("in/k.bvh: k: the same motion as lab/b, which is stored", path="in/k.bvh", sequence_id="k"),
    ]
    report = measure(build(str(tmp_path), {("lab", "train"): [[walk("a", 9)]]}, quarantine=rows)).sources["lab"]
    assert {each.message: each.count for each in report.quarantine} == {
        "frame …: expected 31 numbers": 3,
        "header: expected HIERARCHY": 1,
        "bone … to …: expected a constant length": 2,
        "line …: expected :root": 2,
        "ValueError: could not convert …": 2,
        "no sequence in it": 1,
        "the same motion as …, which is stored": 2,
    }
    assert report.quarantine[0].examples == (rows[0]["reason"], rows[1]["reason"])


def test_a_number_that_is_the_same_in_all_messages_is_shown() -> None:
    groups = MessageGroups()
    for name in "ab":
        groups.add(summarise_reason(lost(f"{name}: frame 0: expected 31 numbers, found 3. Fix it.", path=name)), name)
    assert [each.message for each in groups.sorted()] == ["frame 0: expected 31 numbers"]


def test_a_flood_of_unlike_messages_is_counted_in_bounded_memory() -> None:
    groups = MessageGroups()
    words = ["".join(letters) for letters in product(string.ascii_uppercase[:12], repeat=3)]
    for word in words:
        groups.add(word * 200, word * 200)
    counted = groups.sorted()
    assert len(counted) == MAX_GROUPS + 1
    assert sum(each.count for each in counted) == len(words) == 12**3
    assert (counted[0].message, counted[0].count) == (OTHERS, len(words) - MAX_GROUPS)
    assert max(len(text) for each in counted for text in (each.message, *each.examples)) <= 300


@given(st.text())
def test_printable_text_moves_no_cursor_and_breaks_no_line(text: str) -> None:
    assert make_printable(text).isprintable()
    if text.isprintable():
        assert make_printable(text) == text


def test_the_pictures_show_the_sequences_of_the_smallest_hashes(tmp_path: Path) -> None:
    names = [f"walk {number}" for number in range(20)]
    walks = [walk(name, 9) for name in names]
    expected = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:3]
    for number, parts in enumerate(([walks], [walks[::-1]], [walks[13:], walks[:13]])):
        report = measure(build(str(tmp_path / str(number)), {("lab", "train"): parts})).sources["lab"]
        assert [sample.sequence_id for sample in report.samples] == expected


def test_poses_are_spread_over_the_frames_in_which_something_was_observed(tmp_path: Path) -> None:
    late = walk("late", 40)
    late.confidence_TJ[:29] = 0
    late.confidence_TJ[30:33] = 0
    short = walk("short", 3)
    nobody = walk("nobody", 5)
    nobody.confidence_TJ[:] = 0
    store = build(str(tmp_path), {("lab", "test"): [[late, short, nobody]]}, segment_frames=6)
    report = measure(store)
    samples = {sample.sequence_id: sample for sample in report.sources["lab"].samples}
    # Seen in 29 and 33 to 39: 8 frames, of which every 7/5-th is shown (0, 1.4, 2.8, 4.2, 5.6, 7, rounded).
    assert samples["late"].frame_F.tolist() == [29, 33, 35, 36, 38, 39]
    assert samples["short"].frame_F.tolist() == [0, 1, 2]
    assert samples["nobody"].frame_F.tolist() == []
    points_3d = late.keypoints_3d_TJC
    assert points_3d is not None
    np.testing.assert_array_equal(samples["late"].keypoints_3d_FJC, points_3d[[29, 33, 35, 36, 38, 39]])
    assert "nobody" in page(report)


def pose(points_J3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    front_FJ2, side_FJ2 = front_and_side(points_J3[None], np.ones((1, 17), bool))
    return front_FJ2[0], side_FJ2[0]


BENT_J3 = STANDING_J3.copy()
BENT_J3[RIGHT_KNEE, 2] += 0.3


@given(turn=st.floats(-10, 10), x=st.floats(-50, 50), z=st.floats(-50, 50))
def test_whoever_faces_wherever_is_seen_from_the_front_and_from_the_right(turn: float, x: float, z: float) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    front_J2, side_J2 = pose(BENT_J3 @ about_y.T + [x, 0, z])
    np.testing.assert_allclose(front_J2, BENT_J3[:, [0, 1]], atol=1e-6)  # it faces +Z, its left at +X
    np.testing.assert_allclose(side_J2, BENT_J3[:, [2, 1]], atol=1e-6)


def test_wrong_axes_and_sides_show() -> None:
    _, side_J2 = pose(BENT_J3)
    assert side_J2[NOSE, 0] > 0.05
    assert side_J2[RIGHT_KNEE, 0] > 0.25
    _, mirrored_J2 = pose(BENT_J3 * [1, 1, -1])
    assert mirrored_J2[NOSE, 0] < -0.05
    _, exchanged_J2 = pose(BENT_J3[list(H36M17.flip_order)])
    assert exchanged_J2[NOSE, 0] < -0.05
    front_J2, lying_J2 = pose(BENT_J3[:, [0, 2, 1]] * [1, -1, 1])  # Z up taken for Y up
    assert np.ptp(front_J2[:, 1]) < 0.5
    assert np.ptp(lying_J2[:, 0]) > 1.5


def sample(**changes: object) -> Sample:
    facts = {
        "split": "train", "sequence_id": "a", "subject": "s", "action": None, "fps": FPS, "num_frames": 9,
        "frame_F": np.array([3]), "keypoints_3d_FJC": None, "keypoints_2d_FJC": None,
        "seen_FJ": np.ones((1, 17), bool), "image_size": None,
    }  # fmt: skip
    return Sample(**(facts | changes))  # pyright: ignore[reportArgumentType]


def drawn(svg: str, side: str) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Lines of one side: pairs of ends."""
    lines = []
    for path in ElementTree.fromstring(svg).iter("path"):
        if path.get("class") == side:
            for x, y, to_x, to_y in re.findall(r"M(\S+) (\S+?)L(\S+) ([^M]+)", path.get("d", "")):
                lines.append(((float(x), float(y)), (float(to_x), float(to_y))))
    return lines


def test_what_was_not_observed_is_not_drawn() -> None:
    seen_FJ = np.ones((1, 17), bool)
    whole = sample(keypoints_3d_FJC=STANDING_J3[None].astype(np.float32))
    seen_FJ[0, LEFT_WRIST] = False
    without = replace(whole, seen_FJ=seen_FJ)
    [(svg, figures)], [(svg_without, _)] = strips(whole), strips(without)
    # Each limb has 3 bones on a side (hip, knee, ankle; shoulder, elbow, wrist); two views.
    assert [len(drawn(svg, side)) for side in ("left", "right", "centre")] == [12, 12, 8]
    assert [len(drawn(svg_without, side)) for side in ("left", "right", "centre")] == [10, 12, 8]
    assert figures == "1.58 m from the lowest to the highest joint; the line is at y = 0.08 m"


def test_an_image_is_drawn_to_scale_with_y_down() -> None:
    points_J2 = np.full((17, 2), [320.0, 240.0], np.float32)
    points_J2[H36M17.index("lhip")], points_J2[H36M17.index("lknee")] = [0, 0], [640, 480]
    [(svg, figures)] = strips(sample(keypoints_2d_FJC=points_J2[None], image_size=(640, 480)))
    [box] = ElementTree.fromstring(svg).iter("rect")
    left, top, width, height = (float(box.get(name, "nan")) for name in ("x", "y", "width", "height"))
    assert width / height == pytest.approx(640 / 480, abs=0.01)
    thigh, *_ = [line for line in drawn(svg, "left") if line[0] == (left, top)]
    assert thigh[1] == pytest.approx((left + width, top + height), abs=0.1)
    assert figures == "image of 640 × 480 pixels; the person measures up to 640 × 480"
    [(svg, figures)] = strips(sample(keypoints_2d_FJC=points_J2[None]))
    assert "size of the image not known" in figures


class _Tags(HTMLParser):
    """Every tag and attribute of a page, and its text as a browser shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(tmp_path: Path) -> Store:
    """A store in which every text out of recordings is an attack."""
    person = replace(
        walk(HOSTILE, 9), subject=HOSTILE, action=HOSTILE, repairs=(HOSTILE,), image_size=(640, 480),
        keypoints_2d_TJC=in_image("", 9).keypoints_2d_TJC,
    )  # fmt: skip
    return build(
        str(tmp_path / "store"),
        {(f"lab{HOSTILE}", "train"): [[person]]},
        quarantine=[lost(f"{HOSTILE}: {HOSTILE}", path=HOSTILE, source=f"lab{HOSTILE}", sequence_id=HOSTILE)],
        duplicates=((f"lab{HOSTILE}/{HOSTILE}", f"lab{HOSTILE}/2"),),
        kind=HOSTILE,
        licence=HOSTILE,
    )


def test_names_out_of_recordings_are_shown_and_never_obeyed(hostile: Store) -> None:
    report = measure(hostile)
    text = page(report)
    tags = _Tags()
    tags.feed(text)
    assert tags.tags == {
        "html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "h3", "p", "b", "code", "table", "tr",
        "th", "td", "a", "figure", "figcaption", "div", "svg", "path", "rect", "circle", "text", "ul", "li",
    }  # fmt: skip
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "style")]
    assert {value for name, value in tags.attributes if name == "href"} == {"#source-0"}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in tags.attributes
    assert all(line.isprintable() for line in text.split("\n"))
    assert "url(" not in text
    assert "@import" not in text
    shown = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>\\x1b[31m\\u202e&amp;\\n"
    # title of the source, its link, kind, licence, its two pictures (id, subject, action), repair, reason, copies
    assert tags.text.count(shown) >= 1 + 1 + 2 + 2 * 3 + 1 + 1 + 2
    for line in table(report, HOSTILE).splitlines():
        assert line.isprintable()


def test_every_picture_is_well_formed(hostile: Store) -> None:
    svgs = re.findall(r"<svg.*?</svg>", page(measure(hostile)), re.DOTALL)
    # Joints, the length, two speeds, confidence; the 3D strip and the 2D strip.
    assert len(svgs) == 5 + 2
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        _, _, width, height = (float(number) for number in root.get("viewBox", "").split())
        assert (root.get("width"), root.get("height")) == (f"{width:.0f}", f"{height:.0f}")


def test_the_same_store_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    parts = {("lab", "train"): [[walk("a", 9), walk("b", 9)]], ("street", "test"): [[in_image("c", 5)]]}
    store = build(str(tmp_path / "here"), parts, quarantine=[lost("?")])
    before = {path: path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file()}
    write_report(store.url)
    assert {path: path.read_bytes() for path in before} == before
    open_store(store.url).verify()
    shutil.copytree(store.url, tmp_path / "there")
    memory = fsspec.filesystem("memory")
    memory.put(store.url, "/report-test", recursive=True)
    first = [(tmp_path / "here" / name).read_bytes() for name in ("report.json", "report.html")]
    write_report(str(tmp_path / "there"))
    assert [(tmp_path / "there" / name).read_bytes() for name in ("report.json", "report.html")] == first
    memory.rm("/report-test/report.html")
    write_report("memory://report-test/")
    assert [memory.cat_file(f"/report-test/{name}") for name in ("report.json", "report.html")] == first
    memory.rm("/report-test", recursive=True)


def test_the_table_says_what_was_made_and_what_was_lost(tmp_path: Path) -> None:
    unsure = in_image("e", 1200)
    unsure.confidence_TJ[:900, NOSE] = 0
    store = build(
        str(tmp_path),
        {("lab", "train"): [[walk("a", 10), walk("b", 20)]], ("street", "train"): [[unsure]]},
        quarantine=[lost(refused(f"in/{n}.bvh", f"frame {n}", "31 numbers", "12"), path=f"in/{n}.bvh") for n in "123"],
        duplicates=(("lab/a", "lab/c"),),
        quarantined=0,
    )
    manifest = store.manifest
    entry = replace(manifest.sources["lab"], quarantined=1, quarantined_sequences=1, duplicates=1, recordings=4)
    sources = {**manifest.sources, "lab": entry}
    store = replace(store, manifest=replace(manifest, sources=sources, name_collisions=("lab/b",)))
    lines = table(measure(store), "s3://bucket/store").splitlines()
    assert lines[0] == f"Store s3://bucket/store (digest {manifest.digest[:16]}):"
    assert [line.split() for line in lines[1:4]] == [
        ["source", "recordings", "quarantined", "duplicates", "sequences", "frames", "time", "observed", "repaired"],
        ["lab", "4", "1", "+", "1", "sequences", "1", "2", "30", "1", "s", "100.0%", "0"],
        ["street", "9", "0", "0", "1", "1,200", "40", "s", "95.6%", "0"],  # 16.25 of 17 joints
    ]
    assert lines[4:] == [
        "lab: left out, 3 in all:",
        "  3 × frame …: expected 31 numbers",
        "    such as in/1.bvh: frame 1: expected 31 numbers, found 12. Fetch it again.",
        "lab: the same motion several times, the first of them stored:",
        "  lab/a = lab/c",
        "lab: several sequences of one name:",
        "  lab/b",
        "street: observed in few frames: nose 25.0%",
    ]


def test_a_source_of_which_nothing_was_stored_is_reported(tmp_path: Path) -> None:
    store = build(str(tmp_path), {}, quarantine=[lost("in/a.bvh: no sequence in it")], quarantined=1)
    report = write_report(store.url)
    source = report.sources["lab"]
    assert set(source.observed.values()) == {0.0}
    assert source.samples == ()
    assert all(set(source.histograms[name].counts) == {0} for name in EDGES)
    assert "no sequence in it" in (tmp_path / "report.html").read_text()
