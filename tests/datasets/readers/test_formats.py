"""The list of formats: complete, and the one in the documents."""

import logging
from pathlib import Path

import pytest

from datasets.readers.registry import READERS, SOURCES
from pipelines.formats import FormatsConfig, page, run

CHECKOUT = Path(__file__).resolve().parents[3]


def test_every_reader_and_every_source_is_in_it():
    cells = {cell for line in page().splitlines() for cell in line.split(" | ")}
    assert {f"| `{reader}`" for reader in READERS} <= cells
    assert all(f"[{name}](" in page() or name in page() for name in SOURCES)


def test_the_documents_have_it_as_it_is():
    assert (CHECKOUT / "docs/formats.md").read_text() == page(), "python -m pipelines.formats --write docs/formats.md"


def test_it_is_printed_or_written(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(FormatsConfig(write=str(tmp_path / "formats.md")))
    assert (tmp_path / "formats.md").read_text() == page()
    with caplog.at_level(logging.INFO, logger="pipelines.formats"):
        run(FormatsConfig())
    assert caplog.messages == [page()]
