"""The report as one HTML page that needs no network and no script: numbers, histograms and skeletons of each source.

The page follows the system's light or dark mode. The template escapes every text that comes from recordings, and as a
second barrier the page forbids scripts and external content (Content-Security-Policy). The same report gives the same
bytes.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from datasets.report.charts import histogram, shares
from datasets.report.measures import SourceReport, StoreReport
from datasets.report.messages import format_duration, make_printable
from datasets.report.samples import Sample
from datasets.report.skeletons import strips
from datasets.report.table import COLUMNS, summary_row
from motion_encoder.palette import css_colours

SHOWN = 20
"""Number of message groups, and of duplicate groups, that are shown; the JSON has all."""
_HISTOGRAMS = {
    "length_s": "length of the sequences, seconds",
    "root_speed_m_s": "speed of the root, metres a second",
    "root_speed_sizes_s": "speed of the root in the image, sizes of the person a second",
    "confidence": "confidence of the joints observed",
}


def page(report: StoreReport) -> str:
    """Return the report as HTML."""
    return _template().render(
        report=report,
        columns=COLUMNS,
        summary=[summary_row(name, source) for name, source in report.sources.items()],
        sources=[_source(name, source) for name, source in report.sources.items()],
        colours=Markup(css_colours()),
        number=Markup(' class="number"'),
        shown=SHOWN,
    )


@cache
def _template() -> Template:
    """Load the template, with escaping of HTML and of characters that are not printable."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else make_printable(str(value)),
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html")


def _source(name: str, source: SourceReport) -> dict[str, Any]:
    return {
        "name": name,
        "report": source,
        "entry": source.entry,
        "splits": _splits(source),
        "figures": _figures(source) if source.entry.total.frames else [],
        "samples": [each for sample in source.samples for each in _pictures(sample)],
        "duplicates": [" = ".join(group) for group in source.duplicates],
    }


def _splits(source: SourceReport) -> list[tuple[str, ...]]:
    return [
        (
            split, f"{each.sequences:,}", f"{each.frames:,}", f"{each.frames_3d:,}", f"{each.frames_2d:,}",
            format_duration(each.hours),
        )
        for split, each in sorted(source.entry.splits.items())
    ]  # fmt: skip


def _figures(source: SourceReport) -> list[tuple[Markup, str]]:
    """Pictures with their captions."""
    observed = Markup(shares(source.observed, "share of frames"))
    histograms = [
        (Markup(histogram(source.histograms[key], title)), title)
        for key, title in _HISTOGRAMS.items()
        if any(source.histograms[key].counts)
    ]
    return [(observed, "share of the frames in which a joint was observed"), *histograms]


def _pictures(sample: Sample) -> list[dict[str, Any]]:
    length = f"{sample.num_frames / sample.fps:,.1f} s"
    facts = [*filter(None, [sample.subject, sample.action, sample.split]), length]
    return [
        {"name": sample.sequence_id, "facts": facts, "picture": Markup(svg), "figures": figures}
        for svg, figures in strips(sample)
    ]
