"""Word failures and reasons for reports, as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from batchexport.core.report import STAGES, Failure, JobReport, Outcome


def failure_lines(error: Failure) -> Iterator[str]:
    """Yield all that a failure tells, a line for each thing."""
    yield f"{error.stage} failed ({error.kind}): {error.message}"
    if error.remedy:
        yield f"remedy: {error.remedy}"
    yield from (f"finding: {finding}" for finding in error.findings)
    if error.log:
        yield f"log: {error.log}"
    yield from (f"  {line}" for line in error.log_tail)
    if error.reproduce:
        yield f"reproduce: {error.reproduce}"


def skip_reason(job: JobReport) -> str:
    """Return why a job that did not fail unexpectedly delivered nothing."""
    if job.error is not None:
        return f"fails as expected in {job.error.stage}: {job.error.message}"
    reasons = [
        stage.reason
        for stage in (job.stages[name] for name in STAGES if name in job.stages)
        if stage.outcome in (Outcome.SKIPPED, Outcome.CANCELLED) and stage.reason
    ]
    return reasons[0] if reasons else "nothing was delivered"


def built_reasons(job: JobReport) -> list[str]:
    """Return what was built and why: `export: source: models.py changed`."""
    found = ((name, job.stages[name]) for name in STAGES if name in job.stages)
    return [f"{name}: {stage.reason}" for name, stage in found if stage.outcome is Outcome.BUILT]


def rank(job: JobReport) -> tuple[bool, bool, str]:
    """Return a sort key for jobs: unexpected failures first, then skipped ones, each by name."""
    return not job.unexpected, job.ok, job.name
