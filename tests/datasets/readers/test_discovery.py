"""What paths say, and whose file is whose."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from datasets.assembly.path_rules import HDM05, identify
from datasets.files import head, list_files, read_bytes
from datasets.readers.discovery import find_in, find_recordings
from datasets.readers.registry import READERS


@pytest.mark.parametrize(
    ("path", "file_format", "source", "sequence_id", "subject", "label"),
    [
        ("/d/any/08_01.bvh", "bvh", "cmu", "08_01.bvh", "cmu/08", None),
        ("08_01.amc", "amc", "cmu", "08_01.amc", "cmu/08", None),
        ("s3://b/141_12.BVH", "bvh", "cmu", "141_12.bvh", "cmu/141", None),
        ("/d/02_01_ignoreFirstFrame.bvh", "bvh", "cmu", "02_01_ignoreFirstFrame.bvh", "cmu/02", None),
        ("/d/3/HDM_dg_grabHighR_014_120.amc", "amc", "hdm05", "HDM_dg_grabHighR_014_120.amc", "hdm05/dg", 2),
        ("/d/HDM_bk_squat1Reps_006_120.AMC", "amc", "hdm05", "HDM_bk_squat1Reps_006_120.amc", "hdm05/bk", 9),
        ("/d/HDM_mm_cartwheel_006_120.amc", "amc", "hdm05", "HDM_mm_cartwheel_006_120.amc", "hdm05/mm", None),
        ("/d/fair_bvh/dab.bvh", "bvh", "fair", "dab.bvh", "fair/fair_bvh", None),
        ("/d/lafan/walk1_subject5.bvh", "bvh", "bvh", "lafan/walk1_subject5.bvh", "bvh/subject5", None),
        ("/d/mine/walk.bvh", "bvh", "bvh", "mine/walk.bvh", "bvh/mine", None),
        ("/d/mine/walk.amc", "amc", "amc", "mine/walk.amc", "amc/mine", None),
    ],
)  # fmt: skip
def test_a_path_says_what_it_is(path, file_format, source, sequence_id, subject, label):
    identity = identify(path, file_format)
    assert (identity.source.name, identity.sequence_id, identity.subject) == (source, sequence_id, subject)
    assert identity.label == label
    assert label is None or identity.action == HDM05.labels[label]


def test_each_file_has_one_reader_and_the_rest_is_reported(tmp_path):
    results = '[{"image_id": "0.jpg", "keypoints": [1, 2, 3]}]'
    contents = {
        "a/01_01.bvh": "", "a/01.asf": "", "a/01_01.AMC": "", "b/results.json": results,
        "b/openpose.json": '{"people": []}',
        "b/scan.fbx": "", "b/all.tar.gz": "", "README": "", "LICENSE.txt": "", "notes.md": "", "trials.csv": "",
        "b/points.txt": "0.1 0.2 0.3\n" * 9, "b/prose.txt": "as of 2024, 3 walks",
        "b/0.jpg": "", ".hidden/02_02.bvh": "", "a/.DS_Store": "",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    recordings, unknown = find_recordings(list_files(str(tmp_path)))
    found = [(recording.path.removeprefix(f"{tmp_path}/"), recording.reader) for recording in recordings]
    assert found == [("a/01_01.AMC", "amc"), ("a/01_01.bvh", "bvh"), ("b/results.json", "alphapose")]
    assert recordings[0].companions == (f"{tmp_path}/a/01.asf",)
    assert recordings[2].size == len(results)
    names = [file.path.removeprefix(f"{tmp_path}/") for file in unknown]
    assert names == ["b/all.tar.gz", "b/openpose.json", "b/points.txt", "b/scan.fbx"]


def test_a_file_named_alone_has_its_companions_and_nothing_else(tmp_path):
    for name in ("01.asf", "01_01.amc", "01_02.amc", "walk.bvh", "joint_map.json", "notes.txt"):
        (tmp_path / name).write_text("")
    [amc], unknown = find_in(str(tmp_path / "01_01.amc"))
    assert (amc.path, amc.companions, unknown) == (f"{tmp_path}/01_01.amc", (f"{tmp_path}/01.asf",), [])
    [bvh], _ = find_in(str(tmp_path / "walk.bvh"))
    assert bvh.companions == (f"{tmp_path}/joint_map.json",)
    assert find_in(str(tmp_path / "notes.txt")) == ([], [])


@pytest.mark.parametrize("named", ["actor/walks", "actor/walks/07_01.amc"])
def test_a_skeleton_may_lie_above_the_input(tmp_path, named):
    (tmp_path / "actor" / "walks").mkdir(parents=True)
    for name in ("07.asf", "actor/walks/07_01.amc", "video.json"):
        (tmp_path / name).write_text("")
    [found], unknown = find_in(str(tmp_path / named))
    assert (found.companions, unknown) == ((f"{tmp_path}/07.asf",), [])


def test_a_companion_that_changes_is_seen_in_its_recordings(tmp_path):
    (tmp_path / "walk.bvh").write_text("")
    found = []
    for root in "ab":
        (tmp_path / "joint_map.json").write_text(f'{{"joints": {{"root": "{root}"}}}}')
        head.cache_clear()  # as in another run
        found += find_in(str(tmp_path))[0]
    assert found[0] != found[1]
    assert replace(found[0], companions_digest="") == replace(found[1], companions_digest="")


def test_a_format_that_the_user_names_takes_a_file_whatever_it_looks_like(tmp_path):
    for name in ("01.asf", "01_01.data"):
        (tmp_path / name).write_text("")
    (tmp_path / "01_01.data").write_text("1 2 3")
    [found], unknown = find_in(str(tmp_path / "01_01.data"), {"gast": READERS["gast"]})
    assert unknown == []
    assert (found.path, found.reader, found.source.name) == (f"{tmp_path}/01_01.data", "gast", "gast")


@pytest.mark.parametrize(
    ("reader", "companions"),
    [
        ("alphapose", ["a/video.json"]), ("detectron2", ["a/video.json"]), ("gast", ["a/video.json"]),
        ("mediapipe", ["a/video.json"]), ("mmpose", ["a/video.json"]), ("openpose", ["a/video.json"]),
        ("rtmlib", ["a/video.json"]), ("ultralytics", ["a/video.json"]),
        ("amc", ["walk.asf", "a/video.json"]), ("bvh", ["joint_map.json"]), ("c3d", []),
    ],
)  # fmt: skip
def test_a_file_of_a_format_that_the_user_names_has_the_companions_of_that_format(tmp_path, reader, companions):
    (tmp_path / "a").mkdir()
    for name in ("a/walk_1.dat", "a/video.json", "joint_map.json", "walk.asf", "video.json"):
        (tmp_path / name).write_text("")
    [found], _ = find_in(str(tmp_path / "a" / "walk_1.dat"), {reader: READERS[reader]})
    assert list(found.companions) == [f"{tmp_path}/{name}" for name in companions]
    assert (found.companions_digest == "") == (not companions)


@pytest.mark.parametrize("named", ["", "take 3::retake", "take 3::retake/b", "take 3::retake/b/walk.bvh"])
def test_a_recording_in_a_folder_with_two_colons_in_its_name_is_found_and_can_be_read(tmp_path, named):
    path = tmp_path / "take 3::retake" / "b" / "walk.bvh"
    path.parent.mkdir(parents=True)
    path.write_text("HIERARCHY")
    [found], unknown = find_in(str(tmp_path / named))
    assert (found.path, unknown) == (str(path), [])
    assert read_bytes(found.path) == b"HIERARCHY"


def test_the_real_recordings_are_all_found(real_data):
    for folder, count in {"cmu_bvh": 91, "fair_bvh": 4, "cmu_amc": 41, "hdm05": 189}.items():
        recordings, unknown = find_recordings(list_files(str(real_data / folder)))
        assert (len(recordings), unknown) == (count, [])
        assert all(recording.companions for recording in recordings if recording.reader == "amc")


def test_the_folders_of_hdm05_are_its_labels(real_data):
    motions = [file.path for file in list_files(str(real_data / "hdm05")) if file.path.lower().endswith(".amc")]
    assert len(motions) == 189
    for path in motions:
        assert identify(path, "amc").label == int(PurePosixPath(path).parent.name) - 1
