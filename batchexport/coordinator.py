"""The coordinator schedules and never executes: it decides, starts children, publishes and delivers.

Every job ends in exactly one report, whatever its children do.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from batchexport.archives import UnsafeArchive
from batchexport.assignment import Assignments
from batchexport.decide import Decider, Hit, Miss
from batchexport.delivery import FILES, Delivery
from batchexport.errors import Kind, StoreError
from batchexport.events import JobFinished, Listener, Note, StageFinished, StageStarted
from batchexport.jobfile import job_file, stamp
from batchexport.jobrun import JobRun, Running
from batchexport.probe import why_no_cuda
from batchexport.publish import Publisher, fingerprint
from batchexport.report import STAGES, Failure, JobReport, Outcome, StageReport
from batchexport.results import Result, Results
from batchexport.schedule import Schedule, Task
from batchexport.specs import Job
from batchexport.store.errors import BlobDamaged, BlobMissing, DiskFull
from batchexport.store.lock import Lock
from batchexport.store.store import Record
from batchexport.timings import Timings
from batchexport.verdict import Changed, Success, verdict
from batchexport.workers.forkserver import Ended
from batchexport.workplace import Workplace

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.5


class Runner(Protocol):
    """What runs stages: the fork server, or this very process."""

    note: str | None

    def start(self, request: dict[str, Any]) -> None: ...
    def signal(self, name: str, number: int) -> None: ...
    def wait(self, timeout: float | None) -> list[Ended]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a run behaves; see `batchexport run --help`."""

    last_stage: str = "verify"
    require_all: bool = False
    fail_fast: bool = False
    paranoid: bool = False


