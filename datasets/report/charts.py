"""Histograms and bar charts of a report as SVG: counts between fixed edges, and shares from 0 to 1.

Shapes use the page's CSS classes; each bar shows its number as a tooltip.
"""

import html
import itertools
from collections.abc import Mapping

from datasets.report.measures import Histogram

WIDTH, HEIGHT, FOOT = 330.0, 96.0, 18.0
_BAR_WIDTH, _BAR_HEIGHT, _NAMES = 17.0, 60.0, 62.0


def histogram(counts: Histogram, title: str) -> str:
    """Return the picture of a histogram; all bars have the same width, whatever the edges."""
    bar = WIDTH / len(counts.counts)
    most = max(counts.counts) or 1
    parts = []
    for place, (count, words) in enumerate(zip(counts.counts, _intervals(counts.edges), strict=True)):
        high = max(count / most * HEIGHT, 1.5 if count else 0)  # a single value is visible beside a million
        parts.append(
            f'<rect class="bar" x="{place * bar + 0.5:.1f}" y="{HEIGHT - high:.1f}" width="{bar - 1:.1f}" '
            f'height="{high:.1f}"><title>{words}: {count:,}</title></rect>'
        )
    for place, edge in enumerate(counts.edges, start=1):
        if _is_marked(edge, counts.edges):
            parts.append(f'<path class="axis" d="M{place * bar:.1f} {HEIGHT:.0f}v4"/>')
            parts.append(f'<text x="{place * bar:.1f}" y="{HEIGHT + 15:.0f}" text-anchor="middle">{edge:g}</text>')
    parts.append(f'<path class="ground" d="M0 {HEIGHT:.0f}H{WIDTH:.0f}"/>')
    return _svg(WIDTH, HEIGHT + FOOT, title, parts)


def _intervals(edges: tuple[float, ...]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"less than {edges[0]:g}", *between, f"{edges[-1]:g} and more"]


def _is_marked(edge: float, edges: tuple[float, ...]) -> bool:
    """Powers of ten are marked; if there is at most one (shares), quarters."""
    powers = [each for each in edges if f"{each:e}".startswith("1.000000e")]
    return edge in (powers if len(powers) > 1 else (0.25, 0.5, 0.75))


def shares(share_by_name: Mapping[str, float], title: str) -> str:
    """Return vertical bars from 0 to 1, each with its name below and its share as a tooltip."""
    parts = []
    for place, (name, share) in enumerate(share_by_name.items()):
        x, high = place * _BAR_WIDTH, share * _BAR_HEIGHT
        side = "bar" if share >= 0.5 else "bar low"
        parts.append(
            f'<rect class="empty" x="{x + 1:.1f}" y="0" width="{_BAR_WIDTH - 2:.1f}" height="{_BAR_HEIGHT:.1f}"/>'
            f'<rect class="{side}" x="{x + 1:.1f}" y="{_BAR_HEIGHT - high:.1f}" width="{_BAR_WIDTH - 2:.1f}" '
            f'height="{high:.1f}"><title>{html.escape(name)}: {share:.1%}</title></rect>'
            f'<text transform="translate({x + 12:.1f} {_BAR_HEIGHT + 5:.1f}) rotate(-90)" text-anchor="end">'
            f"{html.escape(name)}</text>"
        )
    return _svg(_BAR_WIDTH * len(share_by_name), _BAR_HEIGHT + _NAMES, title, parts)


def _svg(width: int | float, height: int | float, title: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )
