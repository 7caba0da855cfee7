"""Any bytes at all, through all of the extraction: sequences that pass the checks, or a reason in the quarantine table.

Sound small files of every format are damaged (``damage``) and extracted, with 2 GB of room and ten seconds of time
each; what takes longer fails the test. What a reader does not foresee (a ``KeyError``) costs one recording only, but
says that it is a bug; here it is one. Shapes and types are checked in the sandbox too.
"""

import gzip
import io
import json
import os
import pickle
import re
import resource
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.extraction.examine import examine_recording
from datasets.extraction.finish import finish
from datasets.extraction.plan import extend
from datasets.extraction.quarantine import Quarantined
from datasets.extraction.shard_writer import extract_shard
from datasets.files import list_files
from datasets.quality.checks import find_problems
from datasets.readers.discovery import find_in, find_recordings
from datasets.readers.registry import READERS
from datasets.sandbox import calls
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Recording
from datasets.store.parquet import open_store, segment_rows
from tests.datasets.damage import damaged
from tests.datasets.small_files import SMALL_FILES, write_body_models

FPS = 30.0
ROOM = 2 * 2**30
LIMITS = ReadLimits(seconds=10.0, memory_gb=2.0)
TYPECHECKED = Path(__file__).parents[1] / "typechecked"
MAY_CRASH = (".mat",)
"""SciPy's reader of MATLAB files ends its process on some damaged ones."""
MAY_FILL_MEMORY = (".mat", ".pkl", ".npz")
"""Sizes in them are believed."""
OF_FILES = sorted(set(READERS) - {"procedural"})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small files for each reader."""
    folder = tmp_path_factory.mktemp("sound")
    for reader, write in SMALL_FILES.items():
        (folder / reader).mkdir()
        write(folder / reader)
    return folder


@pytest.fixture(scope="module", autouse=True)
def body_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("models")
    write_body_models(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTION_BODY_MODELS", str(folder))
        yield


@pytest.fixture(scope="module", autouse=True)
def typechecked() -> Iterator[None]:
    """A sandbox of this module's own that checks shapes and types."""
    calls.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TYPECHECKED))
        yield
    calls.close()


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """No more than 2 GB above what is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def extract(recording: Recording) -> list[MotionSequence | Quarantined]:
    """What extraction makes of a recording, of which each result must be fit for the store."""

    results = list(examine_recording(recording, READERS[recording.reader], fps=FPS, limits=LIMITS))
    assert results
    for result in results:
        if isinstance(result, Quarantined):
            assert "please report: " not in result.reason
            assert "time limit: " not in result.reason
            assert "crash: " not in result.reason or recording.path.endswith(MAY_CRASH)
            assert "memory limit: " not in result.reason or recording.path.endswith(MAY_FILL_MEMORY)
            assert len(result.reason) < 3000
            named = [Path(path).name for path in (recording.path, *recording.companions)]
            assert any(name in result.reason for name in [*named, result.sequence_id or named[0]]), result.reason
            json.dumps(result.row(), ensure_ascii=False).encode()
        else:
            with np.errstate(all="ignore"):
                assert list(find_problems(result)) == []
            assert result.source.split_of(result.subject) in ("train", "test")
            assert segment_rows(result).num_rows
    return results


def found_or_named(path: Path, reader: str) -> list[Recording]:
    """What is found in a file's folder that the file belongs to; the file alone if nothing is."""
    recordings, _ = find_recordings(list_files(str(path.parent)))
    touched = [each for each in recordings if str(path) in (each.path, *each.companions)]
    return touched or named(path, reader)


def named(path: Path, reader: str) -> list[Recording]:
    """A file whose format the user names."""
    recordings, _ = find_in(str(path), {reader: READERS[reader]})
    assert recordings
    return recordings


def test_every_reader_of_files_has_small_ones():
    assert sorted(SMALL_FILES) == OF_FILES


def test_each_file_is_found_by_its_own_reader_alone_and_passes(sound):
    recordings, unknown = find_recordings(list_files(str(sound)))
    assert unknown == []
    assert {each.reader for each in recordings} == set(SMALL_FILES)
    taken = [Path(path).relative_to(sound) for each in recordings for path in (each.path, *each.companions)]
    assert {path.parts[0] for path in taken} == set(SMALL_FILES)
    once = [path for path in taken if path.name != "video.json"]
    assert len(once) == len(set(once))
    left = {str(path.relative_to(sound)) for path in sound.rglob("*") if path.is_file()} - set(map(str, taken))
    assert left <= {"ui_prmd_kinect/m03_s07_e02_angles.txt.gz"}
    for each in recordings:
        assert Path(each.path).relative_to(sound).parts[0] == each.reader
        assert not [result for result in extract(each) if isinstance(result, Quarantined)]


