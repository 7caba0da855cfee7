"""List every format that extraction reads: its reader's name, the sources in it, their licences, where to get them."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.readers.registry import FORMATS
from datasets.sequences import Kind, Source
from pipelines.runtime.cli import parse, run_job

log = logging.getLogger(__name__)

KINDS: tuple[Kind, ...] = ("mocap", "action", "detections")


@dataclass(frozen=True, kw_only=True)
class FormatsConfig:
    """Where to."""

    write: str | None = None
    """Write the list to this file, in Markdown; else it is printed."""


def run(config: FormatsConfig) -> None:
    """Print or write the list."""
    if config.write is None:
        log.info("%s", page())
    else:
        Path(config.write).write_text(page())


def page() -> str:
    """Return the list in Markdown, one table for each kind of source."""
    lines = ["# Formats", "", "Written by `python -m pipelines.formats --write docs/formats.md`."]
    for kind, meaning in zip(KINDS, ("3D", "3D or 2D with labels", "2D"), strict=True):
        lines += ["", f"## {kind}: {meaning}", "", "| reader | reads | sources | licence |", "|---|---|---|---|"]
        for module in FORMATS:
            sources = [source for source in module.SOURCES if source.kind == kind]
            if sources:
                cells = (f"`{module.READER.name}`", _first_line(module.__doc__), _names(sources), _terms(sources))
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].replace("``", "`").replace("|", "\\|").removesuffix(".")


def _names(sources: Sequence[Source]) -> str:
    return ", ".join(
        f"[{source.name}]({source.url})" if source.url.startswith("http") else source.name for source in sources
    )


def _terms(sources: Sequence[Source]) -> str:
    return "; ".join(dict.fromkeys(source.terms for source in sources)).replace("|", "\\|")


def _config(arguments: Sequence[str]) -> FormatsConfig:
    return parse(FormatsConfig, __doc__ or "", arguments)


if __name__ == "__main__":
    run_job(run, _config)
