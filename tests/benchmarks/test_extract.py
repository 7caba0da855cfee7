"""The benchmark of extraction: its files are what they say, both sides do the same work, and its tables are whole."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import extract, extract_peers
from benchmarks.extract import ExtractBenchmark, measure_reading, recordings_by_format, run, some_of
from benchmarks.extract_files import WRITERS, write_recordings
from benchmarks.extract_peers import COMPARISONS, compare, is_installed, largest_difference
from benchmarks.extract_report import Reading, Report
from benchmarks.extract_sandbox import SandboxCost
from benchmarks.extract_store import balanced, measure_sizes, published_clips
from benchmarks.measure import Spread, replace_section
from datasets.assembly.path_rules import BVH, CMU
from datasets.files import list_files
from datasets.quality.checks import check
from datasets.readers.discovery import find_recordings
from datasets.readers.registry import READERS
from datasets.sequences import MotionSequence, Recording

CHECKOUT = Path(__file__).parents[2]


def written(folder: Path, name: str, frames: int = 50, count: int = 2) -> list[Recording]:
    write_recordings(folder, name, count=count, frames=frames)
    recordings, unknown = find_recordings(list_files(str(folder)))
    assert not unknown
    return recordings


def sized(*sizes: int, reader: str = "bvh") -> list[Recording]:
    return [Recording(path=f"{n}", reader=reader, source=BVH, size=size) for n, size in enumerate(sizes)]


class TestWrittenFiles:
    @pytest.mark.parametrize("name", WRITERS)
    def test_their_reader_finds_every_frame_of_every_person(self, tmp_path, name):
        recordings = written(tmp_path, name)
        assert [each.reader for each in recordings] == [name, name]
        people = {"alphapose": 2, "openpose": 2, "pyskl": 2}.get(name, 1)
        for recording in recordings:
            sequences = list(READERS[name].read(recording))
            assert [each.num_frames for each in sequences] == [50] * people

    @pytest.mark.parametrize("name", ["bvh", "amc", "c3d"])
    def test_bodies_pass_the_checks_and_stand_upright(self, tmp_path, name):
        for recording in written(tmp_path, name, count=1):
            for sequence in map(check, READERS[name].read(recording)):
                assert sequence.keypoints_3d_TJC is not None
                height_TJ = sequence.keypoints_3d_TJC[..., 1]
                assert (height_TJ[:, 10] - height_TJ[:, [3, 6]].max(axis=1) > 1.2).all()  # head above ankles

    def test_formats_that_the_data_lacks_are_written(self, tmp_path):
        written(tmp_path / "data", "amc", count=3)
        config = ExtractBenchmark(data=tmp_path / "data", formats=("amc", "ntu"), quick=True)
        found = recordings_by_format(config, tmp_path / "scratch")
        assert {name: len(members) for name, members in found.items()} == {"amc": 3, "ntu": 16}

    def test_no_data(self, tmp_path):
        (tmp_path / "notes.txt").write_text("none")
        with pytest.raises(ValueError, match="expected recordings, found none"):
            recordings_by_format(ExtractBenchmark(data=tmp_path), tmp_path)
        with pytest.raises(ValueError, match="--formats coco: expected recordings in --data, found none"):
            recordings_by_format(ExtractBenchmark(formats=("coco",)), tmp_path)


class TestPeers:
    def test_difference(self):
        ours = np.zeros((2, 3))
        assert largest_difference(ours + np.array([0, -2, 1]), ours) == 2
        assert largest_difference(np.zeros((2, 4)), ours) == float("inf")
        assert largest_difference([ours, ours + 1], [ours, ours]) == 1
        assert largest_difference([ours], [ours, ours]) == float("inf")
        assert largest_difference([{"a": 1}], [{"a": 1}]) == 0
        assert largest_difference([{"a": 1}], [{"a": 2}]) == float("inf")

    @pytest.mark.parametrize("peer", ["json", "pickle"])
    def test_in_turns(self, tmp_path, peer):
        [number] = [n for n, each in enumerate(COMPARISONS) if each.peer == peer]
        [recording] = written(tmp_path, COMPARISONS[number].reader, count=1)
        found = compare(number, recording, 100, None, 0.0)
        assert found.largest_difference == 0
        assert 0 < found.ratio.low <= found.ratio.median <= found.ratio.high

    def test_other_results_are_not_timed(self, tmp_path, monkeypatch):
        [recording] = written(tmp_path, "alphapose", count=1)
        [honest] = [each for each in COMPARISONS if each.peer == "json"]
        monkeypatch.setattr(extract_peers, "COMPARISONS", (replace(honest, ours=lambda _: [{}]),))
        with pytest.raises(ValueError, match="expected what json reads, found a difference of inf"):
            compare(0, recording, 100, None, 0.0)

    def test_peers_in_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        assert not is_installed("no_such_peer", None)
        (tmp_path / "no_such_peer.py").touch()
        assert is_installed("no_such_peer", tmp_path)
        assert sys.path[-1] == str(tmp_path)

    def test_a_peer_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(extract, "is_installed", lambda peer, peers_at: False)
        with pytest.raises(ValueError, match="bvhio is not installed: pip install --target DIR bvhio"):
            run(ExtractBenchmark(peer=("bvhio",)))


class TestMeasuring:
    def test_reading_leaves_out_what_cannot_be_read(self, tmp_path):
        recordings = written(tmp_path, "bvh", frames=20, count=2)
        broken = tmp_path / "broken.bvh"
        broken.write_text("HIERARCHY")
        found = measure_reading("bvh", [*recordings, replace(recordings[0], path=str(broken))], 0.0)
        assert (found.files, found.frames) == (2, 40)
        assert found.bytes == sum(Path(each.path).stat().st_size for each in recordings)
        assert found.frames_per_s.low > 0
        with pytest.raises(ValueError, match="none of 1 recordings can be read"):
            measure_reading("bvh", [replace(recordings[0], path=str(broken))], 0.0)

    def test_some_of_many(self):
        recordings = sized(*[100] * 10)
        assert some_of(recordings, 1000) == recordings
        assert some_of(recordings, 500) == recordings[::2]
        assert some_of(recordings, 1) == recordings[:1]

    def test_shards_are_balanced_and_of_one_reader(self):
        recordings = [*sized(50, 10, 10, 10, 10, 10), *sized(7, reader="amc")]
        shards = balanced(recordings, 2)
        assert sorted(sum(each.size for each in shard.recordings) for shard in shards) == [7, 50, 50]
        assert all(len({each.reader for each in shard.recordings}) == 1 for shard in shards)
        assert sum(len(shard.recordings) for shard in shards) == len(recordings)

    @pytest.mark.parametrize(
        ("frames", "starts"), [(242, []), (243, [0]), (323, [0]), (324, [0, 81]), (500, [0, 81, 162, 243])]
    )
    def test_published_clips(self, frames, starts):
        motion_TJC = np.arange(frames * 51, dtype=np.float32).reshape(frames, 17, 3)
        sequence = MotionSequence(
            source=CMU,
            sequence_id="",
            subject="",
            fps=60.0,
            keypoints_3d_TJC=motion_TJC,
            confidence_TJ=np.ones((frames, 17), np.float32),
        )
        clips = published_clips(sequence)
        assert len(clips) == len(starts)
        for clip, start in zip(clips, starts, strict=True):
            assert clip["data_input"] is None
            np.testing.assert_array_equal(clip["data_label"], motion_TJC[start : start + 243])
        [*clips_2d] = published_clips(replace(sequence, keypoints_2d_TJC=motion_TJC[..., :2]))
        for clip in clips_2d:
            assert clip["data_input"] is not None
            assert clip["data_input"].shape == (243, 17, 3)
            assert clip["data_input"].dtype == np.float32
            assert (clip["data_input"][..., 2] == 1).all()

    def test_bytes_per_frame(self, tmp_path):
        recordings = written(tmp_path, "bvh", frames=2 * (242 + 81) + 1, count=1)  # at 60 Hz 324: two clips
        alone, both = measure_sizes("bvh", recordings)
        assert alone.frames == both.frames == 324
        overhead = len(pickle.dumps({"data_input": None, "data_label": np.zeros((243, 17, 3), np.float32)})) - 243 * 204
        assert alone.clips == pytest.approx(2 * (243 * 204 + overhead) / 324)
        assert 2 * 2 * 243 * 204 / 324 < both.clips < 1.01 * 2 * 2 * 243 * 204 / 324
        assert 0 < alone.store < both.store < both.clips

    def test_short_recordings_have_no_clips(self, tmp_path):
        with pytest.raises(ValueError, match="expected recordings of 243 frames or more at 60 Hz, found none"):
            measure_sizes("bvh", written(tmp_path, "bvh", frames=100, count=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "--seconds: expected a positive number, found 0"),
        ({"megabytes": -1.0}, "--megabytes: expected a positive number"),
        ({"processes": 1}, "--processes: expected 2 or more, found 1"),
        ({"formats": ("vhs",)}, "--formats: expected some of .*, found vhs"),
        ({"peer": ("me",)}, "--peer: expected some of bvhio, .*, found me"),
        ({"write": True, "quick": True}, "--write: expected a full measurement"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        ExtractBenchmark(**options)


def test_report():
    speed = Spread(low=900.0, median=1000.0, high=1100.0)
    reading = Reading(format="bvh", files=2, frames=2000, bytes=4_000_000, frames_per_s=speed)
    cost = SandboxCost(work="a small recording", seconds=Spread(low=0.0002, median=0.0003, high=0.0004))
    report = Report(
        machine="box",
        readings=[reading],
        compared=[],
        scalings=[],
        sizes=[],
        sandbox=[cost],
        missing=["x: no"],
        absent=[],
    )
    text = report.markdown()
    assert "| bvh | 2 | 2,000 | 1,000 (900–1,100) | 2 |" in text
    assert "| a small recording | 0.3 (0.2–0.4) |" in text
    assert text.startswith("box\n\n")
    assert text.endswith("Not measured:\n\n- x: no")
    assert replace(report, missing=[], absent=["y: pip install y"]).markdown().endswith("- y: pip install y")


def test_our_readme_has_the_section(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(extract.README.read_text())
    replace_section(copy, "extract", "figures of this machine")
    assert "figures of this machine" in copy.read_text()


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [sys.executable, "-m", "benchmarks.extract", "--quick", "--formats", "bvh", "alphapose", "--peer", "json"]
    found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for text in (r"\| bvh \| \d", r"\| alphapose \| \d", r"\| JSON to objects", "speed-up of a loop", "3D only"):
        assert re.search(text, found.stdout), text
