"""Write the reports of a run that people and other programs read beside the JSON report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchexport.core.files import atomic_write_sibling
from batchexport.core.options import RunOptions
from batchexport.core.report import RunReport
from batchexport.reporting import history
from batchexport.reporting.timeline import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """A report that could not be written, and why. `asked`: an option names its file."""

    path: Path
    reason: str
    asked: bool


def write_reports(
    report: RunReport, options: RunOptions, spans: Sequence[Span], *, page: Path, kept: Path | None
) -> list[Unwritten]:
    """Write the reports that options name, the page if anything was built or failed, and add the run to the history.

    `page` is where the page belongs without `--html`; `kept` is the folder of histories, None where none is kept.
    Returns what could not be written; never raises OSError.
    """
    idle = report.is_idle
    if idle and not (options.junit or options.html or options.trace):
        return []
    whole = not (options.only or options.tags or options.expression or options.failed)
    path = history.history_file(kept, options.manifest) if kept is not None else None
    earlier = history.load(path) if path is not None else []
    unwritten: list[Unwritten] = []

    def write(to: Path, content: Callable[[], bytes], *, asked: bool) -> None:
        try:
            atomic_write_sibling(to, content())
        except OSError as error:
            unwritten.append(Unwritten(path=to, reason=error.strerror or str(error), asked=asked))

    if options.junit is not None:
        from batchexport.reporting.junit import junit_xml

        write(options.junit, lambda: junit_xml(report), asked=True)
    if options.trace is not None:
        from batchexport.reporting.trace import chrome_trace

        write(options.trace, lambda: json.dumps(chrome_trace(report, spans)).encode(), asked=True)
    if options.html is not None or not idle:
        from batchexport.reporting.page import html_page

        def text() -> bytes:
            return html_page(report, spans, earlier, whole=whole).encode("utf-8", "backslashreplace")

        write(options.html or page, text, asked=options.html is not None)
    if path is not None and not idle:
        try:
            history.save(path, [*earlier, history.run_of(report, whole=whole)])
        except OSError:  # it is only for comparison
            pass
    return unwritten
