"""Render the difference of two runs or folders as lines of plain text. Every function is pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchexport.core.text import clean, counted, first_line, format_bytes, format_duration

if TYPE_CHECKING:
    from batchexport.reporting.difference import Difference, JobChange

_WORD = 8  # the first column: as wide as "changed"


def diff_lines(found: Difference) -> list[str]:
    """Return a line for each job that differs, worst first, what changed in it below, and the counts."""
    lines = []
    for name, facts in found.newly_failing:
        message = first_line(facts.message or "")
        lines.append(f"{'broken':<{_WORD}} {clean(name)}  {facts.kind}: {clean(message)}")
    for word, names in (("fixed", found.fixed), ("gone", found.gone), ("new", found.new)):
        lines += [f"{word:<{_WORD}} {clean(name)}" for name in names]
    for change in found.changed:
        lines += [f"{'changed':<{_WORD}} {clean(change.name)}", *_change_lines(change)]
    counts = (
        (len(found.newly_failing), "newly failing"),
        (len(found.fixed), "fixed"),
        (len(found.gone), "gone"),
        (len(found.new), "new"),
        (len(found.changed), "changed"),
        (len(found.failing), "failing as before"),
        (found.same, "the same"),
    )
    parts = ", ".join(f"{count} {words}" for count, words in counts if count)
    return [*lines, f"{counted(found.jobs, 'job')}: {parts or 'nothing to compare'}"]


def _change_lines(change: JobChange) -> list[str]:
    lines = []
    if change.kind is not None:
        lines.append(f"failure    {change.kind[0]} → {change.kind[1]}")
    if change.op_count is not None:
        lines.append(f"operators  {change.op_count[0]} → {change.op_count[1]}")
    for name, (before, after) in change.ops.items():
        sign = "+" if after > before else "-"
        lines.append(f"  {sign}{abs(after - before)}  {clean(name)}  {before} → {after}")
    for name, (before, after) in change.sizes.items():
        if format_bytes(before) == format_bytes(after):
            lines.append(f"size       {clean(name)}  {after - before:+d} bytes of {format_bytes(before)}")
        else:
            lines.append(f"size       {clean(name)}  {format_bytes(before)} → {format_bytes(after)}")
    for name, (earlier, later) in change.seconds.items():
        lines.append(f"time       {clean(name)}  {format_duration(earlier)} → {format_duration(later)}")
    if change.difference is not None:
        lines.append(f"verified   differs from eager by {change.difference[0]:.3g} → {change.difference[1]:.3g}")
    return [f"{'':<{_WORD}}   {line}" for line in lines]
