"""Render what `--apply-fixes` has changed in a manifest."""

from __future__ import annotations

from batchexport.cli.render import RUN_WORD
from batchexport.core.edits import AppliedFix
from batchexport.core.text import clean, quoted


def fix_lines(fix: AppliedFix, manifest: str) -> list[str]:
    """Return the line of one changed key: where it is, what was there and what is there now."""
    what = f"{clean(fix.before)} → {clean(fix.after)}" if fix.before and fix.after else ""
    if fix.before is None:
        what = f"added {clean(fix.after or '')}"
    elif fix.after is None:
        what = f"removed {clean(fix.before)}"
    entry = f"entry {quoted(fix.entry)}, " if fix.entry else ""
    place = f"{clean(manifest)}:{fix.line}: {entry}{clean(fix.key)}"
    return [f"{'fixed':<{RUN_WORD}} {place}: {what}"]
