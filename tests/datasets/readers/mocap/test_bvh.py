"""BVH files written here by hand, with positions known from the offsets; and the real ones, where they are."""

from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.files import list_files
from datasets.readers.discovery import find_recordings
from datasets.readers.mocap.bvh import READER, SOURCES, frame_rate, node_positions, parse_bvh
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.bvh_files import AT_REST, HEAD_END, body, write_bvh
from tests.datasets.reading import metres


def read(path: Path, content: bytes) -> MotionSequence:
    path.write_bytes(content)
    [recording] = READER.find([File(str(path), len(content))])
    [sequence] = READER.read(recording)
    return sequence


MOTION = "MOTION Frames: 1 Frame Time: 0.01"


def assert_joints(sequence, expected, frame=0):
    assert sequence.keypoints_3d_TJC is not None
    for joint, xyz in expected.items():
        found = sequence.keypoints_3d_TJC[frame, H36M17.index(joint)]
        np.testing.assert_allclose(found, xyz, atol=1e-5, err_msg=joint)


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize("prefix", ["", "mixamorig:"])
def test_a_body_at_rest_stands_where_its_offsets_say(tmp_path, eol, prefix):
    sequence = read(tmp_path / "a.bvh", write_bvh(eol=eol, prefix=prefix, frames=[{"root": (0, 0.9, 0.5)}] * 2))
    assert_joints(sequence, {joint: np.add(xyz, (0, 0.9, 0.5)) for joint, xyz in AT_REST.items()})
    assert sequence.fps == 30
    assert sequence.num_frames == 2
    assert (sequence.confidence_TJ == 1).all()


def test_a_quarter_turn_of_the_shoulder_lifts_the_arm(tmp_path):
    frames = [{}, {"LeftArm": (90, 0, 0), "LeftForeArm": (0, 0, 90)}]  # about Z, then the forearm about its own Y
    sequence = read(tmp_path / "a.bvh", write_bvh(frames=frames))
    lifted = {"lshoulder": (0.18, 0.45, 0), "lelbow": (0.18, 0.73, 0), "lwrist": (0.18, 0.73, -0.25)}
    assert_joints(sequence, AT_REST | lifted, frame=1)


@given(st.permutations("XYZ"), st.lists(st.floats(-180, 180), min_size=9, max_size=9))
@settings(max_examples=30, deadline=None)
def test_rotations_are_those_of_an_independent_library_in_any_channel_order(order, angles):
    angles = np.round(angles, 6)  # as the writer does
    joints = {"a": ("", (0, 0, 0)), "b": ("a", (1, 2, 3)), "c": ("b", (0, -1, 2))}
    frame = dict(zip("abc", angles.reshape(3, 3).tolist(), strict=True))
    bvh = parse_bvh(write_bvh(joints, [frame], order="".join(order)), "test.bvh")
    a, b, c = (Rotation.from_euler("".join(order), frame[name], degrees=True) for name in "abc")
    at_b = a.apply((1, 2, 3))
    at_c = at_b + (a * b).apply((0, -1, 2))
    expected = [(0, 0, 0), at_b, at_c, at_c + (a * b * c).apply(HEAD_END)]
    np.testing.assert_allclose(node_positions(bvh.hierarchy, bvh.motion_TK)[0], expected, atol=1e-9)


@pytest.mark.parametrize(("unit", "name"), [(1, "m"), (100, "cm"), (1000, "mm"), (1 / 0.0254, "inch")])
def test_the_unit_is_found_from_human_proportions(tmp_path, unit, name):
    sequence = read(tmp_path / "a.bvh", write_bvh(unit=unit))
    assert_joints(sequence, AT_REST)
    assert sequence.repairs == (f"unit not stated: {name} by human proportions",)


def test_a_unit_that_nothing_explains_gives_a_person_of_average_stature(tmp_path):
    sequence = read(tmp_path / "a.bvh", write_bvh(unit=20))
    scale = 1.7 / (1.59 / 0.96)  # leg .84 + spine .75 stand for .96 of the stature
    assert_joints(sequence, {joint: np.multiply(xyz, scale) for joint, xyz in AT_REST.items()})
    assert "unit unknown" in sequence.repairs[0]


def test_z_up_is_turned_to_y_up_and_left_stays_left(tmp_path):
    sequence = read(tmp_path / "a.bvh", write_bvh(turn=lambda xyz: (xyz[0], -xyz[2], xyz[1])))
    assert_joints(sequence, AT_REST)
    assert "turned from +Z up to Y up" in sequence.repairs


