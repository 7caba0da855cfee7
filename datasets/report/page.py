"""The report as one HTML page that needs no network and no script: numbers, histograms and skeletons of each source.

Light and dark as the reader's system is set. Whatever comes out of recordings is escaped, and the page forbids scripts
and everything from elsewhere (Content-Security-Policy), in case something was missed. The same report gives the same
bytes.
"""

import html
from collections.abc import Iterable, Sequence

from datasets.report.charts import histogram, shares
from datasets.report.measures import SourceReport, StoreReport
from datasets.report.messages import Kind, duration, printable
from datasets.report.samples import Sample
from datasets.report.skeletons import strips
from datasets.report.table import COLUMNS, summary_row

SHOWN = 20
"""Kinds of reasons, and groups of duplicates, that are listed; the JSON has all."""
_HISTOGRAMS = {
    "length_s": "length of the sequences, seconds",
    "root_speed_m_s": "speed of the root, metres a second",
    "root_speed_sizes_s": "speed of the root in the image, sizes of the person a second",
    "confidence": "confidence of the joints observed",
}
_ALIGN = ' class="number"'
_STYLE = """
:root { color-scheme: light dark;
  --page: #eef1f5; --panel: #ffffff; --edge: #d9dfe8; --text: #1b2430; --muted: #5c6879;
  --left: #1f77d0; --right: #e8632b; --centre: #46536a; --bar: #6f8fb3; --empty: #e9edf3; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0f141b; --panel: #171e28; --edge: #2a3545; --text: #e7ecf3; --muted: #93a1b5;
  --left: #5aaeff; --right: #ff8f57; --centre: #c3cedd; --bar: #5f7ea3; --empty: #232d3b; } }
body { margin: 0 auto; max-width: 1500px; padding: 16px; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
section { margin: 16px 0; padding: 12px 16px; background: var(--panel); border: 1px solid var(--edge);
  border-radius: 10px; overflow-x: auto; }
h1 { font-size: 20px; margin: 0; } h2 { font-size: 17px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 14px 0 4px; }
h2, h3, td, li, p, code, figcaption { overflow-wrap: anywhere; }
p { margin: 4px 0; } .note { color: var(--muted); font-size: 12px; }
table { border-collapse: collapse; margin: 6px 0; }
th, td { text-align: left; padding: 2px 14px 2px 0; vertical-align: top; }
th { color: var(--muted); font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: 8px 18px 8px 0; vertical-align: top; max-width: 100%; }
figcaption { font-size: 12px; max-width: 700px; margin-bottom: 4px; }
ul { margin: 2px 0; padding-left: 20px; } code { font-size: 12px; } a { color: var(--left); }
b.left { color: var(--left); } b.right { color: var(--right); }
svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--muted); font-size: 10.5px; }
path { fill: none; stroke-linecap: round; } .axis, .ground { stroke: var(--muted); stroke-width: 1; }
path.left { stroke: var(--left); } path.right { stroke: var(--right); } path.centre { stroke: var(--centre); }
path.left, path.right, path.centre { stroke-width: 2.6; } .nose { fill: var(--centre); }
.image { fill: var(--empty); stroke: var(--muted); } .unknown { stroke-dasharray: 4 4; }
.bar { fill: var(--bar); } .low { fill: var(--right); } .empty { fill: var(--empty); }
"""
_LEGEND = """<p>In the pictures <b class="left">left limbs are blue</b>, <b class="right">right limbs orange</b>; the
dot is the nose. What is not drawn was not observed.</p>
<p>Sound 3D: people stand on the line as high as they are, in the front view blue is at the right, and in the side view
nose and bent knees point to the right. Lying, hanging or flying people: the up axis is wrong. Nose and knees to the
left: left and right are exchanged, or the axes are left-handed. Sound 2D: people are upright in their image; seen from
the front, blue is at the right.</p>"""


