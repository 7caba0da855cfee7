"""Tables of the encoder's figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.encoder_step import Case, Comparison, Result
from benchmarks.measure import Spread, markdown_table

_AXES = ("frames", "joints", "clips")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All figures of one machine."""

    machine: str
    results: Sequence[Result]
    comparisons: Sequence[Comparison]
    curve: Sequence[Result]
    missing: Sequence[str]
    """Measurements without a result, with the reasons."""

    def markdown(self) -> str:
        """Return the figures as tables, followed by a list of what was not measured."""
        parts = [self.machine, _results_table(self.results), _ceilings(self.results)]
        if self.comparisons:
            parts += ["Ours and the published code, in turns:", _comparison_table(self.comparisons)]
        if self.curve:
            parts += [f"Cost of {label(self.curve[0].case, shape=False)} along each axis:", _curve_table(self.curve)]
        if self.missing:
            parts.append("Not measured:\n\n" + "\n".join(f"- {each}" for each in self.missing))
        return "\n\n".join(part for part in parts if part)


def label(case: Case, *, shape: bool = True) -> str:
    """Return a case in words."""
    words = [case.size, case.job, f"{case.clips}×{case.frames}" if shape else "", case.dtype, _how(case)]
    return " ".join(word for word in words if word)


def _how(case: Case) -> str:
    if case.peer:
        return "published"
    how = case.mode if case.mode in ("eager", "reduce-overhead") else f"compiled, {case.mode}"
    return f"{how}, recomputed" if case.recompute else how


def _results_table(results: Sequence[Result]) -> str:
    header = (
        "model", "job", "clips × frames", "precision", "how",
        "ms (quartiles)", "clips/s", "TFLOP/s", "of ceiling", "peak MB",
    )  # fmt: skip
    return markdown_table(header, [_result_row(result) for result in results])


def _result_row(result: Result) -> tuple[str, ...]:
    case = result.case
    assert result.seconds is not None
    assert result.ceiling_share is not None
    return (
        case.size,
        case.job,
        f"{case.clips} × {case.frames}",
        case.dtype,
        _how(case),
        _spread(result.seconds, 1e3),
        f"{result.clips_per_s:.3g}",
        f"{case.flops / result.seconds.median / 1e12:.3g}",
        f"{_spread(result.ceiling_share, 100)} %",
        _megabytes(result.peak_bytes),
    )


def _ceilings(results: Sequence[Result]) -> str:
    """Return the rates of matrix products by precision, as measured with the case of most operations."""
    lines = []
    for dtype in dict.fromkeys(result.case.dtype for result in results):
        largest = max((each for each in results if each.case.dtype == dtype), key=lambda each: each.case.flops)
        rates = ", ".join(f"{name}: {rate / 1e12:.3g}" for name, rate in largest.product_rates)
        lines.append(f"- {dtype}, beside {label(largest.case)}: {rates}")
    return (
        "Matrix products [N, C] × [C, D] in TFLOP/s; the first is the ceiling:\n\n" + "\n".join(lines) if lines else ""
    )


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    header = (
        "model", "job", "clips × frames", "published", "ours", "published ms", "ours ms", "times as fast",
        "published peak MB", "ours peak MB", "share of memory", "largest difference",
    )  # fmt: skip
    return markdown_table(header, [row for each in comparisons for row in _comparison_rows(each)])


def _comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    peer, rows = comparison.peer, []
    for ours, ratio in zip(comparison.ours, comparison.ratios, strict=True):
        assert peer.seconds is not None
        assert ours.seconds is not None
        memory = ours.peak_bytes / peer.peak_bytes if ours.peak_bytes and peer.peak_bytes else None
        rows.append(
            (
                peer.case.size,
                peer.case.job,
                f"{peer.case.clips} × {peer.case.frames}",
                f"{peer.case.dtype}, eager",
                f"{ours.case.dtype}, {_how(ours.case)}",
                _spread(peer.seconds, 1e3),
                _spread(ours.seconds, 1e3),
                f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})",
                _megabytes(peer.peak_bytes),
                _megabytes(ours.peak_bytes),
                "–" if memory is None else f"{memory:.2f}",
                f"{comparison.largest_difference:.0e}",
            )
        )
    return rows


def _curve_table(curve: Sequence[Result]) -> str:
    """Return one row per axis, from the cases that differ from the common case only in this axis."""
    header = ("axis", "values", "ms", "TFLOP/s", "time grows with power", "operations grow with power")
    return markdown_table(header, [_curve_row(axis, axis_results(curve, axis)) for axis in _AXES])


def axis_results(curve: Sequence[Result], axis: str) -> list[Result]:
    """Return, in order, the results whose other two axes have their most common value."""
    fixed = {other: _commonest([getattr(each.case, other) for each in curve]) for other in _AXES if other != axis}
    found = [each for each in curve if all(getattr(each.case, other) == value for other, value in fixed.items())]
    return sorted(found, key=lambda each: getattr(each.case, axis))


def _commonest(values: Sequence[int]) -> int:
    return max(values, key=values.count)


def _curve_row(axis: str, results: Sequence[Result]) -> tuple[str, ...]:
    values = [getattr(each.case, axis) for each in results]
    times = [each.seconds.median for each in results if each.seconds]
    flops = [each.case.flops for each in results]
    return (
        axis,
        ", ".join(map(str, values)),
        ", ".join(f"{1e3 * each:.3g}" for each in times),
        ", ".join(f"{work / took / 1e12:.3g}" for work, took in zip(flops, times, strict=True)),
        f"{exponent(values, times):.2f}",
        f"{exponent(values, flops):.2f}",
    )


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Return the power of ``values`` with which ``costs`` grow: the slope of a line through their logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def operators_table(case: Case, operators: Sequence[tuple[str, int, float]]) -> str:
    """Return a table of the operators of a step with their share of the time."""
    rows = [(f"`{name[:80]}`", str(calls), f"{share:.1%}") for name, calls, share in operators]
    return f"{label(case)}:\n\n" + markdown_table(("operator", "calls", "share of time"), rows)


def _spread(spread: Spread, scale: float) -> str:
    low, median, high = (_figure(scale * each) for each in (spread.low, spread.median, spread.high))
    return f"{median} ({low}–{high})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.0f}"