class Coordinator:
    """Brings every job of one run to its report."""

    def __init__(
        self,
        *,
        workplace: Workplace,
        decider: Decider,
        results: Results,
        publisher: Publisher,
        delivery: Delivery,
        timings: Timings,
        schedule: Schedule,
        runner: Runner,
        listener: Listener,
        policy: Policy,
    ) -> None:
        self._workplace = workplace
        self._store = workplace.store
        self._decider = decider
        self._results = results
        self._publisher = publisher
        self._assignments = Assignments(workplace, results)
        self._delivery = delivery
        self._timings = timings
        self._schedule = schedule
        self._runner = runner
        self._listener = listener
        self._policy = policy
        self._reports: dict[str, JobReport] = {}
        self._ready: dict[str, tuple[JobRun, str, Miss]] = {}
        self._waiting: list[Task] = []
        self._running: dict[str, Running] = {}
        self._total = 0
        self._stopping = False
        self.interrupted = False

    def run(self, jobs: Sequence[Job]) -> tuple[JobReport, ...]:
        """All jobs to their ends. On KeyboardInterrupt: children are ended, what is finished is kept.

        Raises EnvironmentProblem where no child can be started at all.
        """
        self._total = len(jobs)
        try:
            for job in jobs:
                self._advance(JobRun(job))
            if self._ready:
                self._store.sweep()
                self._loop()
        except KeyboardInterrupt:
            self.interrupted = True
            self._cancel("interrupted")
        finally:
            self._runner.close()
            for running in self._running.values():
                running.lock.release()
                self._store.discard(running.folder)
        for job in jobs:
            if job.name not in self._reports:
                run = JobRun(job)
                run.stages["export"] = StageReport(outcome=Outcome.CANCELLED, reason="interrupted")
                self._end(run)
        return tuple(self._reports[job.name] for job in jobs)

    def _loop(self) -> None:
        noted = False
        while self._ready or self._running:
            self._start_ready()
            for ended in self._runner.wait(self._patience()):
                self._ended(ended)
            if self._runner.note and not noted:
                noted = True
                self._listener(Note(text=self._runner.note))
            self._enforce_deadlines()
            self._retry_waiting()

    # ── one job forward ──────────────────────────────────────────────────────────────────────

    def _advance(self, run: JobRun) -> None:
        """Take a job as far as standing results reach; then enqueue its next stage, or end it."""
        for stage in STAGES:
            if stage in run.stages:
                continue
            if STAGES.index(stage) > STAGES.index(self._policy.last_stage):
                reason = f"--stage {self._policy.last_stage} was asked for"
                run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason=reason)
                continue
            if stage == "compile" and run.job.compile.format == "none":
                run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason='compile format is "none"')
                continue
            if stage != "export" and run.job.target.startswith("cuda"):
                self._without_cuda(run)
                return
            decision = self._decide(run, stage)
            if isinstance(decision, Miss):
                self._enqueue(run, stage, decision)
                return
            self._take(run, stage, decision.result)
            run.stages[stage] = StageReport(outcome=Outcome.CACHED, reason=decision.reason, key=decision.result.key)
        self._deliver(run)

    def _decide(self, run: JobRun, stage: str) -> Hit | Miss:
        if stage == "export":
            return self._decider.export(run.job)
        assert run.export is not None
        if stage == "compile":
            return self._decider.compile(run.job, run.export, pack=run.packs)
        return self._decider.verify(run.job, run.export, run.compiled)

    def _take(self, run: JobRun, stage: str, result: Result) -> None:
        if stage == "export":
            run.export = result
        elif stage == "compile":
            run.compiled = result
        else:
            run.verified = result

    def _without_cuda(self, run: JobRun) -> None:
        # Code for the CPU under the name of a CUDA target would be a wrong artifact, so there is none.
        reason = why_no_cuda()
        for stage in ("compile", "verify"):
            run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason=reason)
        if not self._policy.require_all:
            self._end(run)
            return
        message = f"{reason}, and --require-all was given"
        remedy = "drop the cuda targets, or run without --require-all"
        self._end(run, error=Failure(stage="compile", kind=Kind.TOOLCHAIN, message=message, remedy=remedy))

    def _enqueue(self, run: JobRun, stage: str, miss: Miss) -> None:
        if self._stopping:
            run.stages[stage] = StageReport(outcome=Outcome.CANCELLED, reason="--fail-fast")
            self._end(run)
            return
        run.reasons[stage] = miss.reason
        expected = self._timings.expected(run.job, stage)
        remaining = sum(self._timings.expected(run.job, later).seconds for later in STAGES[STAGES.index(stage) :])
        # A verify is short and ends a job: what is nearly done is delivered before more is begun.
        urgency = math.inf if stage == STAGES[-1] else remaining
        task = Task(id=f"{run.job.name}:{stage}", stage=stage, urgency=urgency, memory=expected.memory)
        self._ready[task.id] = (run, stage, miss)
        self._schedule.add(task)

    def _start_ready(self) -> None:
        while not self._stopping and (task := self._schedule.next()) is not None:
            run, stage, miss = self._ready[task.id]
            lock = self._store.try_lock(f"{stage}-{miss.lock}")
            if lock is None:
                # Somebody, maybe this very run, builds the same: wait for it and take the result.
                self._schedule.finish(task.id)
                self._waiting.append(task)
                continue
            del self._ready[task.id]
            try:
                self._start(task, run, stage, lock)
            except (BlobMissing, BlobDamaged):
                self._give_up(task, lock)
                self._heal(run)
            except (StoreError, OSError) as error:
                self._give_up(task, lock)
                self._fail(run, _store_failure(stage, error))

    def _start(self, task: Task, run: JobRun, stage: str, lock: Lock) -> None:
        self._decider.again(run.job)
        decision = self._decide(run, stage)
        if isinstance(decision, Hit):
            self._give_up(task, lock)
            self._advance(run)
            return
        folder = self._store.attempt(f"{run.job.folder}-{stage}")
        try:
            request = self._assignments.request(run, stage, decision, folder)
        except BaseException:
            self._store.discard(folder)
            raise
        now = time.monotonic()
        running = self._running[request["id"]] = Running(
            run=run,
            stage=stage,
            miss=decision,
            folder=folder,
            lock=lock,
            started=now,
            deadline=now + run.job.timeout,
        )
        run.reasons[stage] = run.reasons[stage] if decision.code is None else decision.reason
        self._listener(StageStarted(job=run.job.name, stage=stage, reason=run.reasons[stage]))
        self._runner.start(request)
        # The first start waits for the import of torch, which is no stage's own time.
        running.deadline = time.monotonic() + run.job.timeout

    def _give_up(self, task: Task, lock: Lock) -> None:
        """The task needs no child after all."""
        lock.release()
        self._schedule.finish(task.id)

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def _ended(self, ended: Ended) -> None:
        running = self._running.pop(ended.id, None)
        if running is None:
            return
        run, stage = running.run, running.stage
        self._schedule.finish(ended.id)
        seconds = ended.seconds or time.monotonic() - running.started
        self._listener(StageFinished(job=run.job.name, stage=stage, seconds=seconds))
        if self._stopping:  # it was cancelled, and is reported so
            running.lock.release()
            self._store.discard(running.folder)
            return
        outcome = verdict(ended, running.folder, stage=stage, timed_out=running.timed_out, timeout=run.job.timeout)
        report = StageReport(
            outcome=Outcome.BUILT if running.miss.code is None else Outcome.CACHED,
            reason=run.reasons[stage],
            key=running.miss.key,
            seconds=seconds,
            peak_rss_bytes=ended.peak_rss_bytes,
        )
        try:
            if isinstance(outcome, Success) and stage == "export" and self._policy.paranoid:
                self._hold_against_twin(run, running, outcome, report)
            elif isinstance(outcome, Success):
                self._succeeded(run, running, outcome, report)
            elif isinstance(outcome, Changed):
                self._input_changed(run, stage, outcome.path, running.miss)
            elif running.miss.code is not None or (stage == "verify" and run.packed):
                self._compile_instead(run, outcome)
            else:
                run.stages[stage] = replace(report, outcome=Outcome.FAILED)
                self._fail(run, outcome)
        except (StoreError, OSError) as error:
            self._fail(run, _store_failure(stage, error))
        finally:
            running.lock.release()
            self._store.discard(running.folder)

    def _succeeded(self, run: JobRun, running: Running, outcome: Success, report: StageReport) -> None:
        stage = running.stage
        result = self._publisher.publish(run, stage, running.miss, running.folder, outcome)
        if running.miss.code is None:
            self._timings.learn(run.job, stage, report.seconds, report.peak_rss_bytes)
        self._take(run, stage, result)
        run.packed = run.packed or running.miss.code is not None
        run.stages[stage] = replace(report, reason=run.reasons[stage], key=result.key)
        running.lock.release()
        self._advance(run)

    def _hold_against_twin(self, run: JobRun, running: Running, outcome: Success, report: StageReport) -> None:
        """Under --paranoid every export is built twice, and results that differ are not kept for later runs."""
        found = fingerprint(running.folder, outcome)
        if run.twin is None:
            run.twin = found
            self._enqueue(run, "export", running.miss)
            return
        if run.twin == found:
            self._publisher.trust(run.job)
        else:
            self._publisher.distrust(run.job)
        self._succeeded(run, running, outcome, report)

    def _input_changed(self, run: JobRun, stage: str, path: str, miss: Miss) -> None:
        shown = os.path.relpath(path, self._workplace.manifest.root)
        if run.changed_once:
            run.stages[stage] = StageReport(outcome=Outcome.FAILED, reason=run.reasons[stage])
            message = f"{shown} changed while the stage ran, twice"
            remedy = "run again when nothing edits it"
            self._fail(run, Failure(stage=stage, kind=Kind.EXPORT, message=message, remedy=remedy))
            return
        run.changed_once = True
        self._enqueue(run, stage, replace(miss, reason=f"{shown} changed while the stage ran"))

    def _compile_instead(self, run: JobRun, failure: Failure) -> None:
        """New weights around old code did not do: compile, as a clean run would, and say why."""
        assert run.export is not None
        run.packs = run.packed = False
        run.compiled = None
        for stage in ("compile", "verify"):
            run.stages.pop(stage, None)
        key = self._decider.compile_key(run.job, run.export)
        self._results.forget("compile", key)
        self._store.records.set_aside("compile", key)
        miss = Miss(
            key=key,
            lock=self._decider.code_key(run.job, run.export),
            reason=f"packing new weights was no use: {failure.message}",
        )
        self._enqueue(run, "compile", miss)

    def _heal(self, run: JobRun) -> None:
        """A result's files are gone or damaged: forget it and build it again."""
        run.healed += 1
        if run.healed > len(STAGES):
            message = "stored results keep getting lost or damaged"
            remedy = "check the disk of the cache folder"
            self._fail(run, Failure(stage="export", kind=Kind.DISK, message=message, remedy=remedy))
            return
        for kind, result in (("export", run.export), ("compile", run.compiled), ("verify", run.verified)):
            if result is not None:
                self._results.record(kind, result.key)
        run.export = run.compiled = run.verified = None
        run.stages.clear()
        self._advance(run)

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def _deliver(self, run: JobRun) -> None:
        if self._policy.last_stage != "verify":
            self._end(run, ok=True)
            return
        assert run.export is not None
        assert run.verified is not None
        job = run.job
        wanted = {"exported": (FILES["exported"], "export", run.export)}
        if run.compiled is not None:
            wanted["compiled"] = (FILES[job.compile.format], "compile", run.compiled)
        try:
            digests = {file: result.files[inner] for inner, (file, _, result) in wanted.items()}
            made_from = stamp(job, run.export, run.compiled, run.verified)
            if not self._delivery.is_current(job.folder, digests, made_from):
                sources: dict[str, tuple[Record, str]] = {
                    file: (self._assignments.record(kind, result), inner)
                    for inner, (file, kind, result) in wanted.items()
                }
                self._delivery.deliver(job.folder, sources, job_file(run, sources), made_from)
        except (BlobMissing, BlobDamaged):
            self._heal(run)
            return
        except (StoreError, OSError) as error:
            self._fail(run, _store_failure("verify", error))
            return
        folder = os.path.relpath(self._delivery.folder(job.folder), self._workplace.manifest.root)
        self._end(run, ok=True, outputs={inner: f"{folder}/{file}" for inner, (file, _, _) in wanted.items()})

    def _fail(self, run: JobRun, failure: Failure) -> None:
        log = self._workplace.log(run.job, failure.stage)
        shown = os.path.relpath(log, self._workplace.manifest.root) if log.exists() else None
        command = self._workplace.reproduce(run.job, failure.stage)
        self._end(run, error=replace(failure, log=shown, reproduce=command))
        if self._policy.fail_fast and not self._stopping:
            self._cancel("--fail-fast")

    def _end(
        self, run: JobRun, *, ok: bool = False, error: Failure | None = None, outputs: dict[str, str] | None = None
    ) -> None:
        report = run.report(ok=ok, error=error, outputs=outputs)
        self._reports[run.job.name] = report
        self._listener(JobFinished(report=report, done=len(self._reports), total=self._total))

    def _cancel(self, reason: str) -> None:
        """Start nothing more, end what runs, and report every open job as cancelled."""
        self._stopping = True
        self._schedule.drop_ready()
        open_runs = [(run, stage) for run, stage, _ in self._ready.values()]
        self._ready.clear()
        self._waiting.clear()
        for name, running in self._running.items():
            self._runner.signal(name, signal.SIGKILL)
            open_runs.append((running.run, running.stage))
        for run, stage in open_runs:
            run.stages[stage] = StageReport(outcome=Outcome.CANCELLED, reason=reason)
            if run.job.name not in self._reports:
                self._end(run)

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _patience(self) -> float | None:
        if not self._running:
            return _POLL_SECONDS if self._waiting else 0.0
        soonest = min(running.deadline for running in self._running.values()) - time.monotonic()
        return max(0.0, min(soonest, _POLL_SECONDS) if self._waiting else soonest)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for name, running in self._running.items():
            if now < running.deadline:
                continue
            self._runner.signal(name, signal.SIGKILL if running.timed_out else signal.SIGTERM)
            running.timed_out = True
            running.deadline = now + _GRACE_SECONDS

    def _retry_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._schedule.add(task)


def _store_failure(stage: str, error: Exception) -> Failure:
    if isinstance(error, UnsafeArchive):
        return Failure(stage=stage, kind=Kind.BUILD, message=str(error), remedy="get the archive from whom you trust")
    full = isinstance(error, DiskFull)
    remedy = "free some disk space and run again" if full else "check the folder's permissions and disk"
    return Failure(stage=stage, kind=Kind.DISK, message=str(error), remedy=remedy)
