"""Listing, reading and writing, on a local disk and in a bucket's stand-in (fsspec's memory file system)."""

import os
import uuid
from pathlib import Path

import pytest

from datasets.files import files_in, head, list_files, read_bytes, read_heads, write_aside, write_atomically
from datasets.sequences import File, RecordingError


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path) -> str:
    return str(tmp_path / "in") if request.param == "local" else f"memory://{uuid.uuid4()}"


def test_what_is_written_is_listed_and_read(folder):
    for name, content in {"b/2.bvh": b"22", "a.bvh": b"1", ".hidden": b"", "b/.cache/3.bvh": b"3"}.items():
        write_atomically(f"{folder}/{name}", content)
    files = list_files(folder)
    assert [file.size for file in files] == [1, 2]
    assert [read_bytes(file.path) for file in files] == [b"1", b"22"]
    assert read_bytes(files[1].path, first=1) == b"2"
    assert list_files(files[0].path) == [files[0]]


def test_local_paths_stay_plain_and_urls_stay_urls(tmp_path):
    write_atomically(str(tmp_path / "a.bvh"), b"1")
    assert list_files(str(tmp_path)) == [File(str(tmp_path / "a.bvh"), 1)]
    bucket = f"memory://{uuid.uuid4()}"
    write_atomically(f"{bucket}/a.bvh", b"1")
    [file] = list_files(bucket)
    assert file.path.startswith("memory://")


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        list_files(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="no file in it"):
        list_files(str(tmp_path))
    with pytest.raises(RecordingError, match=r"absent\.bvh"):
        read_bytes(str(tmp_path / "absent.bvh"))


def test_pipes_and_links_to_nothing_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.bvh")
    (tmp_path / "link.bvh").symlink_to(tmp_path / "absent")
    with pytest.raises(ValueError, match="no file in it"):
        list_files(str(tmp_path))
    (tmp_path / "a.bvh").write_text("1")
    (tmp_path / "b.bvh").symlink_to(tmp_path / "a.bvh")
    assert [Path(file.path).name for file in list_files(str(tmp_path))] == ["a.bvh", "b.bvh"]


def test_the_files_right_in_a_folder(folder):
    for name in ("a.bvh", "sub/b.bvh"):
        write_atomically(f"{folder}/{name}", b"1")
    assert [file.path.rpartition("/")[2] for file in files_in(folder)] == ["a.bvh"]
    assert files_in(f"{folder}/absent") == []


def test_heads_of_files_far_away_are_read_many_at_a_time():
    bucket = f"memory://{uuid.uuid4()}"
    for name in "abc":
        write_atomically(f"{bucket}/{name}", name.encode() * 5000)
    files = list_files(bucket)
    read_heads(files)
    assert [head(file) for file in files] == [name.encode() * 4096 for name in "abc"]


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_aside(tmp_path):
    path = str(tmp_path / "deep" / "report.json")
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert read_bytes(path) == b"new"
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["report.json"]


@pytest.mark.parametrize("mark", [None, "mine"])
def test_a_folder_takes_its_place_when_it_is_whole(tmp_path, mark):
    target = tmp_path / "deep" / "strip.png"
    with write_aside(target, mark=mark) as aside:
        assert aside.suffix == ".png"
        aside.mkdir()
        (aside / "a").write_text("1")
        assert not target.exists()
    assert [path.relative_to(target.parent) for path in target.parent.rglob("*")] == [
        Path("strip.png"),
        Path("strip.png/a"),
    ]


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")

    def fail() -> None:
        with write_aside(target) as aside:
            aside.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_left_under_a_mark_is_removed_first(tmp_path):
    target = tmp_path / "cache"
    (tmp_path / ".filling.cache").mkdir()
    (tmp_path / ".filling.cache" / "half").write_text("1")
    with write_aside(target, mark="filling") as aside:
        aside.mkdir()
    assert [list(tmp_path.iterdir()), list(target.iterdir())] == [[target], []]
