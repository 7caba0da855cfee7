"""The registry of formats: found in this package, offered by installed packages, or named by the user.

A reader is a module with a ``READER`` and, in ``SOURCES``, the data sets that use its format. In this package all such
modules in the folders beside this file are found automatically. An installed package offers its modules as entry
points::

    [project.entry-points."motion_encoder.readers"]
    lab = "lab_motion.reader"

``--reader lab_motion.reader`` accepts any module that can be imported, installed or not. The list of this package's
formats is written by ``python -m datasets.readers.registry --write docs/formats.md``.
"""

import argparse
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.sequences import Kind, Reader, Source

ENTRY_POINTS = "motion_encoder.readers"
CLAIM_FIRST = ("coco",)
"""Readers that are asked before the others: AlphaPose's reader would also accept COCO's result lists."""
BAR = r"\|"
"""A vertical bar inside a Markdown table."""
KINDS: dict[Kind, str] = {"mocap": "3D", "action": "3D or 2D with labels", "detections": "2D"}


@dataclass(frozen=True, kw_only=True)
class Format:
    """A reader module, with the name that ``--reader``, the quarantine table and the store's shards use."""

    name: str
    """The reader's name; the module's path if the module is not registered and was named by the user."""
    reader: Reader
    sources: tuple[Source, ...]
    title: str
    """The first line of the module's docstring."""


def all_formats() -> dict[str, Format]:
    """Return the formats of this package and of installed packages, in the order in which they are asked for a file.

    Raises:
        ValueError: An entry point cannot be loaded, is not a reader module, or uses the name of another reader.
    """
    formats = dict(built_in_formats())
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        offered = _installed(entry_point)
        if offered.name in formats:
            raise ValueError(
                f"entry point {entry_point.value}: expected a reader with a unique name, found {offered.name}, "
                "which another reader has. Rename it, or uninstall one of the two packages."
            )
        formats[offered.name] = offered
    return formats


def all_readers() -> dict[str, Reader]:
    """Return the readers of ``all_formats`` by name."""
    return {name: each.reader for name, each in all_formats().items()}


def find_format(name: str) -> Format:
    """Return a format by its reader's name, or by the path of a module such as ``lab_motion.reader``.

    Raises:
        ValueError: No format has this name and no module this path, or the module is not a reader module.
    """
    formats = all_formats()
    if name in formats:
        return formats[name]
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"reader: expected one of {', '.join(formats)}, or a module that can be imported, found {name} ({error})"
        ) from error
    return _format(module, name)


@cache
def built_in_formats() -> dict[str, Format]:
    """Return the formats of this package, in the order in which they are asked for a file."""
    modules = [module for module in _modules() if hasattr(module, "READER")]
    found = [_format(module, module.READER.name) for module in modules]
    assert len({each.name for each in found}) == len(found), "two readers have the same name"
    return {each.name: each for each in sorted(found, key=lambda each: each.name not in CLAIM_FIRST)}


def _modules() -> Iterator[ModuleType]:
    """Yield the modules in the folders beside this file."""
    package = __spec__.name.rpartition(".")[0]
    for folder in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if folder.ispkg:
            inner = importlib.import_module(f"{package}.{folder.name}")
            for module in pkgutil.iter_modules(inner.__path__):
                yield importlib.import_module(f"{inner.__name__}.{module.name}")


def _installed(entry_point: Any) -> Format:
    """Load an entry point. Its class depends on whether some library has imported ``importlib_metadata``."""
    try:
        module = entry_point.load()
    except (ImportError, AttributeError) as error:
        package = entry_point.dist.name if entry_point.dist else entry_point.value
        raise ValueError(
            f"entry point {entry_point.value}: expected a module that can be imported, found {error}. Repair or "
            f"uninstall {package}."
        ) from error
    reader = getattr(module, "READER", None)
    return _format(module, reader.name if isinstance(reader, Reader) else entry_point.value)


def _format(module: ModuleType, name: str) -> Format:
    reader, sources = getattr(module, "READER", None), getattr(module, "SOURCES", ())
    if not isinstance(reader, Reader):
        raise ValueError(f"{name}: expected a module with a READER that has name, find and read, found {reader!r}")
    if not sources or not all(isinstance(source, Source) for source in sources):
        raise ValueError(f"{name}: expected a module with SOURCES, a tuple of at least one Source, found {sources!r}")
    title = (module.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
    return Format(name=name, reader=reader, sources=tuple(sources), title=title)


READERS: dict[str, Reader] = {name: each.reader for name, each in built_in_formats().items()}
"""The readers of this package, by name."""
SOURCES: dict[str, Source] = {source.name: source for each in built_in_formats().values() for source in each.sources}
"""The data sets that they read."""


def formats_page() -> str:
    """Return the formats of this package in Markdown, one table for each kind of source."""
    lines = ["# Formats", "", "Written by `python -m datasets.readers.registry --write docs/formats.md`."]
    for kind, meaning in KINDS.items():
        lines += ["", f"## {kind}: {meaning}", "", "| reader | reads | sources | licence |", "|---|---|---|---|"]
        for each in built_in_formats().values():
            if sources := [source for source in each.sources if source.kind == kind]:
                cells = (f"`{each.name}`", each.title.replace("``", "`"), _names(sources), _terms(sources))
                lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _names(sources: Sequence[Source]) -> str:
    links = (f"[{each.name}]({each.url})" if each.url.startswith("http") else each.name for each in sources)
    return ", ".join(links)


def _terms(sources: Sequence[Source]) -> str:
    return "; ".join(dict.fromkeys(source.terms for source in sources))


def main(arguments: Sequence[str]) -> None:
    """Write the list of formats."""
    parser = argparse.ArgumentParser(description="List the formats that extraction reads, in Markdown.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="file to write; standard output if left out")
    place: Path | None = parser.parse_args(arguments).write
    if place is None:
        sys.stdout.write(formats_page())
    else:
        place.write_text(formats_page())


if __name__ == "__main__":
    main(sys.argv[1:])
