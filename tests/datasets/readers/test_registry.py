"""Which readers there are: this package's own, those of installed packages, and modules that a user names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.readers.registry import READERS, SOURCES, all_formats, built_in_formats, find_format, formats_page
from tests.outside_reader import write_distribution, write_module

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; ``lab_motion`` in it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab_motion"]:
        del sys.modules[name]


def test_every_module_with_a_reader_is_found_in_this_package():
    readers = [path for path in (CHECKOUT / "datasets/readers").glob("*/*.py") if "\nREADER = " in path.read_text()]
    assert len(built_in_formats()) == len(readers) > 30
    assert {"bvh", "amc", "alphapose"} <= set(READERS) & set(SOURCES)


def test_cocos_results_are_claimed_before_alphaposes():
    order = list(built_in_formats())
    assert order.index("coco") < order.index("alphapose")


def test_the_documents_have_every_reader_and_source():
    command = "python -m datasets.readers.registry --write docs/formats.md"
    assert (CHECKOUT / "docs/formats.md").read_text() == formats_page(), command
    cells = {cell for line in formats_page().splitlines() for cell in line.split(" | ")}
    assert {f"| `{reader}`" for reader in READERS} <= cells
    assert all(name in formats_page() for name in SOURCES)


@pytest.mark.parametrize("to_file", [True, False])
def test_the_page_is_written_or_printed(tmp_path: Path, to_file: bool):
    place = tmp_path / "formats.md"
    command = [sys.executable, "-m", "datasets.readers.registry", *(["--write", str(place)] if to_file else [])]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert (place.read_text() if to_file else done.stdout) == formats_page()


def test_a_module_from_outside_is_known_by_its_path(folder: Path):
    write_module(folder)
    found = find_format("lab_motion.reader")
    assert (found.name, found.title, [each.name for each in found.sources]) == (
        "lab_motion.reader", "Our lab's lines of numbers", ["lab"]
    )  # fmt: skip
    assert "lab_motion.reader" not in all_formats()


def test_an_installed_package_offers_a_reader_by_an_entry_point(folder: Path):
    write_module(folder)
    write_distribution(folder)
    assert find_format("lab").sources == find_format("lab_motion.reader").sources
    assert list(all_formats()) == [*built_in_formats(), "lab"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "expected one of coco, .*, or a module that can be imported, found lab_motion.reader"),
        ("import not_installed\n", "found lab_motion.reader .*not_installed"),
        ("", "READER that has name, find and read, found None"),
        ("class READER:\n    name = 'lab'\n", "READER that has name, find and read"),
        (
            "from datasets.readers.mocap.bvh import READER\nSOURCES = ()\n",
            "SOURCES, a tuple of at least one Source, found ()",
        ),
        ("from datasets.readers.mocap.bvh import READER\nSOURCES = ('cmu',)\n", "at least one Source, found ('cmu',)"),
    ],
)
def test_what_is_not_a_reader_module_is_refused(folder: Path, written: str | None, message: str):
    if written is not None:
        write_module(folder, written)
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        find_format("lab_motion.reader")


def test_an_entry_point_that_cannot_be_loaded_is_named(folder: Path):
    write_distribution(folder)
    with pytest.raises(ValueError, match=r"lab_motion\.reader.*No module named 'lab_motion'.*uninstall lab-motion"):
        all_formats()


def test_an_entry_point_may_not_take_a_name_that_is_in_use(folder: Path):
    write_module(folder, "from datasets.readers.mocap.bvh import READER, SOURCES\n")
    write_distribution(folder)
    with pytest.raises(ValueError, match="found bvh, which another reader has"):
        all_formats()