@pytest.mark.parametrize("reader", OF_FILES)
def test_no_file_is_anybody_elses_even_alone(sound, reader):
    files = list_files(str(sound / reader))
    claimed = {other for other in OF_FILES if READERS[other].find(files)}
    # COCO's results come as those of AlphaPose do; COCO goes first.
    assert claimed - {reader} <= {"alphapose"} if reader == "coco" else claimed == {reader}


def damage_and_extract(sound: Path, folder: Path, reader: str, seed: int) -> None:
    random = Random(seed)
    files = files_in(sound / reader)
    name = random.choice(list(files))
    write(folder, files | {name: damaged(files[name], random)})
    try:
        for recording in found_or_named(folder / name, reader):
            extract(recording)
    finally:
        shutil.rmtree(folder)


@given(seed=st.integers(0, 2**32), reader=st.sampled_from(OF_FILES))
@settings(
    max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_pass_or_are_quarantined(sound, tmp_path, seed, reader):
    damage_and_extract(sound, tmp_path / f"{reader}{seed}", reader, seed)


@pytest.mark.slow
@pytest.mark.parametrize("reader", OF_FILES)
def test_many_damaged_files_pass_or_are_quarantined(sound, tmp_path, reader):
    for seed in range(1000):
        damage_and_extract(sound, tmp_path / str(seed), reader, seed)


def only_loss(path: Path, reader: str) -> Quarantined:
    [result] = [each for found in found_or_named(path, reader) for each in extract(found)]
    assert isinstance(result, Quarantined)
    return result


def test_four_bytes_that_are_no_character(tmp_path):
    """numpy takes them; Python cannot make text of them and ends with a SystemError."""
    names = np.full(3, "S9/Walking 1/1.jpg")
    names.view(np.uint32)[5] = 0x7FFFFFFF
    np.savez(tmp_path / "a.npz", imgname=names, S=np.zeros((3, 17, 4)), part=np.zeros((3, 17, 3)))
    assert "text that is no text" in only_loss(tmp_path / "a.npz", "h36m_mmpose").reason
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"split": {"val": names}, "annotations": []}))
    assert "text that is no text" in only_loss(tmp_path / "b.pkl", "pyskl").reason


@pytest.mark.parametrize("truths", [[[True, False]], [True], True])
def test_truths_in_place_of_people(tmp_path, truths):
    truths = np.array(truths, dtype=object)
    metadata = np.array({"w": 640, "h": 480}, dtype=object)
    np.savez(tmp_path / "a.npz", boxes=truths, keypoints=truths, segments=truths, metadata=metadata)
    assert only_loss(tmp_path / "a.npz", "detectron2").reason


def test_a_bone_with_half_a_direction(sound, tmp_path):
    shutil.copytree(sound / "amc", tmp_path, dirs_exist_ok=True)
    skeleton = (tmp_path / "09.asf").read_text()
    (tmp_path / "09.asf").write_text(skeleton.replace("direction 1 0 0", "direction 1 0", 1))
    assert "a direction of 2 numbers" in only_loss(tmp_path / "09_01.amc", "amc").reason


def test_a_body_beyond_the_horizon(sound, tmp_path):
    """Finite, but the next body in 32-bit numbers is 10 m away."""
    content = pickle.loads((sound / "jhmdb" / "GT_train_1.pkl").read_bytes())  # noqa: S301
    (tmp_path / "GT_train_1.pkl").write_bytes(pickle.dumps(content | {"pose": [content["pose"][0] * 1e25]}))
    assert "coordinates within 1e+06" in only_loss(tmp_path / "GT_train_1.pkl", "jhmdb").reason


NAMES = (
    "a.bvh", "01_01.amc", "a.c3d", "a.npz", "a.pkl", "a.mat", "a.json", "a.jsonl", "a.csv", "a.txt", "a_0.txt",
    "S001C002P003R002A013.skeleton", "a13_s02_e01_skeleton3D.txt", "joints_s07_e01.txt", "a27_s1_t4_skeleton.mat",
    "m03_s07_e02_positions.txt.gz", "m03_s07_e02_positions.txt", "0042.mat", "joint_positions.mat", "annolist.mat",
    "data_3d_h36m.npz", "000000000000_keypoints.json", "annot.mat", "annot_data.mat", "video.json", "joint_map.json",
)  # fmt: skip
BEGINNINGS = (  # of the formats
    b"", b"HIERARCHY\n", b"PK\x03\x04", b"\x80\x04", b"\x80\x02}", b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file",
    b"\x1f\x8b\x08", b"\x02\x50", b"[", b"{", b'[{"', b'{"images": [', b"\xef\xbb\xbf", b"\xff\xfe", b"0 1 2\n",
    b"\x93NUMPY",
)  # fmt: skip


