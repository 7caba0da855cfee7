"""Ultralytics results, written here as its documentation shows them: label folders, and JSON of all frames."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.detectors.ultralytics import READER, SOURCE
from datasets.readers.registry import READERS
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import pixels

WIDTH, HEIGHT = 640, 480
FACTS = f'{{"width": {WIDTH}, "height": {HEIGHT}}}'
KEYPOINTS = [(k, 100 + 2 * k, round(0.5 + k / 100, 2)) for k in range(17)]
"""x, y in pixels and confidence of a person at x = 0."""


def line(x: float, *extra: float, scored=True, lost=()) -> str:
    """Class, middle and size of the box, keypoints, whatever comes after; ``%g`` has six digits."""
    values = [0, (x + 8) / WIDTH, 116 / HEIGHT, 20 / WIDTH, 40 / HEIGHT]
    for k, (kx, ky, score) in enumerate(KEYPOINTS):
        values += [0, 0] if k in lost else [(x + kx) / WIDTH, ky / HEIGHT]
        values += [score] * scored
    return " ".join(f"{value:g}" for value in (*values, *extra)) + "\n"


def person(x: float, track=None, scored=True, lost=(), scale=(1, 1)) -> dict:
    """Results.summary of one detection."""
    points = [(0, 0, score) if k in lost else (x + kx, ky, score) for k, (kx, ky, score) in enumerate(KEYPOINTS)]
    found = {
        "name": "person",
        "class": 0,
        "confidence": 0.91021,
        "box": {"x1": (x - 2) / scale[0], "y1": 96 / scale[1], "x2": (x + 18) / scale[0], "y2": 136 / scale[1]},
        "keypoints": {"x": [each[0] / scale[0] for each in points], "y": [each[1] / scale[1] for each in points]}
        | ({"visible": [each[2] for each in points]} if scored else {}),
    }
    return found if track is None else found | {"track_id": track}


def write_labels(folder: Path, frames: Mapping[int, Sequence[str]], video="clip", facts=FACTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame, lines in frames.items():
        (folder / f"{video}_{frame}.txt").write_text("".join(lines))
    (folder / "video.json").write_text(facts)


def find(folder: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size) for path in sorted(folder.rglob("*")) if path.is_file()])


def read(folder: Path) -> list[MotionSequence]:
    [recording] = find(folder)
    return list(READER.read(recording))


def read_json(folder: Path, document, name="results.json") -> list[MotionSequence]:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return read(folder)


def check_joints(sequence: MotionSequence, scored=True) -> None:
    """Frame t stands at x = 10 + t."""
    for joint in ("nose", "rwrist", "lknee"):
        k, j = COCO17_JOINTS.index(joint), H36M17.index(joint)
        np.testing.assert_allclose(pixels(sequence)[:, j], [(10 + k, 100 + 2 * k), (11 + k, 100 + 2 * k)], atol=1e-2)
        np.testing.assert_allclose(sequence.confidence_TJ[:, j], 0.5 + k / 100 if scored else 1, rtol=1e-6)
    assert ("no confidences: 1 assumed" in sequence.repairs) is not scored


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("extra", [(), (0.87,), (4,), (0.87, 4)])
def test_label_lines_with_and_without_confidences_and_tracks(tmp_path, scored, extra):
    write_labels(tmp_path, {t: [line(10 + t, *extra, scored=scored)] for t in range(2)})
    [sequence] = read(tmp_path)
    check_joints(sequence, scored)
    assert sequence.image_size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_lists_of_frames(tmp_path, scored, indent):
    document = json.dumps([[person(10, scored=scored)], [person(11, scored=scored)]], indent=indent)
    [sequence] = read_json(tmp_path, document)
    check_joints(sequence, scored)
    assert sequence.image_size is None


@pytest.mark.parametrize("indent", [None, 2])
def test_lists_of_the_texts_that_to_json_makes(tmp_path, indent):
    texts = [json.dumps([person(10 + t)], indent=indent) for t in range(2)]
    [sequence] = read_json(tmp_path, texts)
    check_joints(sequence)


@pytest.mark.parametrize("name", ["results.jsonl", "results.ndjson"])
def test_lines_of_frames(tmp_path, name):
    frames = [[], [person(10)], [person(11)], [], [person(13)]]
    [sequence] = read_json(tmp_path, "".join(json.dumps(frame) + "\n" for frame in frames), name)
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [10, 11, 0, 13])


def test_shares_in_json_become_pixels_if_the_size_is_known(tmp_path):
    document = [[person(10 + t, scale=(WIDTH, HEIGHT))] for t in range(2)]
    with pytest.raises(RecordingError, match=r'Put a file video\.json beside it: \{"width"'):
        read_json(tmp_path, document)
    (tmp_path / "video.json").write_text(FACTS)
    [sequence] = read_json(tmp_path, document)
    check_joints(sequence)


def test_labels_need_the_size_of_the_image(tmp_path):
    write_labels(tmp_path, {1: [line(10)]}, facts='{"fps": 25}')
    with pytest.raises(RecordingError, match=r"clip_1\.txt: keypoints: expected pixels, or shares of the image"):
        read(tmp_path)


def test_keypoints_at_the_corner_were_not_found(tmp_path):
    lost = (COCO17_JOINTS.index("leye"), COCO17_JOINTS.index("rwrist"))
    joints = [H36M17.index(joint) for joint in ("head", "rwrist")]
    write_labels(tmp_path / "labels", {1: [line(10, lost=lost)]})
    [of_labels] = read(tmp_path)
    (tmp_path / "json").mkdir()
    [of_json] = read_json(tmp_path / "json", [[person(10, lost=lost)]])
    for sequence in (of_labels, of_json):
        np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[0] == 0), sorted(joints))


def test_frames_without_a_file_are_gaps_and_people_are_linked(tmp_path):
    frames = {t: [line(10 + t), line(500 - t)][:: 1 - 2 * (t % 2)] for t in (8, 9, 12)}
    write_labels(tmp_path, frames)
    left, right = read(tmp_path)
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [18, 19, 0, 0, 22], atol=1e-2)
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [492, 491, 0, 0, 488], atol=1e-2)


def test_empty_frames_of_json_are_gaps(tmp_path):
    [sequence] = read_json(tmp_path, [[], [person(10)], [], [], [person(13)]])
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [10, 0, 0, 13])
    np.testing.assert_array_equal(np.flatnonzero(sequence.confidence_TJ[:, 0]), [0, 3])


def test_tracks_are_used(tmp_path):
    """Two people who change places."""
    write_labels(tmp_path / "labels", {t: [line(10 + 300 * (t ^ k), 0.9, k + 1) for k in range(2)] for t in range(2)})
    of_labels = read(tmp_path)
    (tmp_path / "json").mkdir()
    frames = [[person(10 + 300 * (t ^ k), track=k + 1) for k in range(2)] for t in range(2)]
    for one, two in (of_labels, read_json(tmp_path / "json", frames)):
        np.testing.assert_allclose(pixels(one)[:, 9, 0], [10, 310], atol=1e-2)
        np.testing.assert_allclose(pixels(two)[:, 9, 0], [310, 10], atol=1e-2)


@pytest.mark.parametrize("score", [(), (0.9,)])
def test_who_is_not_tracked_yet_belongs_to_the_track_that_follows(tmp_path, score):
    """Somebody who comes late gets no number before the tracker is sure; person 1 is away for 20 frames."""
    frames = {t: [line(10, *score, 1)] for t in (0, 1, 22, 23)}
    frames[22].append(line(300, *score))
    frames[23].append(line(301, *score, 2))
    write_labels(tmp_path / "labels", frames)
    (tmp_path / "json").mkdir()
    as_json = [[] for _ in range(24)]
    for t in frames:
        as_json[t] = [person(10, track=1)]
    as_json[22].append(person(300))
    as_json[23].append(person(301, track=2))
    for one, two in (read(tmp_path), read_json(tmp_path / "json", as_json)):
        assert (one.sequence_id[-2:], one.num_frames) == ("#1", 24)
        assert two.sequence_id[-2:] == "#2"
        np.testing.assert_allclose(pixels(two)[:, 9, 0], [300, 301], atol=1e-2)
        assert any("1 of 6 detections without a track number" in repair for repair in one.repairs)


def test_lines_that_a_second_run_appended_count_once(tmp_path):
    write_labels(tmp_path, {t: [line(10 + t), line(300), line(10 + t), line(300)] for t in range(3)})
    assert [sequence.num_frames for sequence in read(tmp_path)] == [3, 3]


def test_a_video_is_a_run_and_a_name(tmp_path):
    for run, video in (("predict", "a"), ("predict", "b_2"), ("predict2", "a")):
        write_labels(tmp_path / run / "labels", {t: [line(0)] for t in (9, 10, 11)}, video)
    recordings = find(tmp_path)
    assert [Path(each.path).name for each in recordings] == ["a_9.txt", "b_2_9.txt", "a_9.txt"]
    assert [Path(path).name for path in recordings[0].companions] == ["a_10.txt", "a_11.txt", "video.json"]
    assert [each.size for each in recordings] == [3 * len(line(0))] * 3
    sequences = [next(READER.read(each)) for each in recordings]
    assert [each.sequence_id.rpartition("#")[0] for each in sequences] == ["predict/a", "predict/b_2", "predict2/a"]
    assert sequences[1].subject == "ultralytics/predict/b_2"


def test_drawn_labels_polygons_and_other_text_are_not_claimed(tmp_path):
    drawn = line(10).split()
    drawn[7::3] = ["2"] * 17
    polygon = "0 " + " ".join(f"{0.3 + 0.2 * np.cos(a):.4f} {0.7 + 0.2 * np.sin(a):.4f}" for a in np.arange(28) * 0.22)
    texts = [" ".join(drawn), polygon, "0 0.5 0.5 0.1 0.1 0.9", "1, 2, 3", "", line(10) + "0 0.5 0.5 0.2 0.2"]
    for number, text in enumerate(texts):
        (tmp_path / f"{'abcdef'[number]}_1.txt").write_text(text)
    (tmp_path / "notes.txt").write_text(line(10))
    assert find(tmp_path) == []


@pytest.mark.parametrize("document", [[person(0)], [[]], {"frames": [[person(0)]]}, [[{"name": "person", "class": 0}]]])
def test_other_json_is_not_claimed(tmp_path, document):
    (tmp_path / "results.json").write_text(json.dumps(document))
    (tmp_path / "results.jsonl").write_text(json.dumps([[person(0)]]))
    assert find(tmp_path) == []


def test_nobody_else_claims_these_files(tmp_path):
    write_labels(tmp_path, {t: [line(10)] for t in range(3)})
    (tmp_path / "list.json").write_text(json.dumps([[person(0)]] * 3))
    (tmp_path / "texts.json").write_text(json.dumps([json.dumps([person(0)])] * 3))
    (tmp_path / "lines.jsonl").write_text(json.dumps([person(0)]) * 3)
    assert len(find(tmp_path)) == 4
    files = [File(str(path), path.stat().st_size) for path in sorted(tmp_path.iterdir())]
    assert [name for name, reader in READERS.items() if name != READER.name and reader.find(files)] == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (json.dumps([[person(0)]])[:-2], "JSON"),
        ([[person(0)], 3], "entry 1: expected the list of a frame's people, found 3"),
        ([[person(0)], "[}"], "entry 1: expected a JSON document"),
        ([[person(0)], [{"box": {}}]], "frame 1: expected keypoints with as many x as y"),
        ([[person(0)], [person(1) | {"keypoints": {"x": [1], "y": []}}]], "frame 1: .*as many x as y"),
        ([[person(0)], [person(1) | {"keypoints": {"x": ["a"], "y": [2], "visible": [1]}}]], "K points"),
        (
            [[person(0) | {"keypoints": {"x": [1, 5], "y": [2, 6], "visible": [1, 1]}}]],
            "17 keypoints a person, found 2",
        ),
    ],
)
def test_json_that_cannot_be_used_says_where_and_why(tmp_path, document, message):
    with pytest.raises(RecordingError, match=message):
        read_json(tmp_path, document)


@pytest.mark.parametrize("text", ["0 0.5 0.5\n", line(0)[:-1] + " x\n", "\u00e9\n", line(0).replace("0.5 ", "nan ", 1)])
def test_a_label_file_that_cannot_be_used_says_where_and_why(tmp_path, text):
    write_labels(tmp_path, {1: [line(0)], 2: [text]})
    with pytest.raises(RecordingError, match=r"clip_2\.txt: labels: expected lines of 39 or "):
        read(tmp_path)


def test_a_label_file_that_the_user_names_needs_a_number(tmp_path):
    (tmp_path / "clip.txt").write_text(line(0))
    recording = Recording(path=str(tmp_path / "clip.txt"), reader="ultralytics", source=SOURCE)
    with pytest.raises(RecordingError, match=r"name: expected a frame number at its end, .* found 'clip\.txt'"):
        list(READER.read(recording))


def test_a_line_that_is_cut_off_says_so(tmp_path):
    (tmp_path / "results.jsonl").write_text(json.dumps([person(0)]) + "\n" + json.dumps([person(0)])[:-9])
    with pytest.raises(RecordingError, match="line 2: expected a JSON document"):
        read(tmp_path)


def fuzzed(content: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    where = int(rng.integers(len(damaged)))
    if rng.random() < 0.3:
        del damaged[where:]
    damaged[where : where + 1] = rng.bytes(1)
    return bytes(damaged)


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("fuzz")
    write_labels(folder, {t: [line(10 + t, 0.9, 1), line(300, 0.9, 2)] for t in range(3)})
    frames = [[person(10 + t), person(300)] for t in range(3)]
    (folder / "list.json").write_text(json.dumps(frames))
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, frames)))
    for name in ("clip_0.txt", "clip_2.txt", "list.json", "lines.jsonl"):
        (folder / name).write_bytes(fuzzed((folder / name).read_bytes(), seed))
    find(folder)
    for name, others in (
        ("clip_0.txt", ("clip_1.txt", "clip_2.txt", "video.json")),
        ("list.json", ()),
        ("lines.jsonl", ()),
    ):
        companions = tuple(str(folder / other) for other in others)
        recording = Recording(path=str(folder / name), reader="ultralytics", source=SOURCE, companions=companions)
        with contextlib.suppress(RecordingError):
            for sequence in READER.read(recording):
                assert np.isfinite(pixels(sequence)).all()
