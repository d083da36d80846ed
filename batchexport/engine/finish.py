"""Deliver the outputs of a finished job, or explain its failure, and make its one report: as expected or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from batchexport.core.archives import UnsafeArchive
from batchexport.core.errors import Kind
from batchexport.core.events import JobFinished, Listener
from batchexport.core.job import Job
from batchexport.core.report import Failure, JobReport, Outcome, StageReport
from batchexport.core.text import quoted
from batchexport.engine.job_json import job_json
from batchexport.engine.job_run import JobRun
from batchexport.engine.requests import StageRequests
from batchexport.store.errors import DiskFull
from batchexport.store.outputs import FILES, Delivery, stamp
from batchexport.store.store import Record
from batchexport.workers.log_tail import log_tail

# Kinds of failure for which the child left no message of its own, so that the report quotes the log.
_NO_OWN_MESSAGE = (Kind.CRASH, Kind.OOM, Kind.TIMEOUT)
# Failures of the machine or of batchexport, which say nothing about the model and so never are the expected one.
_NOT_THE_MODEL = (Kind.DISK, Kind.TOOLCHAIN, Kind.INTERNAL)


class JobFinisher:
    """Make the report of each job of one run, and send it to the listener."""

    def __init__(self, *, requests: StageRequests, delivery: Delivery, listener: Listener, total: int) -> None:
        self._requests = requests
        self._delivery = delivery
        self._listener = listener
        self._total = total
        self._reports: dict[str, JobReport] = {}

    @property
    def failures(self) -> int:
        """Return how many jobs have failed unexpectedly so far."""
        return sum(report.unexpected for report in self._reports.values())

    def reports(self, jobs: Sequence[Job]) -> tuple[JobReport, ...]:
        """Return one report per job, in the order of `jobs`; a job without one by now was interrupted."""
        for job in jobs:
            if job.name not in self._reports:
                self.cancel(JobRun(job), "export", "interrupted")
        return tuple(self._reports[job.name] for job in jobs)

    def deliver(self, run: JobRun) -> JobReport:
        """Deliver what a job has built; return its report. Raises BlobMissing, BlobDamaged, StoreError, OSError.

        A run with `--stage` delivers unverified files, but does not replace the same files that were verified.
        A job that was expected to fail is delivered too, and reported as failed.
        """
        assert run.export is not None
        job = run.job
        wanted = {"exported": (FILES["exported"], "export", run.export)}
        if run.compiled is not None:
            wanted["compiled"] = (FILES[job.compile.format], "compile", run.compiled)
        digests = {file: result.files[inner] for inner, (file, _, result) in wanted.items()}
        made_from = stamp(job, run.export, run.compiled, run.verified)
        verified_before = run.verified is None and self._delivery.holds(job.folder, digests)
        if not verified_before and not self._delivery.is_current(job.folder, digests, made_from):
            sources: dict[str, tuple[Record, str]] = {
                file: (self._requests.record(kind, result), inner) for inner, (file, kind, result) in wanted.items()
            }
            self._delivery.deliver(job.folder, sources, job_json(run, sources), made_from)
        folder = os.path.relpath(self._delivery.folder(job.folder), self._requests.manifest.root)
        outputs = {inner: f"{folder}/{file}" for inner, (file, _, _) in wanted.items()}
        passed = _unexpected_pass(run)
        return self.end(run, ok=passed is None, error=passed, outputs=outputs)

    def fail(self, run: JobRun, failure: Failure) -> JobReport:
        """Report a job as failed, with its log, the log's tail and a command to reproduce the failure.

        Returns the report, which says whether the manifest expects the failure.
        """
        log = self._requests.log(run.job, failure.stage)
        kept = log.exists() and not self._requests.store.read_only  # whose logs end with the run
        shown = os.path.relpath(log, self._requests.manifest.root) if kept else None
        tail = log_tail(log) if failure.kind in _NO_OWN_MESSAGE else ()
        command = self._requests.reproduce(run.job, failure.stage)
        error = replace(failure, log=shown, log_tail=tail, reproduce=command)
        expected = failure.stage == run.job.expected_failure and failure.kind not in _NOT_THE_MODEL
        return self.end(run, error=error, expected=expected)

    def cancel(self, run: JobRun, stage: str, reason: str) -> None:
        """Report a job as cancelled at a stage, unless it has its report already."""
        run.stages[stage] = StageReport(outcome=Outcome.CANCELLED, reason=reason)
        if run.job.name not in self._reports:
            self.end(run)

    def end(
        self,
        run: JobRun,
        *,
        ok: bool = False,
        error: Failure | None = None,
        expected: bool = False,
        outputs: dict[str, str] | None = None,
    ) -> JobReport:
        """Make, send and return the report of a job."""
        report = run.report(ok=ok, error=error, expected=expected, outputs=outputs)
        self._reports[run.job.name] = report
        self._listener(JobFinished(report=report, done=len(self._reports), total=self._total))
        return report


def _unexpected_pass(run: JobRun) -> Failure | None:
    """Return the failure of a job that passed the stage that was expected to fail; None if it was not reached."""
    stage = run.job.expected_failure
    if stage is None or run.stages[stage].outcome not in (Outcome.BUILT, Outcome.CACHED):
        return None
    written = f'expect = "fail:{stage}"'
    return Failure(
        stage=stage,
        kind=Kind.EXPECT,
        message=f"the manifest says {written}, but {stage} passed; the outputs are delivered",
        remedy=f"remove {written} from [[entry]] {quoted(run.job.entry)}",
    )


def store_failure(stage: str, error: Exception) -> Failure:
    """Return the failure for an error of the store: of kind `build` for an unsafe archive, else of kind `disk`."""
    if isinstance(error, UnsafeArchive):
        return Failure(
            stage=stage, kind=Kind.BUILD, message=str(error), remedy="get the archive from a source you trust"
        )
    full = isinstance(error, DiskFull)
    remedy = "free some disk space and run again" if full else "check the folder's permissions and disk"
    return Failure(stage=stage, kind=Kind.DISK, message=str(error), remedy=remedy)