@given(
    beginning=st.sampled_from(BEGINNINGS),
    rest=st.binary(max_size=300),
    name=st.sampled_from(NAMES),
    reader=st.sampled_from(OF_FILES),
)
@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_under_any_name_and_reader(tmp_path, beginning, rest, name, reader):
    path = tmp_path / rest[:8].hex() / reader / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(beginning + rest)
    recordings, _ = find_recordings(list_files(str(path.parent)))
    for recording in [*recordings, *named(path, reader)]:
        extract(recording)
    shutil.rmtree(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["cmu_bvh", "fair_bvh", "cmu_amc", "hdm05", "ui_prmd_kinect", "ui_prmd_vicon", "wild2d"]
)
def test_real_files_with_flipped_bytes(real_data, tmp_path, source):
    random = Random(source)
    recordings, _ = find_recordings(list_files(str(real_data / source)))
    for number in range(60):
        whole = random.choice(recordings)
        folder = tmp_path / str(number)
        paths = [Path(path) for path in (whole.path, *whole.companions[:300])]
        write(folder, {str(path.relative_to(real_data)): path.read_bytes() for path in paths})
        target = folder / random.choice(paths[:2]).relative_to(real_data)
        content = bytearray(target.read_bytes())
        for _ in range(random.choice((1, 3, 30))):
            content[random.randrange(len(content))] = random.randrange(256)
        target.write_bytes(content)
        for recording in found_or_named(target, whole.reader):
            extract(recording)
        shutil.rmtree(folder)


# Valid syntax, hostile values.


def texts(sound: Path) -> Iterator[tuple[str, str, bytes]]:
    for reader in OF_FILES:
        for name, content in files_in(sound / reader).items():
            if Path(name).suffix in (".json", ".jsonl", ".txt", ".csv", ".bvh", ".amc", ".asf", ".skeleton"):
                yield reader, name, content


