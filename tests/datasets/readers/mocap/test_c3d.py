"""C3D files written here after the format's guide, with markers whose joints are added up by hand."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.files import list_files
from datasets.joints.marker_sets import PLUG_IN_GAIT, markers_to_h36m17
from datasets.quality.checks import check
from datasets.readers.mocap.c3d import READER, SOURCES
from datasets.readers.mocap.c3d_file import parse_c3d
from datasets.sequences import MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.c3d_files import PROCESSORS, write_c3d

# Metres, x right, y forward, Z up; the left side. Markers that no joint is made of stand at (0.5, 0.5, 0.5).
LEFT = {
    "FHD": (-0.07, 0.09, 1.66), "BHD": (-0.07, -0.09, 1.66), "SHO": (-0.19, 0, 1.45), "ELB": (-0.45, 0, 1.45),
    "WRA": (-0.7, 0.03, 1.45), "WRB": (-0.7, -0.03, 1.45), "ASI": (-0.12, 0.1, 1), "PSI": (-0.05, -0.1, 1),
    "KNE": (-0.12, 0.02, 0.5), "ANK": (-0.12, 0, 0.08),
}  # fmt: skip
MIDDLE = {"C7": (0, -0.08, 1.5), "CLAV": (0, 0.06, 1.44), "T10": (0, -0.12, 1.25), "STRN": (0, 0.1, 1.23)}
MARKERS = {
    **MIDDLE, **{"L" + name: xyz for name, xyz in LEFT.items()},
    **{"R" + name: (-x, y, z) for name, (x, y, z) in LEFT.items()},
}  # fmt: skip
POINTS_M3 = np.array([MARKERS.get(name, (0.5, 0.5, 0.5)) for name in PLUG_IN_GAIT])
# By the table: hips at 0.6 ASI + 0.4 PSI, 80 mm lower; then turned to Y up, so that x y z become x z -y.
LEFT_JOINTS = {
    "hip": (-0.092, 0.92, -0.02), "knee": (-0.12, 0.5, -0.02), "ankle": (-0.12, 0.08, 0),
    "shoulder": (-0.19, 1.45, 0), "elbow": (-0.45, 1.45, 0), "wrist": (-0.7, 1.45, 0),
}  # fmt: skip
JOINTS = {
    "root": (0, 0.92, -0.02), "belly": (0, 1.24, 0.01), "neck": (0, 1.47, 0.01), "nose": (0, 1.565, 0.005),
    "head": (0, 1.66, 0), **{"l" + joint: xyz for joint, xyz in LEFT_JOINTS.items()},
    **{"r" + joint: (-x, y, z) for joint, (x, y, z) in LEFT_JOINTS.items()},
}  # fmt: skip


def points(unit=1000.0, points_M3=POINTS_M3, num_frames=3):
    """A person who walks 10 mm a frame to the right, in so many units a metre."""
    steps_T3 = np.arange(num_frames)[:, None] * (0.01, 0, 0)
    return (points_M3 + steps_T3[:, None]) * unit


def read_all(folder: Path, content: bytes, name="lab/a.c3d") -> list[MotionSequence]:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    [recording] = READER.find(list_files(str(folder)))
    return [check(sequence) for sequence in READER.read(recording)]


def read(folder: Path, content: bytes, name="lab/a.c3d") -> MotionSequence:
    [sequence] = read_all(folder, content, name)
    return sequence


def assert_joints(sequence: MotionSequence, expected=JOINTS, *, frame=0, atol=1e-6):
    assert sequence.keypoints_3d_TJC is not None
    for j, joint in enumerate(H36M17.joints):
        found = sequence.keypoints_3d_TJC[frame, j]
        np.testing.assert_allclose(found, expected.get(joint, (0, 0, 0)), atol=atol, err_msg=joint)
        assert sequence.confidence_TJ[frame, j] == (joint in expected), joint


@pytest.mark.parametrize("analog", [0, 5])
@pytest.mark.parametrize("scale", [-1.0, 0.1])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_way_to_write_numbers_gives_the_same_joints(tmp_path, processor, scale, analog):
    content = write_c3d(points(), PLUG_IN_GAIT, processor=processor, scale=scale, analog=analog, rate=120.0)
    sequence = read(tmp_path, content)
    assert_joints(sequence, atol=1e-4)
    assert_joints(sequence, {joint: np.add(xyz, (0.02, 0, 0)) for joint, xyz in JOINTS.items()}, frame=2, atol=1e-4)
    assert (sequence.fps, sequence.num_frames) == (120, 3)
    assert sequence.repairs == ("up axis not stated: +Z by the spine",)


@pytest.mark.parametrize(
    ("units", "per_metre"), [("mm", 1000), ("CM", 100), ("m", 1), ("meters", 1), ("Inches", 1 / 0.0254), ("mm\0", 1000)]
)
def test_the_unit_is_the_one_that_the_file_states(tmp_path, units, per_metre):
    sequence = read(tmp_path, write_c3d(points(per_metre), PLUG_IN_GAIT, units=units, axes=("+X", "+Z")))
    assert_joints(sequence)
    assert sequence.repairs == ()


@pytest.mark.parametrize(("per_metre", "name"), [(1000, "mm"), (100, "cm"), (1, "m")])
def test_a_unit_that_is_not_stated_is_found_from_human_proportions(tmp_path, per_metre, name):
    sequence = read(tmp_path, write_c3d(points(per_metre), PLUG_IN_GAIT, units=""))
    assert_joints(sequence)
    assert sequence.repairs[0] == f"unit not stated: {name} by human proportions"


@pytest.mark.parametrize("axes", [None, ("+X", "+Y")])
def test_y_up_is_kept(tmp_path, axes):
    upright_M3 = POINTS_M3[:, [0, 2, 1]] * (1, 1, -1)
    assert_joints(read(tmp_path, write_c3d(points(points_M3=upright_M3), PLUG_IN_GAIT, axes=axes)))


def test_people_lying_down_are_not_stood_up_if_the_file_states_its_axes(tmp_path):
    lying_M3 = POINTS_M3[:, [0, 2, 1]] * (1, -1, 1)  # on the back: forward is up, and head is -y
    sequence = read(tmp_path, write_c3d(points(points_M3=lying_M3), PLUG_IN_GAIT, axes=("+X", "+Z")))
    assert_joints(sequence, {joint: (x, -z, y) for joint, (x, y, z) in JOINTS.items()})


def around(num_frames=60):
    """The body of ``POINTS_M3`` as it walks three metres ahead and a half aside, arms and all, Z up."""
    way_T3 = np.linspace(0, 1, num_frames)[:, None] * (0.5, 3, 0)
    return POINTS_M3 + way_T3[:, None]


@pytest.mark.parametrize("stated", ["+Y", "-Z", "+X"])
def test_an_axis_that_the_walking_body_contradicts_is_not_believed(tmp_path, stated):
    sequence = read(tmp_path, write_c3d(around() * 1000, PLUG_IN_GAIT, axes=("+X", stated)))
    assert_joints(sequence, atol=1e-4)
    [said] = sequence.repairs
    assert said.startswith(f"up axis +Z, not {stated} as stated: people stand along it")


def test_people_lying_down_are_not_stood_up_if_there_is_a_floor(tmp_path):
    """On the back with the head to -y, moving the arms, at some place; no axes are stated."""
    lying_M3 = POINTS_M3[:, [0, 2, 1]] * (1, -1, 1) + (0.7, 2.9, 0.15)
    points_TM3 = np.repeat(lying_M3[None], 60, axis=0)
    points_TM3[:, [PLUG_IN_GAIT.index(name) for name in ("LWRA", "LWRB")], 1] += (
        0.2 * np.sin(np.arange(60) / 3)[:, None]
    )
    sequence = read(tmp_path, write_c3d(points_TM3 * 1000, PLUG_IN_GAIT))
    assert sequence.repairs == ("up axis not stated: +Z by the floor",)
    assert_joints(sequence, {joint: (x + 0.7, 0.15 - z, y - 2.9) for joint, (x, y, z) in JOINTS.items()}, atol=1e-4)


OWN_SET = {
    "root": ["hip_l", "hip_r"], "lhip": "hip_l", "rhip": "hip_r", "neck": ["c7", "chest"],
    "lknee": ["l_knee_in", "l_knee_out"], "rknee": ["r_knee_in", "r_knee_out"],
    "lankle": "l_ankle", "rankle": "r_ankle",
}  # fmt: skip
OWN_MARKERS = {
    "hip_l": (-0.1, 0, 0.9), "hip_r": (0.1, 0, 0.9), "c7": (0, -0.08, 1.44), "chest": (0, 0.08, 1.36),
    "l_knee_in": (-0.06, 0, 0.5), "l_knee_out": (-0.14, 0, 0.5), "r_knee_in": (0.06, 0, 0.5),
    "r_knee_out": (0.14, 0, 0.5), "l_ankle": (-0.1, 0, 0.1), "r_ankle": (0.1, 0, 0.1), "ball": (3, 3, 3),
}  # fmt: skip
OWN_JOINTS = {
    "root": (0, 0.9, 0), "neck": (0, 1.4, 0), "lhip": (-0.1, 0.9, 0), "lknee": (-0.1, 0.5, 0), "lankle": (-0.1, 0.1, 0),
    "rhip": (0.1, 0.9, 0), "rknee": (0.1, 0.5, 0), "rankle": (0.1, 0.1, 0),
}  # fmt: skip


def read_with_map(folder: Path, content: bytes, joint_map) -> list[MotionSequence]:
    (folder / "joint_map.json").write_text(json.dumps(joint_map))
    (folder / "a.c3d").write_bytes(content)
    [recording] = READER.find(list_files(str(folder)))
    return list(READER.read(recording))


@pytest.mark.parametrize("subjects", [("",), ("Ann:", "Bob:")])
def test_a_marker_set_of_the_user_s_own_is_read_by_a_joint_map(tmp_path, subjects):
    own_TM3 = points(points_M3=np.array(list(OWN_MARKERS.values())))
    content = write_c3d(
        np.concatenate([own_TM3] * len(subjects), axis=1), [who + name for who in subjects for name in OWN_MARKERS]
    )
    sequences = read_with_map(tmp_path, content, {"joints": OWN_SET, "up": "+Z"})
    assert [each.sequence_id.rpartition("/")[2] for each in sequences] == (["Ann", "Bob"] if subjects[0] else ["a.c3d"])
    for sequence in sequences:
        assert_joints(sequence, OWN_JOINTS)
        assert sequence.repairs == ()


def test_a_joint_of_a_map_is_absent_where_one_of_its_markers_is_lost(tmp_path):
    points_TM3 = points(points_M3=np.array(list(OWN_MARKERS.values())))
    points_TM3[1, list(OWN_MARKERS).index("l_knee_in")] = np.nan
    [sequence] = read_with_map(tmp_path, write_c3d(points_TM3, list(OWN_MARKERS)), {"joints": OWN_SET, "up": "+Z"})
    moved = {joint: np.add(xyz, (0.01, 0, 0)) for joint, xyz in OWN_JOINTS.items() if joint != "lknee"}
    assert_joints(sequence, moved, frame=1)


def test_a_map_may_correct_unit_and_axis_of_a_known_marker_set(tmp_path):
    content = write_c3d(points(100), PLUG_IN_GAIT, units="mm", axes=("+X", "+Y"))
    [sequence] = read_with_map(tmp_path, content, {"unit_m": 0.01, "up": "+Z"})
    assert_joints(sequence)


def test_a_map_for_other_files_in_the_folder_is_left_aside(tmp_path):
    [sequence] = read_with_map(
        tmp_path, write_c3d(points(), PLUG_IN_GAIT), {"joints": {"root": "Hips", "head": "Head"}}
    )
    assert_joints(sequence)


def test_a_map_that_lacks_one_of_its_markers_in_the_file_is_an_error_that_names_it(tmp_path):
    joint_map = {"joints": OWN_SET | {"head": "top"}}
    own_TM3 = points(points_M3=np.array(list(OWN_MARKERS.values())))
    with pytest.raises(RecordingError, match=r"joint_map\.json: joint map: .*not in it: {'head': 'top'}"):
        read_with_map(tmp_path, write_c3d(own_TM3, list(OWN_MARKERS)), joint_map)


def lose(*markers, frame=1):
    seen_TM = np.ones((3, len(PLUG_IN_GAIT)), bool)
    seen_TM[frame, [PLUG_IN_GAIT.index(marker) for marker in markers]] = False
    return seen_TM


@pytest.mark.parametrize(
    ("marker", "joints"),
    [
        ("LKNE", {"lknee"}), ("RWRB", {"rwrist"}), ("LBHD", {"head", "nose"}), ("C7", {"neck", "nose"}),
        ("RPSI", {"root", "lhip", "rhip"}), ("LUPA", set()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["residual", "zeros", "nan"])
def test_a_joint_without_one_of_its_markers_is_absent_in_that_frame(tmp_path, marker, joints, way):
    seen_TM, points_TM3 = lose(marker), points()
    if way != "residual":
        points_TM3[~seen_TM] = 0 if way == "zeros" else np.nan
    content = write_c3d(points_TM3, PLUG_IN_GAIT, seen_TM=seen_TM if way == "residual" else None)
    sequence = read(tmp_path, content)
    moved = {joint: np.add(xyz, (0.01, 0, 0)) for joint, xyz in JOINTS.items() if joint not in joints}
    assert_joints(sequence, moved, frame=1)
    assert_joints(sequence)


def test_the_names_of_cmu_are_known_and_so_is_its_numbering(tmp_path):
    waist = {"LASI": "LFWT", "RASI": "RFWT", "LPSI": "LBWT", "RPSI": "RBWT"}
    sequence = read(tmp_path, write_c3d(points(), [waist.get(name, name) for name in PLUG_IN_GAIT]), "35_01.c3d")
    assert_joints(sequence)
    assert (sequence.source.name, sequence.sequence_id, sequence.subject) == ("cmu", "35_01.c3d", "cmu/35")


def test_one_sacral_marker_stands_for_both_of_the_back(tmp_path):
    points_M3, labels = POINTS_M3.copy(), list(PLUG_IN_GAIT)
    points_M3[labels.index("LPSI")] = (0, -0.1, 1)
    labels[labels.index("LPSI")], labels[labels.index("RPSI")] = "SACR", "ball"
    hips = {"lhip": (-0.072, 0.92, -0.02), "rhip": (0.072, 0.92, -0.02)}
    assert_joints(read(tmp_path, write_c3d(points(points_M3=points_M3), labels)), JOINTS | hips)


def test_legs_alone_are_a_body_whose_other_joints_are_absent(tmp_path):
    labels = [name if name[1:] in ("ASI", "PSI", "KNE", "ANK") else f"*{n}" for n, name in enumerate(PLUG_IN_GAIT)]
    content = write_c3d(points(), labels, axes=("+X", "+Z"))
    legs = {joint: xyz for joint, xyz in JOINTS.items() if joint[1:] in ("hip", "knee", "ankle") or joint == "root"}
    assert_joints(read(tmp_path, content), legs)


def test_each_subject_of_a_file_is_a_sequence(tmp_path):
    labels = [f"Ann:{name}" for name in PLUG_IN_GAIT] + [f"Bob_{name}" for name in PLUG_IN_GAIT] + ["ball:1", "C7"]
    both_TM3 = np.concatenate([points(), np.add(points(), (1000, 0, 0)), points()[:, :2]], axis=1)
    ann, bob = read_all(tmp_path, write_c3d(both_TM3, labels, subjects=("Ann", "Bob")))
    assert_joints(ann)
    assert_joints(bob, {joint: np.add(xyz, (1, 0, 0)) for joint, xyz in JOINTS.items()})
    assert [each.sequence_id for each in (ann, bob)] == ["lab/a.c3d/Ann", "lab/a.c3d/Bob"]
    assert [each.subject for each in (ann, bob)] == ["c3d/ann", "c3d/bob"]


@pytest.mark.parametrize(
    ("name", "prefix", "subject"),
    [("lab/a.c3d", "", "c3d/lab"), ("lab/a.c3d", "Jim:", "c3d/jim"), ("subject07/a.c3d", "Jim:", "c3d/subject07")],
)
def test_the_subject_is_the_one_that_path_or_labels_name(tmp_path, name, prefix, subject):
    sequence = read(tmp_path, write_c3d(points(), [prefix + each for each in PLUG_IN_GAIT]), name)
    assert (sequence.subject, sequence.sequence_id) == (subject, name)


def test_more_than_255_points_go_on_in_labels2(tmp_path):
    extra_TM3 = np.ones((3, 300, 3))
    labels = [f"x{n}" for n in range(300)] + list(PLUG_IN_GAIT)
    assert_joints(read(tmp_path, write_c3d(np.concatenate([extra_TM3, points()], axis=1), labels)))


@pytest.mark.parametrize("first", [7, 100_000])
def test_a_trial_that_begins_late_has_all_its_frames_and_no_more(tmp_path, first):
    assert read(tmp_path, write_c3d(points(num_frames=5), PLUG_IN_GAIT, first=first)).num_frames == 5


@pytest.mark.parametrize("counts", [("TRIAL", "FRAMES"), ("FRAMES",), ("LONG_FRAMES",), ()])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_frames_may_count_from_0_and_be_stated_in_one_place_or_another(tmp_path, first, counts):
    content = write_c3d(points(num_frames=5), PLUG_IN_GAIT, first=first, counts=counts, rate=120.0)
    sequence = read(tmp_path, content)
    assert (sequence.num_frames, sequence.fps) == (5, 120)
    assert_joints(sequence, {joint: np.add(xyz, (0.04, 0, 0)) for joint, xyz in JOINTS.items()}, frame=4)


@pytest.mark.parametrize("trial", [(1, 500), (1, 2), (0, 0)])
def test_a_trial_that_was_cut_has_the_frames_that_are_in_the_file(tmp_path, trial):
    content = write_c3d(points(num_frames=5), PLUG_IN_GAIT, first=101, trial=trial)
    assert read(tmp_path, content).num_frames == 5


@pytest.mark.parametrize("counts", [("TRIAL", "FRAMES"), ("LONG_FRAMES", "FRAMES"), ("FRAMES",), ()])
@pytest.mark.parametrize("last_in_header", [65535, 66_001 - 65_536])  # cut to 16 bits, or its lower 16 bits
@pytest.mark.parametrize("num_points", [1, 20])
def test_more_frames_than_16_bits_can_count_are_all_read(num_points, last_in_header, counts):
    points_TM3 = np.ones((66_001, num_points, 3))
    content = bytearray(write_c3d(points_TM3, ["x"] * num_points, scale=1.0, counts=counts))
    content[8:10] = last_in_header.to_bytes(2, "little")
    trial = parse_c3d(bytes(content), "long.c3d")
    assert trial.points_TP3.shape == (66_001, num_points, 3)
    assert trial.seen_TP.all()


def test_exchanged_sides_are_refused(tmp_path):
    labels = [{"L": "R", "R": "L"}.get(name[0], name[0]) + name[1:] for name in PLUG_IN_GAIT]
    with pytest.raises(RecordingError, match="left and right"):
        read(tmp_path, write_c3d(points(), labels))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header: expected the C3D key"),
        (b"\x02\x50" * 600, "header: expected the C3D key"),
        (write_c3d(points(), PLUG_IN_GAIT)[:530], "header or parameters: expected C3D"),
        (write_c3d(points(), PLUG_IN_GAIT)[:-1000], r"3 frames of 39 points = 1872 bytes, found 1048"),
        (write_c3d(points(), ["x"] * 39), r"pelvis markers of a set we know.*found x, x.*joint_map\.json"),
        (write_c3d(points(), PLUG_IN_GAIT, rate=0.0), "POINT:RATE"),
        (write_c3d(points(1e9), PLUG_IN_GAIT), "markers within 1000 m"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content)


def test_it_is_known_by_its_content_and_nothing_else_is_claimed(tmp_path):
    (tmp_path / "trial").write_bytes(write_c3d(points(), PLUG_IN_GAIT))
    (tmp_path / "zip").write_bytes(b"PK\x03\x04" * 2000)
    (tmp_path / "text").write_text("\x02P" + "T" * 5000)
    (tmp_path / "empty").write_bytes(b"")
    assert [Path(each.path).name for each in READER.find(list_files(str(tmp_path)))] == ["trial"]


SMALL = write_c3d(points(), PLUG_IN_GAIT)


@given(st.lists(st.tuples(st.integers(0, 1600), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 4000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_changed_or_cut_off_give_a_motion_or_a_reason(changes, cut):
    content = bytearray(SMALL)
    for position, byte in changes:
        content[position] = byte
    fsspec.filesystem("memory").pipe_file("/a.c3d", bytes(content[: len(SMALL) if cut < 2000 else cut]))
    try:
        sequences = list(READER.read(Recording(path="memory://a.c3d", reader="c3d", source=SOURCES[0])))
    except RecordingError:
        return
    for sequence in sequences:
        assert sequence.keypoints_3d_TJC is not None
        assert np.isfinite(sequence.keypoints_3d_TJC).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_joints_move_with_the_body_whatever_way_it_is_turned(seed):
    """Hips hang below the pelvis in its own axes, so a turned body has turned joints."""
    turn_33 = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turn_33 *= np.linalg.det(turn_33)
    seen_1M = np.ones((1, len(PLUG_IN_GAIT)), bool)
    straight_1J3, _ = markers_to_h36m17(PLUG_IN_GAIT, POINTS_M3[None], seen_1M)
    turned_1J3, _ = markers_to_h36m17(PLUG_IN_GAIT, POINTS_M3[None] @ turn_33.T, seen_1M)
    np.testing.assert_allclose(turned_1J3, straight_1J3 @ turn_33.T, atol=1e-12)
