"""Write a run as a trace that chrome://tracing and https://ui.perfetto.dev open.

Form: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchexport.core.report import JobReport, RunReport
from batchexport.reporting.timeline import Span

_MICROSECONDS = 1e6


def chrome_trace(report: RunReport, spans: Sequence[Span]) -> dict[str, Any]:
    """Return a run as JSON: a complete event for each stage on the thread of its worker, and its peak memory."""
    jobs = {job.name: job for job in report.jobs}
    workers = sorted({span.worker for span in spans})
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": f"batchexport run {report.manifest}"}}
    ]
    events += [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": worker + 1, "args": {"name": f"worker {worker + 1}"}}
        for worker in workers
    ]
    for span in sorted(spans, key=lambda one: one.start):
        events += _span(span, jobs)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"manifest": report.manifest, "started": report.started},
    }


def _span(span: Span, jobs: Mapping[str, JobReport]) -> list[dict[str, Any]]:
    job = jobs.get(span.job)
    stage = job.stages.get(span.stage) if job else None
    start, end = (round(second * _MICROSECONDS) for second in (span.start, span.end))
    told: dict[str, Any] = {"job": span.job, "reason": span.reason}
    if stage is not None:
        told |= {"outcome": str(stage.outcome), "peak_rss_bytes": stage.peak_rss_bytes}
    event = {"ph": "X", "name": f"{span.stage} {span.job}", "cat": span.stage, "pid": 1, "tid": span.worker + 1}
    events = [{**event, "ts": start, "dur": end - start, "args": told}]
    if stage is not None and stage.peak_rss_bytes:
        name = f"peak memory, worker {span.worker + 1}"
        for at, megabytes in ((start, round(stage.peak_rss_bytes / 1e6)), (end, 0)):
            events.append({"ph": "C", "name": name, "pid": 1, "ts": at, "args": {"MB": megabytes}})
    return events
