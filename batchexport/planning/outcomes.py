"""Remember how each job of a manifest ended last, for `--failed`, `explain`, `logs` and `show`.

An outcome never decides whether to build: losing the index costs the memory of it, not a result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchexport.core.report import JobReport, Outcome
from batchexport.core.text import counted
from batchexport.store.index import Index

if TYPE_CHECKING:
    from batchexport.core.job import Job

_FAILED, _ENDED = "failed-jobs", "outcome"  # spaces of the index
_DONE = (Outcome.BUILT, Outcome.CACHED)


class LastOutcomes:
    """The last outcome of each job of one manifest: the reports of those that failed or had work to do."""

    def __init__(self, index: Index, manifest: Path) -> None:
        self._index = index
        self._manifest = str(manifest.absolute())

    def remember(self, reports: Iterable[JobReport]) -> None:
        """Store how the jobs of a run ended. Jobs that the run did not have keep what is known of them."""
        known = tuple(reports)
        before = self.failed() or {}
        ended = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        rows = {
            self._name(report.name): {"ended": ended, "report": report.to_json()}
            for report in known
            if report.name in before or not _at_rest(report)
        }
        self._index.put_many(_ENDED, rows)
        self._index.update(_FAILED, self._manifest, lambda old: still_failed(_stages(old), known))

    def failed(self) -> dict[str, str] | None:
        """Return the jobs that failed when they last ran, each with its stage; None if no run is known."""
        row = self._index.get(_FAILED, self._manifest)
        return None if row is None else _stages(row)

    def select_failed(self, jobs: Sequence[Job]) -> tuple[tuple[Job, ...], str | None]:
        """Return the jobs that failed when they last ran, and a note for the user if there is none."""
        failed = self.failed()
        if failed is None:
            return (), "no earlier run of this manifest is known here, so --failed selects nothing"
        chosen = tuple(job for job in jobs if job.name in failed)
        if chosen:
            return chosen, None
        if failed:
            kept = counted(len(failed), "job")
            return (), f"{kept} failed in the last run, but none of them is selected here, so --failed selects nothing"
        return (), "no job failed in the last run, so --failed selects nothing"

    def job(self, name: str) -> Mapping[str, Any] | None:
        """Return what is known of a job: `ended` (ISO 8601) and `report`, in the form of the JSON report; or None."""
        row = self._index.get(_ENDED, self._name(name))
        if isinstance(row, dict) and isinstance(row.get("report"), dict) and isinstance(row.get("ended"), str):
            return row
        return None

    def _name(self, job: str) -> str:
        return f"{self._manifest}|{job}"


def any_failed(index: Index, manifest: Path) -> bool:
    """Return True if a job of a manifest failed when it last ran."""
    return bool(LastOutcomes(index, manifest).failed())


def still_failed(before: Mapping[str, str], reports: Iterable[JobReport]) -> dict[str, str]:
    """Return the failed jobs, each with its stage, after a run with these reports.

    A job that was cancelled, or that ran only up to a stage before the one in which it failed, is as it was.
    """
    found = dict(before)
    for report in reports:
        if report.unexpected and report.error is not None:
            found[report.name] = report.error.stage
        elif report.name in found and (report.expected or _passed(report, found[report.name])):
            del found[report.name]
    return found


def _passed(report: JobReport, stage: str) -> bool:
    outcomes = [one.outcome for name, one in report.stages.items() if name in (stage, "verify")]
    return report.error is None and any(outcome in _DONE for outcome in outcomes)


def _at_rest(report: JobReport) -> bool:
    """Return True if nothing of a job ran or failed, so that an earlier outcome of it says more."""
    return report.error is None and not any(
        stage.seconds or stage.outcome in (Outcome.BUILT, Outcome.FAILED) for stage in report.stages.values()
    )


def _stages(row: Any) -> dict[str, str]:
    if not isinstance(row, dict):
        return {}
    return {name: stage for name, stage in row.items() if isinstance(name, str) and isinstance(stage, str)}