def test_people_lying_down_are_not_stood_up(tmp_path):
    sequence = read(tmp_path / "a.bvh", write_bvh(frames=[{"Hips": (0, 90, 0)}] * 3))  # on the back: Y to Z
    assert_joints(sequence, {joint: (x, -z, y) for joint, (x, y, z) in AT_REST.items()})


@pytest.mark.parametrize(
    ("text", "rate"),
    [(".0083333", 120), ("0.0333333", 30), ("0.0333", 30), ("0.008342", 120 / 1.001), ("0.01", 100), ("0.04", 25)],
)
def test_rounded_frame_times_stand_for_exact_rates(text, rate):
    assert frame_rate(float(text)) == pytest.approx(rate, rel=1e-12)


def cmu_body() -> dict[str, tuple[str, tuple[float, ...]]]:
    trunk = {
        "Hips": ("", (0, 0, 0)), "LHipJoint": ("Hips", (0, 0, 0)), "LowerBack": ("Hips", (0, 0, 0)),
        "Spine": ("LowerBack", (0, 2, 0)), "Spine1": ("Spine", (0, 2, 0.5)), "Neck": ("Spine1", (0, 0, 0)),
        "Neck1": ("Neck", (0, 1.4, 0)), "Head": ("Neck1", (0, 1.4, 0)), "LeftShoulder": ("Spine1", (0, 0, 0)),
        "RightShoulder": ("Spine1", (0, 0, 0)),
    }  # fmt: skip
    limbs = {
        "UpLeg": ("Hips", (1.5, -1, 0)), "Leg": ("UpLeg", (0, -7, 0)), "Foot": ("Leg", (0, -7, 0)),
        "Arm": ("Shoulder", (3, 1, 0)), "ForeArm": ("Arm", (5, 0, 0)), "Hand": ("ForeArm", (3.5, 0, 0)),
    }  # fmt: skip
    joints = body(trunk, {part: value for part, value in limbs.items() if part != "Arm"})
    for side, sign in (("Left", 1), ("Right", -1)):
        joints[f"{side}Arm"] = (f"{side}Shoulder", (sign * 3, 1, 0))
    return joints


T_POSE = {"LeftUpLeg": (-21, 0, 0), "RightUpLeg": (21, 0, 0)}
WALK = [{"root": (0, 17, 0), "LeftLeg": (0, 10.25, 0)}, {"root": (0, 17, 1), "LeftLeg": (0, 11.5, 0)}]


@pytest.mark.parametrize(("inserted", "dropped"), [([T_POSE], 1), ([T_POSE, {}], 2), ([], 0)])
def test_frames_a_converter_inserted_are_dropped_and_captured_ones_kept(tmp_path, inserted, dropped):
    sequence = read(tmp_path / "01_01.bvh", write_bvh(cmu_body(), [*inserted, *WALK], frame_time=".0083333"))
    assert sequence.num_frames == 2
    assert_joints(sequence, {"root": (0, 17 * 0.0254 / 0.45, 0)})
    assert any("inserted" in repair for repair in sequence.repairs) == (dropped > 0)


def test_the_cmu_rig_gets_its_unit_and_the_thorax_that_it_leaves_out(tmp_path):
    sequence = read(tmp_path / "01_01.bvh", write_bvh(cmu_body(), [{"root": (0, 0, 0), "LeftLeg": (0.5, 0, 0)}] * 2))
    unit = 0.0254 / 0.45
    assert_joints(sequence, {"belly": (0, 2 * unit, 0), "neck": (0, 6 * unit, unit), "nose": (0, 8.8 * unit, unit)})
    assert_joints(sequence, {"lshoulder": (3 * unit, 7 * unit, unit)})
    assert (sequence.source.name, sequence.subject) == ("cmu", "cmu/01")


def test_the_thorax_is_restored_where_bones_stand_in_the_position_channels_too(tmp_path):
    frames = [{"root": (0, 0, 0), "LeftLeg": (0.5, 0, 0)}] * 2
    expected = read(tmp_path / "01_01.bvh", write_bvh(cmu_body(), frames))
    for offsets in (True, False):
        content = write_bvh(cmu_body(), frames, positions="offsets", offsets=offsets)
        sequence = read(tmp_path / "01_02.bvh", content)
        shared = sequence.confidence_TJ > 0
        np.testing.assert_allclose(metres(sequence)[shared], metres(expected)[shared], atol=1e-6)
        assert "thorax bone restored below Neck, LeftShoulder, RightShoulder" in sequence.repairs


