"""Tell a run to GitHub Actions: annotations of failures, and a summary in Markdown.

Forms: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchexport.core.report import JobReport, RunReport
from batchexport.core.text import format_duration
from batchexport.reporting.words import built_reasons

_ANNOTATIONS = 10  # GitHub shows no more of one step
_ROWS = 200
_SLOWEST = 5
_MAX_BYTES = 1 << 20  # of the summary of one step; GitHub refuses more
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def error_commands(report: RunReport, folder: str = "") -> list[str]:
    """Return workflow commands that mark the failed jobs, at the line of the user's code where that is known.

    `folder` is that of the manifest, relative to the repository.
    """
    return [_annotation(job, folder) for job in report.jobs if job.unexpected][:_ANNOTATIONS]


def _annotation(job: JobReport, folder: str) -> str:
    assert job.error is not None
    places = {"title": f"{job.name}: {job.error.stage} ({job.error.kind})"}
    where = job.error.where
    if where is not None and not where.file.startswith("/"):
        places = {"file": f"{folder}/{where.file}" if folder else where.file, "line": str(where.line), **places}
    told = job.error.message + (f"\n{job.error.remedy}" if job.error.remedy else "")
    properties = ",".join(f"{name}={_escaped(value, _PROPERTY)}" for name, value in places.items())
    return f"::error {properties}::{_escaped(told, _DATA)}"


def _escaped(text: str, table: dict[str, str]) -> str:
    return re.sub("[%\r\n:,]", lambda found: table.get(found[0], found[0]), text)


def step_summary(report: RunReport) -> str:
    """Return the summary of a run in Markdown: counts, failures, what was built and why, and the slowest jobs."""
    lines = [f"### batchexport: {_cell(report.manifest)}", "", _counts(report), ""]
    lines += _table(
        "Failed",
        ("job", "stage", "what happened", "what to do"),
        [
            (job.name, f"{job.error.stage} ({job.error.kind})", job.error.message, job.error.remedy or "")
            for job in report.jobs
            if job.unexpected and job.error is not None
        ],
    )
    built = [job for job in report.jobs if job.built]
    lines += _table("Built", ("job", "why"), [(job.name, "; ".join(built_reasons(job))) for job in built])
    slow = sorted(built, key=lambda job: -job.seconds)[:_SLOWEST]
    lines += _table("Slowest", ("job", "time"), [(job.name, format_duration(job.seconds)) for job in slow])
    text = "\n".join(lines) + "\n"
    return text if len(text.encode()) <= _MAX_BYTES else "\n".join(lines[:4]) + "\nToo many jobs to list here.\n"


def _counts(report: RunReport) -> str:
    counts = f"**{report.ok} ok, {report.failed} failed, {report.skipped} skipped** of {len(report.jobs)} jobs"
    return f"{counts} in {format_duration(report.seconds)}"


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield f"<details{' open' if title == 'Failed' else ''}><summary>{title} ({len(rows)})</summary>"
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for cells in rows[:_ROWS]:
        yield f"| {' | '.join(map(_cell, cells))} |"
    if len(rows) > _ROWS:
        yield f"\n… and {len(rows) - _ROWS} more"
    yield ""
    yield "</details>"
    yield ""


def _cell(text: str) -> str:
    """Escape what would end a cell of a table, or be taken for HTML or Markdown."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