def page(report: StoreReport) -> str:
    """Return the page."""
    command = "<br>".join(map(_text, report.command.splitlines()))
    sections = [_source(place, *each) for place, each in enumerate(report.sources.items())]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Extraction report</title><style>{_STYLE}</style></head>\n<body><h1>Extraction report</h1>\n"
        f'<p class="note">Store of {report.fps:g} frames a second, digest <code>{_text(report.digest)}</code>, made by '
        f"<code>{command}</code></p>\n<section>{_summary(report)}{_LEGEND}</section>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _text(words: str) -> str:
    return html.escape(printable(words))


def _summary(report: StoreReport) -> str:
    rows = [summary_row(name, source) for name, source in report.sources.items()]
    cells = [[html.escape(cell) for cell in row] for row in rows]
    for place, row in enumerate(cells):
        row[0] = f'<a href="#source-{place}">{row[0]}</a>'
    return _table(COLUMNS, cells)


def _source(place: int, name: str, source: SourceReport) -> str:
    entry = source.entry
    url = [_text(entry.url)] if entry.url else []
    parts = [
        f'<section id="source-{place}"><h2>{_text(name)}</h2>',
        f"<p>{' · '.join([_text(entry.kind), f'licence: {_text(entry.licence)}', *url])}</p>",
        _splits(source),
    ]
    if entry.total.frames:
        parts += [
            _figure(shares(source.observed, "share of frames"), "share of the frames in which a joint was observed")
        ]
        parts += [
            _figure(histogram(source.histograms[key], title), title)
            for key, title in _HISTOGRAMS.items()
            if any(source.histograms[key].counts)
        ]
    if source.samples:
        parts.append("<h3>Some sequences</h3>")
        parts += [_figure(*each) for sample in source.samples for each in _pictures(sample)]
    parts.append(_kinds("Left out", source.quarantine, examples=2))
    parts.append(_kinds(f"Repaired or assumed, in {source.repaired:,} sequences", source.repairs, examples=1))
    groups = [" = ".join(group) for group in source.duplicates]
    parts.append(_list("The same motion several times, the first of them stored", groups))
    parts.append(_list("Several sequences of one name", source.name_collisions))
    return "".join(parts) + "</section>"


def _splits(source: SourceReport) -> str:
    rows = [
        (
            _text(split), f"{each.sequences:,}", f"{each.frames:,}", f"{each.frames_3d:,}", f"{each.frames_2d:,}",
            duration(each.hours),
        )
        for split, each in sorted(source.entry.splits.items())
    ]  # fmt: skip
    return _table(("split", "sequences", "frames", "frames with 3D", "frames with 2D", "time"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are markup; the first column is words, the others are numbers."""
    titles = "".join(f"<th{_ALIGN if place else ''}>{title}</th>" for place, title in enumerate(head))
    body = ["".join(f"<td{_ALIGN if place else ''}>{cell}</td>" for place, cell in enumerate(row)) for row in rows]
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def _figure(picture: str, caption: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def _pictures(sample: Sample) -> list[tuple[str, str]]:
    """Pictures and their captions."""
    facts = [f"<b>{_text(sample.sequence_id)}</b>", _text(sample.subject), _text(sample.action or ""), sample.split]
    caption = " · ".join([*filter(None, facts), f"{sample.num_frames / sample.fps:,.1f} s"])
    return [(svg, f'{caption}<div class="note">{figures}</div>') for svg, figures in strips(sample)]


def _kinds(title: str, kinds: Sequence[Kind], *, examples: int) -> str:
    if not kinds:
        return ""
    items = [
        f"<li>{each.count:,} × {_text(each.what)}"
        + "".join(f'<div class="note">such as {_text(example)}</div>' for example in each.examples[:examples])
        + "</li>"
        for each in kinds[:SHOWN]
    ]
    return f"<h3>{title}</h3><ul>{''.join(items)}{_more(len(kinds))}</ul>"


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{_text(line)}</li>" for line in lines[:SHOWN])
    return f"<h3>{title}: {len(lines):,}</h3><ul>{items}{_more(len(lines))}</ul>"


def _more(number: int) -> str:
    return f"<li>and {number - SHOWN:,} more</li>" if number > SHOWN else ""
