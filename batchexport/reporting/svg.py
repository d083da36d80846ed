"""Draw small pictures as SVG text: a line of numbers, and the stages of a run by worker."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from batchexport.core.text import format_duration
from batchexport.reporting.timeline import Span

_WIDTH, _HEIGHT = 160.0, 32.0
_ROW, _BAR, _MARGIN = 22, 16, 4
_WIDE = 1000.0
_SHOWN = 1500  # spans, the longest; more can't be told apart on a screen


def sparkline(values: Sequence[float], title: str) -> str:
    """Return a line through `values`, the oldest at the left; empty for fewer than two."""
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    step = _WIDTH / (len(values) - 1)
    points = " ".join(
        f"{at * step:.1f},{_HEIGHT - 2 - value / top * (_HEIGHT - 4):.1f}" for at, value in enumerate(values)
    )
    last = points.rpartition(" ")[2].split(",")
    return (
        f'<svg class="spark" viewBox="0 0 {_WIDTH + 4:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">'
        f'<polyline points="{points}"/><circle cx="{last[0]}" cy="{last[1]}" r="2.5"/></svg>'
    )


def timeline(spans: Sequence[Span]) -> str:
    """Return a bar for each stage in the row of its worker; empty without spans."""
    if not spans:
        return ""
    shown = sorted(spans, key=lambda span: span.start - span.end)[:_SHOWN]
    end = max(span.end for span in spans) or 1.0
    rows = 1 + max(span.worker for span in spans)
    height = rows * _ROW + 20
    bars = "".join(_bar(span, end) for span in shown)
    anchors = ("start", "middle", "middle", "middle", "end")
    ticks = "".join(
        f'<text x="{part / 4 * _WIDE:g}" y="{height - 4}" text-anchor="{anchor}">'
        f"{format_duration(part / 4 * end)}</text>"
        for part, anchor in enumerate(anchors)
    )
    label = f"stages of {rows} workers over {format_duration(end)}"
    return (
        f'<svg class="timeline" viewBox="0 0 {_WIDE:g} {height}" role="img" aria-label="{escape(label)}">'
        f"{bars}{ticks}</svg>"
    )


def _bar(span: Span, end: float) -> str:
    left, width = span.start / end * _WIDE, max((span.end - span.start) / end * _WIDE, 0.5)
    title = escape(f"{span.job}: {span.stage} {format_duration(span.end - span.start)}")
    return (
        f'<rect class="{escape(span.stage)}" x="{left:.1f}" y="{span.worker * _ROW + _MARGIN}" width="{width:.1f}" '
        f'height="{_BAR}"><title>{title}</title></rect>'
    )