@pytest.mark.parametrize("number", ["1" * 1_000_000, "-" + "9" * 400, "1" * 4000 + "." + "1" * 4000])
def test_endless_numbers(sound, tmp_path, number):
    for reader, name, content in texts(sound):
        files = files_in(sound / reader)
        for position in (0.0, 0.5, 0.9):
            place = content.find(b"1", int(position * len(content)))
            folder = tmp_path / f"{position}{reader}{name.replace('/', '_')}"
            write(folder, files | {name: content[:place] + number.encode() + content[place + 1 :]})
            for recording in found_or_named(folder / name, reader):
                extract(recording)


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 200_000 + b"]" * 200_000])
def test_deep_nesting(sound, tmp_path, deep):
    for reader, name, content in texts(sound):
        if Path(name).suffix in (".json", ".jsonl"):
            folder = tmp_path / f"{reader}{name.replace('/', '_')}"
            middle = content.find(b"[", len(content) // 3)
            write(folder, files_in(sound / reader) | {name: content[:middle] + deep + content[middle + 1 :]})
            for recording in found_or_named(folder / name, reader):
                extract(recording)


@pytest.mark.parametrize(
    "facts", [{"width": 2**40, "height": 5}, {"width": -1, "height": 5}, {"fps": 1e308}, {"fps": -1}]
)
def test_an_image_size_or_rate_that_cannot_be(sound, tmp_path, facts):
    shutil.copytree(sound / "gast", tmp_path, dirs_exist_ok=True)
    (tmp_path / "video.json").write_text(json.dumps(facts))
    [recording] = find_recordings(list_files(str(tmp_path)))[0]
    for lost in extract(recording):
        assert isinstance(lost, Quarantined)
        assert re.search("image size|an image of" if "width" in facts else "frame rate", lost.reason)


def test_names_that_no_table_can_hold_are_spelled_out_in_the_store(sound, tmp_path):
    """A half of a surrogate pair in JSON; a file name that is Latin-1; colours for the terminal; a new line."""
    content = (sound / "gast" / "clip.json").read_text()
    evil = json.dumps("dan\ud800ce\x1b[31m\n")
    folder = tmp_path / "\udce9t\udce9"
    folder.mkdir()
    (folder / "good\x1b[2J.json").write_text(content.replace('"baseball"', evil))
    (folder / "bad\n\udcff.json").write_text(content[:-9])
    store = str(tmp_path / "store")
    recordings, _ = find_recordings(list_files(str(folder)))
    assert len(recordings) == 2
    for shard in [shard for plan in extend(store, recordings, fps=FPS, command="test") for shard in plan.shards]:
        extract_shard(shard, store, readers=READERS)
    finish(store)
    opened = open_store(store)
    [row] = [row for split in ("train", "test") for _, rows in opened.segments(split) for row in rows.to_pylist()]
    assert row["sequence_id"] == "\\udce9t\\udce9/good\\x1b[2J.json#0"
    assert row["action"] == "dan\\ud800ce\\x1b[31m\\n"
    [lost] = opened.quarantine()
    assert lost["path"] == f"{tmp_path}/\\udce9t\\udce9/bad\\n\\udcff.json"
    assert lost["reason"].isprintable()


# Bombs and traps.


def test_a_gzip_bomb(tmp_path):
    """Four gigabytes of zeros in four megabytes."""
    name = "m03_s07_e02_positions.txt.gz"
    row = (b"0.000000," * 65 + b"0.000000\n") * 20_000
    member = gzip.compress(row)
    (tmp_path / name).write_bytes(member * (4 * 2**30 // len(row)))
    for recording in found_or_named(tmp_path / name, "ui_prmd_kinect"):
        [lost] = extract(recording)
        assert isinstance(lost, Quarantined)


def zeros(shape: tuple[int, ...], num_bytes: int) -> bytes:
    """An array as ``.npy`` that has only so many of its bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    return header.getvalue() + bytes(num_bytes)


@pytest.mark.parametrize(("length", "num_bytes"), [(2**40, 0), (2**28, 2**24), (10, 2**26)])
def test_a_zip_bomb(sound, tmp_path, length, num_bytes):
    """Arrays that say that they are huge, and ones that are larger than they say."""
    for reader in OF_FILES:
        for name, content in files_in(sound / reader).items():
            if not content.startswith(b"PK"):
                continue
            folder = tmp_path / reader / name
            bomb = io.BytesIO()
            with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
                for member in zipfile.ZipFile(io.BytesIO(content)).namelist():
                    packed.writestr(member, zeros((length,), num_bytes if member == "keypoints.npy" else 0))
            write(folder, files_in(sound / reader) | {name: bomb.getvalue()})
            for result in (each for found in found_or_named(folder / name, reader) for each in extract(found)):
                assert isinstance(result, Quarantined)
            shutil.rmtree(folder)


class Trap:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def trapped(content: bytes, trap: Path) -> bytes:
    """A pickle that runs a command and then gives what it gave before."""
    head, _, calling = pickle.dumps(Trap(trap), protocol=2).partition(b"\x80\x02")
    assert head == b""
    assert content.endswith(b".")
    return content[:-1] + calling[:-1] + b"0."


def pickles_in(content: bytes) -> Iterable[str]:
    """Names of the arrays that are pickles; "" for a file that is one."""
    if content.startswith(b"\x80"):
        return [""]
    if not content.startswith(b"PK"):
        return []
    members = zipfile.ZipFile(io.BytesIO(content))
    return [name for name in members.namelist() if b"'|O'" in members.read(name)[:128]]


def with_trap(content: bytes, member: str, trap: Path) -> bytes:
    if not member:
        return trapped(content, trap)
    changed, old = io.BytesIO(), zipfile.ZipFile(io.BytesIO(content))
    with zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, trapped(old.read(name), trap) if name == member else old.read(name))
    return changed.getvalue()


def test_traps_in_pickles_are_not_run_but_quarantined_and_named(sound, tmp_path):
    trap, read_by = tmp_path / "trap", set()
    for reader in OF_FILES:
        files = files_in(sound / reader)
        for name, content in files.items():
            for member in pickles_in(content):
                evil = with_trap(content, member, trap)
                if not member:  # the trap works
                    pickle.loads(evil, encoding="latin1")  # noqa: S301
                    trap.rmdir()
                folder = tmp_path / reader / name / member
                write(folder, files | {name: evil})
                [recording] = [
                    each for each in found_or_named(folder / name, reader) if each.path == str(folder / name)
                ]
                assert recording.reader == reader
                read_by.add(reader)
                results = extract(recording)
                assert not trap.exists()
                if member in ("segments.npy",):  # never read
                    continue
                [lost] = results
                assert isinstance(lost, Quarantined)
                assert "posix.mkdir" in lost.reason
                assert name in lost.reason
    assert read_by == {"3dpw", "detectron2", "h36m_sh", "h36m_videopose", "jhmdb", "pyskl", "rtmlib"}
