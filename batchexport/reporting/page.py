"""Write the report of a run as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchexport.core.report import STAGES, JobReport, RunReport, StageReport
from batchexport.core.text import format_bytes, format_duration
from batchexport.reporting import history, svg
from batchexport.reporting.evidence import corners
from batchexport.reporting.timeline import Span
from batchexport.reporting.words import rank, skip_reason

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_REASONS = 12
_EVIDENCE = 100  # built jobs whose evidence is drawn; the others have it in job.json
_FAILURES = 100  # shown with their logs; of the others the list of all jobs has the message
_WARNINGS = 5


def html_page(
    report: RunReport, spans: Sequence[Span] = (), earlier: Sequence[history.Run] = (), *, whole: bool = True
) -> str:
    """Return the page of a run. `spans` are those of its stages; `earlier` are the runs before, the oldest first.

    `whole` is False where only some jobs of the manifest were selected.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    runs = [*earlier, history.run_of(report, whole=whole)][-history.KEPT :]
    ranked = sorted(report.jobs, key=rank)
    jobs = [_job(job, runs) for job in ranked]
    _add_evidence(ranked, jobs)
    failed = [job for job in jobs if job["status"] == "failed"]
    return template.render(
        report=report,
        duration=format_duration(report.seconds),
        counts=_counts(report, jobs),
        failures=failed[:_FAILURES],
        failed=len(failed),
        flaky=[job["name"] for job in jobs if job["flaky"]],
        slow=[(job["name"], one) for job in jobs for one in job["slower"]],
        news=_news(runs),
        reasons=_reasons(report),
        jobs=jobs,
        tags=sorted({tag for job in report.jobs for tag in job.tags}),
        timeline=svg.timeline(spans),
        seconds_line=svg.sparkline([run["seconds"] for run in runs], "seconds of the last runs"),
        failed_line=svg.sparkline([run["failed"] for run in runs], "failed jobs of the last runs"),
        runs=len(runs),
        usual=_usual(runs),
        toolchain=report.toolchain,
    )


def _counts(report: RunReport, jobs: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    counts = Counter(job["status"] for job in jobs)
    return [(word, counts[word]) for word in ("failed", "built", "cached", "skipped", "expected") if counts[word]]


def _usual(runs: Sequence[history.Run]) -> str | None:
    """Return the median time of the runs before this one, in words."""
    seconds = sorted(run["seconds"] for run in runs[:-1])
    return format_duration(seconds[len(seconds) // 2]) if seconds else None


def _news(runs: Sequence[history.Run]) -> dict[str, list[str]]:
    """Return the jobs that fail since this run, that pass again, and that are new."""
    if len(runs) < 2:
        return {}
    before, now = runs[-2]["jobs"], runs[-1]["jobs"]

    def failed(jobs: Mapping[str, Any]) -> set[str]:
        return {name for name, row in jobs.items() if row[0] == "failed"}

    found = {
        "newly failing": failed(now) - failed(before),
        "passing again": {name for name in failed(before) - failed(now) if name in now},
    }
    if runs[-2]["whole"] and runs[-1]["whole"]:
        found |= {"new": now.keys() - before.keys(), "gone": before.keys() - now.keys()}
    return {word: sorted(names) for word, names in found.items() if names}


def _reasons(report: RunReport) -> list[tuple[str, int]]:
    """Return why stages were built, the most frequent reasons first."""
    stages = (stage for job in report.jobs if job.built for stage in job.stages.values() if stage.outcome == "built")
    return Counter(stage.reason for stage in stages).most_common(_REASONS)


def _job(job: JobReport, runs: Sequence[history.Run]) -> dict[str, Any]:
    state = history.status(job)
    return {
        "name": job.name,
        "status": state,
        "tags": job.tags,
        "seconds": format_duration(job.seconds) if job.seconds else "",
        "stages": [(name, _stage(job.stages[name])) for name in STAGES if state == "built" and name in job.stages],
        "error": job.error,
        "why": skip_reason(job) if state in ("skipped", "expected") else "",
        "since": history.failing_since(runs, job.name) if state == "failed" else None,
        "flaky": history.is_flaky(runs, job.name),
        "slower": history.slower(runs[:-1], job),
        "warnings": job.warnings[:_WARNINGS],
        "size": format_bytes(job.stats["parameter_bytes"]) if "parameter_bytes" in job.stats else "",
        "operators": job.stats.get("op_count", ""),
        "folder": os.path.dirname(next(iter(job.outputs.values()), "")),
        "files": [os.path.basename(path) for path in job.outputs.values()] if state == "built" else [],
        "corners": [],
    }


def _add_evidence(ranked: Sequence[JobReport], jobs: Sequence[dict[str, Any]]) -> None:
    """Add to the first built ones of `jobs`, made of the reports `ranked`, how they compared with eager."""
    built = [(report, job) for report, job in zip(ranked, jobs, strict=True) if job["status"] == "built"]
    for report, job in built[:_EVIDENCE]:
        job["corners"] = corners(report)


def _stage(stage: StageReport) -> dict[str, str]:
    return {
        "outcome": str(stage.outcome),
        "seconds": format_duration(stage.seconds) if stage.seconds else "",
        "memory": format_bytes(stage.peak_rss_bytes) if stage.peak_rss_bytes else "",
        "reason": stage.reason,
    }