@pytest.mark.parametrize(
    ("name", "frame_time", "fps"),
    [
        ("62_11.bvh", ".0083333", 60),
        ("89_01_ignoreFirstFrame.bvh", ".0083333", 60),
        ("106_33.bvh", "0.008333", 60),
        ("01_01.bvh", ".0083333", 120),
        ("62_11.bvh", ".0166667", 60),
        ("62_11.bvh", ".0333333", 30),
        ("walk_62.bvh", ".0083333", 120),
    ],
)
def test_the_converter_s_rate_gives_way_where_it_is_known_to_be_wrong(tmp_path, name, frame_time, fps):
    """It wrote 1/120 s for every trial; other frame times were corrected by others and are kept."""
    sequence = read(tmp_path / name, write_bvh(cmu_body(), WALK, frame_time=frame_time))
    assert sequence.fps == fps
    said = [repair for repair in sequence.repairs if "frame rate" in repair]
    known = "frame rate 60 Hz, as is known of this subject, not the converter's 120 Hz"
    assert said == ([known] if fps == 60 and frame_time != ".0166667" else [])


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\r\n \t\r\n", b"# a comment\n\n  // another\n"])
@pytest.mark.parametrize("name", ["walk.txt", "walk.BVH.bak", "walk", "walk.motion"])
def test_a_file_is_known_by_its_first_words_whatever_it_is_called(tmp_path, name, start):
    (tmp_path / name).write_bytes(start + write_bvh())
    [recording] = find_recordings(list_files(str(tmp_path)))[0]
    assert (recording.path, recording.reader) == (str(tmp_path / name), "bvh")
    [sequence] = READER.read(recording)
    assert_joints(sequence, AT_REST)


def with_comments(text: str) -> str:
    first, *lines, last, empty = text.split("\n")
    return "\n".join(["# by a tool", "// on a day", first, "; the joints", *lines, "  # the last frame", last, empty])


SPELLINGS = {
    "a DOS end-of-file mark": lambda text: text.encode() + b"\x1a",
    "NUL bytes at the end": lambda text: text.encode() + b"\0" * 600,
    "both, and blank lines": lambda text: text.encode() + b"\r\n\r\n\x1a\0\0\0",
    "comment lines": lambda text: with_comments(text).encode(),
    "a title": lambda text: ("Motion of a walk, version 2\n" + text).encode(),
    "capitals": lambda text: text.upper().encode(),
    "small letters": lambda text: text.lower().encode(),
    "glued braces": lambda text: text.replace("\n{\n", "{").replace("\n}\n", "}").encode(),
    "one line": lambda text: " ".join(text.split()).encode(),
    "UTF-16, little end first": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-8 with its mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "decimal commas": lambda text: text.replace(".", ",").encode(),
    "commas between the numbers": lambda text: text.replace("0.500000 ", "0.500000, ").encode(),
    "a blank before the colons": lambda text: text.replace("Frames:", "Frames :").replace("Time:", "Time :").encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_that_other_readers_take_give_the_same_motion(tmp_path, spelling):
    text = write_bvh(frames=[{"root": (0, 0.97, 0.5), "LeftArm": (0.5, 0, 2.5)}, {"root": (0, 0.97, 0.75)}]).decode()
    content = SPELLINGS[spelling](text)
    assert content != text.encode()
    expected, sequence = read(tmp_path / "a.bvh", text.encode()), read(tmp_path / "b.bvh", content)
    np.testing.assert_array_equal(sequence.keypoints_3d_TJC, expected.keypoints_3d_TJC)
    np.testing.assert_array_equal(sequence.confidence_TJ, expected.confidence_TJ)
    assert (sequence.fps, sequence.repairs) == (expected.fps, expected.repairs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>404", "that begins with '<!DOCTYPE html"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "that begins with 'version https://git-lfs"),
        (b"\xff\xfeH", "UTF-16, as its byte order mark says"),
        (
            write_bvh(frames=[{}] * 3).replace(b"Frames: 3", b"Frames: 4"),
            "expected 4 frames of 54 channels = 216 numbers, found 162, which are 3 frames",
        ),
        (write_bvh(frames=[{}] * 3)[:-30], "found 159, which are 2 frames and 51 numbers more"),
        (write_bvh(frames=[{"Head": (0.123, 0, 0)}]).replace(b"0.123000", b"1.#QNAN"), "numbers, found .*1.#QNAN"),
    ],
)
def test_the_cause_is_named_where_the_text_is_something_else(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path / "a.bvh", content)


def test_a_joint_may_be_called_motion_and_have_a_number_sign(tmp_path):
    joints = {f"MOTION#{name}" if name == "Spine" else name: value for name, value in body().items()}
    joints = {
        name: (f"MOTION#{parent}" if parent == "Spine" else parent, xyz) for name, (parent, xyz) in joints.items()
    }
    assert_joints(read(tmp_path / "a.bvh", write_bvh(joints, frames=[{}, {}])), AT_REST)


