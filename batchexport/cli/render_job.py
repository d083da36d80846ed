"""Render what is known of one job, and its logs, as lines of plain text. Every function is pure."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from batchexport.cli.render import failure_parts, labelled
from batchexport.core.report import STAGES
from batchexport.core.text import clean, clean_lines, counted, first_line, format_bytes, format_duration

if TYPE_CHECKING:
    from batchexport.planning.job_details import JobDetails, LogFile

_OPS = 12  # operators shown, most frequent first
_labelled = partial(labelled, indent="  ", width=10)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def log_lines(log: LogFile, text: Iterable[str]) -> Iterator[str]:
    """Yield a line with the path of a log, and its lines without terminal control characters."""
    yield f"==> {clean(log.path)} ({log.stage}, {format_bytes(log.bytes)}) <=="
    for line in text:
        yield from clean_lines(_ESCAPE.sub("", line)) or [""]


def ended_lines(known: JobDetails) -> list[str]:
    """Return a line about how a job ended last, for below what it is to do; none if that is not known."""
    if known.ended is None or known.report is None:
        return []
    error = known.error
    if error is None:
        return [f"  last run {known.ended}: {'delivered' if known.report.get('ok') else 'not delivered'}"]
    return [
        f"  last run {known.ended}: {error['stage']} failed ({error['kind']}): {clean(first_line(error['message']))}"
    ]


def job_lines(known: JobDetails, *, base: str = "") -> list[str]:
    """Return all that is known of a job; `base` is the manifest's folder."""
    state = known.state
    lines = [clean(state.name)]
    detail = f": {state.detail}" if state.detail and state.detail != "up to date" else ""
    lines += _labelled("outputs", f"{state.state}{detail}")
    lines += _last_run(known)
    if known.error is not None:
        lines += _failure(known.error, base, known.draft_report)
    lines += _files(known)
    lines += _evidence(known.job_json)
    return lines + [line for log in known.logs for line in _labelled("logs", f"{log.path}  {format_bytes(log.bytes)}")]


def _last_run(known: JobDetails) -> list[str]:
    report = known.report
    if report is None:
        return _labelled("last run", "none is known in this cache")
    stages = report.get("stages", {})
    lines = _labelled("last run", f"{known.ended}")
    for name in STAGES:
        if name in stages:
            stage = stages[name]
            took = f" {format_duration(stage['seconds'])}" if stage.get("seconds") else ""
            peak = f", {format_bytes(stage['peak_rss_bytes'])}" if stage.get("peak_rss_bytes") else ""
            reason = f" ({stage['reason']})" if stage.get("reason") else ""
            lines += _labelled("", f"{name:<8} {stage['outcome']}{took}{peak}{reason}")
    for warning in report.get("warnings", ()):
        lines += _labelled("warning", warning)
    return lines


def _failure(error: Mapping[str, Any], base: str, draft_report: str | None) -> list[str]:
    parts = failure_parts(error, base)
    parts += [("class", str(error["class"]))] if error.get("class") else []
    parts += [("draft", draft_report)] if draft_report else []
    return [line for label, text in parts for line in _labelled(label, text)]


def _files(known: JobDetails) -> list[str]:
    lines = []
    for name, size in known.files.items():
        lines += _labelled("file", f"{os.path.join(known.state.path, name)}  {format_bytes(size)}")
    keys = known.job_json.get("keys")
    if isinstance(keys, Mapping):
        lines += [line for name, key in keys.items() for line in _labelled("key", f"{name:<8} {key}")]
    return lines


def _evidence(form: Mapping[str, Any]) -> list[str]:
    lines = []
    stats = form.get("stats")
    if isinstance(stats, Mapping):
        size = stats.get("parameter_bytes")
        parameters = f", {format_bytes(size)} of parameters" if isinstance(size, int | float) else ""
        lines += _labelled("program", f"{counted(stats.get('op_count', 0), 'call')} of operators{parameters}")
        ops = stats.get("ops")
        if isinstance(ops, Mapping) and ops:
            frequent = sorted(ops.items(), key=lambda item: (-item[1], item[0]))
            more = f" and {len(ops) - _OPS} more" if len(ops) > _OPS else ""
            lines += _labelled("operators", ", ".join(f"{count} {name}" for name, count in frequent[:_OPS]) + more)
    verify = form.get("verify")
    if isinstance(verify, Mapping):
        for sample in verify.get("samples", ()):
            point = ", ".join(f"{name}={size}" for name, size in sample.get("point", {}).items()) or "example"
            lines += _labelled("verified", f"{point}  differs by {sample['max_abs_diff']:.3g} of {sample['scale']:.3g}")
        if isinstance(refused := verify.get("refused"), Mapping):
            point = ", ".join(f"{name}={size}" for name, size in refused.get("point", {}).items())
            lines += _labelled("verified", f"{point}  refused, as it lies outside the ranges")
    return lines
