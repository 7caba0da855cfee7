"""The extract job: on a real Ray, with a corrupt file among good ones; and every mistake that it must not hide."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datasets.store.manifest import Manifest
from datasets.store.parquet import open_store
from pipelines.extract import ExtractConfig, TooMuchQuarantinedError, extract, run

# Ray Data warns of its own defaults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning:ray.data.context"),
]

CHECKOUT = Path(__file__).resolve().parents[2]
MADE_UP = "procedural://?people=2&detections=1&takes=1&seconds=2&fps=60"
ACTIONS = 8


@pytest.fixture
def corrupt(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "broken.bvh").write_bytes(b"HIERARCHY\nROOT Hips\n{\xff\x00")
    return folder


@pytest.mark.usefixtures("two_cpus")
def test_a_corrupt_file_among_good_ones(corrupt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = ExtractConfig(input=(str(corrupt), MADE_UP), store=str(tmp_path / "store"), licence="ours")
    with caplog.at_level(logging.INFO, logger="pipelines.extract"):
        manifest = extract(config)

    entry, detections = manifest.sources["procedural"], manifest.sources["procedural_detections"]
    assert (entry.recordings, entry.quarantined, entry.total.sequences) == (2 * ACTIONS, 0, 2 * ACTIONS)
    assert entry.total.frames == 2 * ACTIONS * 60  # 120 frames at 60 Hz last to 119 / 60 s: 60 frames at 30 Hz
    assert (entry.total.frames_3d, entry.total.frames_2d) == (entry.total.frames, 0)
    assert (detections.total.frames_3d, detections.total.frames_2d) == (0, ACTIONS * 60)
    assert manifest.sources["bvh"].quarantined == 1
    assert manifest.sources["bvh"].licence == "ours"

    store = open_store(str(config.store))
    store.verify()
    [lost] = store.quarantine()
    assert lost["path"] == str(corrupt / "broken.bvh")
    summary = caplog.messages[-1]
    assert lost["reason"] in summary
    assert f"{2 * ACTIONS * 60}" in summary


@pytest.mark.usefixtures("two_cpus")
def test_too_much_in_quarantine_fails_after_the_store_is_complete(corrupt: Path, tmp_path: Path) -> None:
    config = ExtractConfig(input=(str(corrupt), MADE_UP), store=str(tmp_path / "store"), max_quarantined=0.03)
    with pytest.raises(TooMuchQuarantinedError, match=r"at most 3%.*found 4% \(1 of 25 recordings"):
        extract(config)
    open_store(str(config.store)).verify()
    assert extract(ExtractConfig(input=config.input, store=config.store, max_quarantined=0.04))


@pytest.mark.usefixtures("two_cpus")
def test_a_store_inside_its_input_is_not_taken_for_recordings(corrupt: Path) -> None:
    config = ExtractConfig(input=(str(corrupt), MADE_UP), store=str(corrupt / "store"))
    assert extract(config) == extract(config)


@pytest.mark.usefixtures("two_cpus")
def test_real_recordings_lose_nothing(real_data: Path, tmp_path: Path) -> None:
    manifest = extract(ExtractConfig(input=(str(real_data / "fair_bvh"),), store=str(tmp_path / "store")))
    entry = manifest.sources["fair"]
    assert (entry.recordings, entry.quarantined, entry.total.sequences) == (4, 0, 4)


def finished(tmp_path: Path) -> tuple[ExtractConfig, Manifest]:
    config = ExtractConfig(input=(MADE_UP,), store=str(tmp_path / "store"))
    return config, extract(config)


@pytest.mark.usefixtures("two_cpus")
def test_a_finished_store_is_left_as_it_is(tmp_path: Path) -> None:
    config, manifest = finished(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in Path(str(config.store)).rglob("*.parquet")}
    assert extract(config) == manifest
    assert {path: path.stat().st_mtime_ns for path in Path(str(config.store)).rglob("*.parquet")} == written


@pytest.mark.usefixtures("two_cpus")
def test_a_finished_store_is_not_mixed_with_another_rate(tmp_path: Path) -> None:
    config, manifest = finished(tmp_path)
    with pytest.raises(ValueError, match=r"expected sequences at 25.0 Hz, found 30.0 Hz"):
        extract(ExtractConfig(input=config.input, store=config.store, fps=25.0))
    assert open_store(str(config.store)).manifest == manifest


@pytest.mark.usefixtures("two_cpus")
def test_a_report_lies_beside_the_manifest(tmp_path: Path) -> None:
    config, manifest = finished(tmp_path)
    report = json.loads((Path(str(config.store)) / "report.json").read_text())
    assert report["store"] == manifest.digest
    assert report["sources"].keys() == manifest.sources.keys()
    assert "<svg" in (Path(str(config.store)) / "report.html").read_text()


@pytest.mark.usefixtures("two_cpus")
def test_new_recordings_extend_a_store(corrupt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config, before = finished(tmp_path)
    with caplog.at_level(logging.INFO, logger="pipelines.extract"):
        after = extract(ExtractConfig(input=(str(corrupt),), store=config.store, licence="ours"))
    assert any("extracting 1 of 3 shards" in message for message in caplog.messages)
    assert after.sources.keys() == {*before.sources, "bvh"}
    assert set(before.files) < set(after.files)


@pytest.mark.usefixtures("two_cpus")
def test_linting_reports_and_leaves_nothing_behind(
    corrupt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = ExtractConfig(input=(str(corrupt), MADE_UP), lint=True)
    before = sorted(tmp_path.rglob("*"))
    with caplog.at_level(logging.INFO, logger="pipelines.extract"):
        run(config)
    text = caplog.messages[-1]
    assert re.search(rf"procedural +{2 * ACTIONS} +0 +0\n", text)
    assert re.search(r" bvh +0 +0 +1\n", text)
    assert f"such as {corrupt / 'broken.bvh'}: " in text
    assert sorted(tmp_path.rglob("*")) == before
    found = r"at most 1% quarantined, found 4% \(1 of 25 recordings, 0 of 24 sequences of the others\)"
    with pytest.raises(TooMuchQuarantinedError, match=found):
        run(ExtractConfig(input=config.input, lint=True, max_quarantined=0.01))


@pytest.mark.usefixtures("two_cpus")
def test_a_reader_that_the_user_names_reads_what_it_would_not_have_claimed(corrupt: Path, tmp_path: Path) -> None:
    (corrupt / "broken.bvh").rename(corrupt / "motion.data")
    named = ExtractConfig(
        input=(str(corrupt / "motion.data"),), store=str(tmp_path / "store"), reader="bvh", max_quarantined=1.0
    )
    with pytest.raises(TooMuchQuarantinedError):  # all of it: it is rubbish
        extract(named)
    [lost] = open_store(str(named.store)).quarantine()
    assert (lost["reader"], lost["path"]) == ("bvh", str(corrupt / "motion.data"))


def test_a_reader_that_the_user_names_takes_nothing_else_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "walk.bvh").write_text("")
    with pytest.raises(ValueError, match="expected files that the reader amc recognises, found none"):
        extract(ExtractConfig(input=(str(tmp_path),), store=str(tmp_path / "store"), reader="amc"))


def test_a_companion_named_alone_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "video.json").write_text("{}")
    with pytest.raises(ValueError, match="is a companion file"):
        extract(ExtractConfig(input=(str(tmp_path / "video.json"),), store=str(tmp_path / "store")))


def test_archives_are_said_to_need_unpacking(corrupt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (corrupt / "more.zip").write_text("PK")
    with pytest.raises(TooMuchQuarantinedError):
        run(ExtractConfig(input=(str(corrupt),), lint=True))
    skipped = r"skipped 1 files of unknown format: 1 \.zip \(such as .*more\.zip\)\. Unpack archives first"
    assert re.search(skipped, caplog.text)


@pytest.mark.usefixtures("two_cpus")
def test_the_example_of_the_docs_reads_a_store(tmp_path: Path) -> None:
    config, manifest = finished(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs" / "data.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code.replace("STORE", str(config.store)), found)
    rows = found["rows"].to_table()
    assert len(rows) == sum(manifest.counts(split).segments for split in ("train", "test"))
    assert set(rows["source"].to_pylist()) == set(manifest.sources)
    assert set(rows["split"].to_pylist()) == {split for entry in manifest.sources.values() for split in entry.splits}


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file in it"):
        extract(ExtractConfig(input=(str(tmp_path / "empty"),), store=str(tmp_path / "store")))
    assert not (tmp_path / "store").exists()


def test_an_unknown_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "motion.xyz").write_text("?")
    with pytest.raises(ValueError, match=r"known format \(.*\bbvh\b.*found none, but 1 data files"):
        extract(ExtractConfig(input=(str(tmp_path),), store=str(tmp_path / "store")))


def test_a_file_in_the_stores_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(ValueError, match="found a file"):
        extract(ExtractConfig(input=(MADE_UP,), store=str(tmp_path / "store")))


def test_a_licence_that_nobody_needs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no effect"):
        extract(ExtractConfig(input=(MADE_UP,), store=str(tmp_path / "store"), licence="ours"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"input": ()}, "input"),
        ({"fps": 0.0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"max_quarantined": 1.5}, "max_quarantined"),
        ({"reader": "fbx"}, "reader"),
        ({"store": None}, "store"),
        ({"lint": True}, "store"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], named: str) -> None:
    valid: dict[str, object] = {"input": (MADE_UP,), "store": "store"}
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        ExtractConfig(**(valid | options))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("how", [["pipelines/extract.py"], ["-m", "pipelines.extract"]], ids=["file", "module"])
def test_from_the_command_line_a_mistake_is_one_line_and_a_status(how: list[str], tmp_path: Path) -> None:
    options = ["--input", str(tmp_path), "--store", str(tmp_path / "store")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *how, *options], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no file in it" in done.stderr
    assert "Traceback" not in done.stderr