def test_a_text_about_hierarchies_and_files_of_other_kinds_are_not_claimed(tmp_path):
    (tmp_path / "notes.txt").write_text("HIERARCHY of needs")
    (tmp_path / "more.txt").write_text("see HIERARCHY\nROOT Hips")
    for suffix in ("json", "asf", "md", "png", "npz"):
        (tmp_path / f"walk.{suffix}").write_bytes(write_bvh())
    assert READER.find(list_files(str(tmp_path))) == []


def test_files_whose_suffix_says_what_they_are_are_not_opened(monkeypatch):
    opened = []
    monkeypatch.setattr("datasets.assembly.text_head.head", lambda file: opened.append(file.path) or b"")
    paths = ["a.bvh", "a.asf", "a.json", "a.npz", "a.pkl", "a.mat", "a.JPG", "a.mp4", "a.txt", "a"]
    READER.find([File(path, 1) for path in paths])
    assert opened == ["a.txt", "a"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-40], "2 frames of 54 channels"),
        (lambda text: text.replace("0.100000", "0,1"), "HIERARCHY, at"),
        (lambda text: text.replace("0.123000", "nan?"), "numbers"),
        (lambda text: text[: text.index("MOTION")], "without them"),
        (
            lambda text: text.replace("Left", "One").replace("Right", "Other"),
            "head, neck, nose, root among the joints Hips",
        ),
        (
            lambda text: text.replace("LeftForeArm", "LeftArm"),
            "one joint that can be lshoulder, found LeftArm, LeftArm",
        ),
        (lambda text: text.replace("{", "", 1), "HIERARCHY"),
        (lambda text: text.replace("0.123000", "inf"), "numbers within"),
        (lambda text: text.replace("0.100000", "nan"), "HIERARCHY, at"),
        (lambda text: text.replace("CHANNELS 3", "CHANNELS 0 3").replace("Frames: 2", "Frames: 9"), "HIERARCHY"),
        (
            lambda _: (
                "HIERARCHY ROOT a { CHANNELS 3000 " + "Xrotation " * 3000 + "JOINT b { " * 2001 + "} " * 2002 + MOTION
            ),
            "at most 2000 joints",
        ),
        (lambda _: "HIERARCHY ROOT a { " + "JOINT b { " * 50 + "} " * 51 + MOTION, "51 joints for 0 channels"),
        (lambda text: text.replace("Frames: 2", "Frames: 0"), "0 frames"),
        (lambda text: text.replace("}", "", 1), "left open"),
        (lambda text: text.replace("Zrotation", "Wrotation"), "Wrotation"),
        (lambda _: "", "without them"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, spoil, message):
    text = write_bvh(frames=[{"Head": (0.123, 0, 0)}] * 2).decode()
    with pytest.raises(RecordingError, match=message) as error:
        read(tmp_path / "a.bvh", spoil(text).encode())
    assert str(tmp_path / "a.bvh") in str(error.value)


@given(st.integers(0, 20_000), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_any_byte_changed_gives_a_motion_or_a_reason(position, byte):
    content = bytearray(write_bvh(frames=[{}, {}]))
    content[position % len(content)] = byte
    fsspec.filesystem("memory").pipe_file("/a.bvh", bytes(content))
    try:
        [sequence] = READER.read(Recording(path="memory://a.bvh", reader="bvh", source=SOURCES[0]))
    except RecordingError:
        return
    assert sequence.keypoints_3d_TJC is not None
    assert np.isfinite(sequence.keypoints_3d_TJC).all()


def test_both_copies_of_a_cmu_trial_are_the_same_motion(real_data):
    whole, cut = (
        read_real(real_data / "cmu_bvh" / name).keypoints_3d_TJC for name in ("02_01.bvh", "02_01_ignoreFirstFrame.bvh")
    )
    np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize("name", ["dab", "jumping", "wave_hello", "zombie"])
def test_people_on_another_rig_stand_upright_on_the_floor(real_data, name):
    sequence = read_real(real_data / "fair_bvh" / f"{name}.bvh")
    assert sequence.keypoints_3d_TJC is not None
    heights = dict(zip(H36M17.joints, sequence.keypoints_3d_TJC[0, :, 1], strict=True))
    assert 0 < heights["lankle"] < 0.2
    assert 1.5 < heights["head"] < 1.9


def read_real(path: Path) -> MotionSequence:
    [recording] = READER.find([File(str(path), 0)])
    [sequence] = READER.read(recording)
    return sequence
