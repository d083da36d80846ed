"""The coordinator schedules and never executes: it decides, starts children, publishes and delivers.

Every job ends in exactly one report, whatever its children do.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from batchexport.decide import Decider, Hit, Miss
from batchexport.delivery import FILES, Delivery
from batchexport.errors import Kind, StoreError
from batchexport.events import JobFinished, Listener, Note, StageFinished, StageStarted
from batchexport.jobfile import job_file
from batchexport.jobrun import JobRun, Running
from batchexport.publish import publish_export
from batchexport.report import STAGES, Failure, JobReport, Outcome, StageReport
from batchexport.results import Result, Results
from batchexport.schedule import Schedule, Task
from batchexport.specs import Job
from batchexport.store.errors import BlobDamaged, BlobMissing, DiskFull
from batchexport.store.store import Record, Store
from batchexport.timings import Timings
from batchexport.traces import Traces
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


class Coordinator:
    """Brings every job of one run to its report."""

    def __init__(
        self,
        *,
        workplace: Workplace,
        decider: Decider,
        traces: Traces,
        results: Results,
        delivery: Delivery,
        timings: Timings,
        schedule: Schedule,
        runner: Runner,
        listener: Listener,
        last_stage: str = "verify",
        devices: Sequence[int] = (),
        require_all: bool = False,
        fail_fast: bool = False,
    ) -> None:
        self._workplace = workplace
        self._store: Store = workplace.store
        self._decider = decider
        self._traces = traces
        self._results = results
        self._delivery = delivery
        self._timings = timings
        self._schedule = schedule
        self._runner = runner
        self._listener = listener
        self._last_stage = last_stage
        self._devices = devices
        self._require_all = require_all
        self._fail_fast = fail_fast
        self._reports: dict[str, JobReport] = {}
        self._ready: dict[str, tuple[JobRun, str, str | None]] = {}
        self._waiting: list[Task] = []
        self._running: dict[str, Running] = {}
        self._total = 0
        self._stopping = False

    def run(self, jobs: Sequence[Job]) -> tuple[JobReport, ...]:
        """All jobs to their ends. On KeyboardInterrupt: children are ended, what is finished is kept.

        Raises EnvironmentProblem where no child can be started at all.
        """
        self._total = len(jobs)
        try:
            for job in jobs:
                self._advance(JobRun(job))
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
                self._end(JobRun(job, stages={"export": StageReport(outcome=Outcome.CANCELLED, reason="interrupted")}))
        return tuple(self._reports[job.name] for job in jobs)

    interrupted = False

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
            if stage in run.stages and run.stages[stage].outcome is not Outcome.CANCELLED:
                continue
            if STAGES.index(stage) > STAGES.index(self._last_stage):
                run.stages[stage] = StageReport(
                    outcome=Outcome.SKIPPED, reason=f"--stage {self._last_stage} was asked for"
                )
                continue
            if stage == "compile" and run.job.compile.format == "none":
                run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason='compile format is "none"')
                continue
            if stage != "export" and run.job.target.startswith("cuda") and not self._devices:
                self._without_device(run)
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
            return self._decider.compile(run.job, run.export)
        return self._decider.verify(run.job, run.export, run.compiled)

    def _take(self, run: JobRun, stage: str, result: Result) -> None:
        if stage == "export":
            run.export = result
        elif stage == "compile":
            run.compiled = result
        else:
            run.verified = result

    def _without_device(self, run: JobRun) -> None:
        for stage in ("compile", "verify"):
            run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason="no CUDA device")
        if self._require_all:
            self._end(
                run,
                error=Failure(
                    stage="compile",
                    kind=Kind.TOOLCHAIN,
                    message="no CUDA device on this machine, and --require-all was given",
                    remedy="run on a machine with a GPU, or drop the cuda targets",
                ),
            )
        else:
            self._end(run)

    def _enqueue(self, run: JobRun, stage: str, miss: Miss) -> None:
        run.reasons[stage] = miss.reason
        expected = self._timings.expected(run.job, stage)
        remaining = sum(self._timings.expected(run.job, later).seconds for later in STAGES[STAGES.index(stage) :])
        task = Task(id=f"{run.job.name}:{stage}", stage=stage, urgency=remaining, memory=expected.memory)
        self._ready[task.id] = (run, stage, miss.key)
        self._schedule.add(task)

    def _start_ready(self) -> None:
        while not self._stopping and (task := self._schedule.next()) is not None:
            run, stage, key = self._ready[task.id]
            lock = self._store.try_lock(f"{stage}-{key or self._decider.ask(run.job)}")
            if lock is None:
                # Somebody, maybe this very run, builds the same: wait for it and take the result.
                self._schedule.finish(task.id)
                self._waiting.append(task)
                continue
            del self._ready[task.id]
            self._decider.again(run.job)
            decision = self._decide(run, stage)
            if isinstance(decision, Hit):
                lock.release()
                self._schedule.finish(task.id)
                self._advance(run)
                continue
            try:
                self._start(run, stage, decision, lock)
            except (StoreError, OSError) as error:
                lock.release()
                self._schedule.finish(task.id)
                self._fail(run, _store_failure(stage, error))

    def _start(self, run: JobRun, stage: str, miss: Miss, lock: Any) -> None:
        folder = self._store.attempt(f"{run.job.folder}-{stage}")
        try:
            task = self._task(run, stage, folder)
        except (BlobMissing, BlobDamaged):
            lock.release()
            self._store.discard(folder)
            self._schedule.finish(f"{run.job.name}:{stage}")
            self._heal(run)
            return
        request = self._workplace.request(run.job, stage, folder, task)
        now = time.monotonic()
        self._running[request["id"]] = Running(
            run=run,
            stage=stage,
            key=miss.key,
            folder=folder,
            lock=lock,
            started=now,
            deadline=now + run.job.timeout,
        )
        self._listener(StageStarted(job=run.job.name, stage=stage, reason=miss.reason))
        self._runner.start(request)

    def _task(self, run: JobRun, stage: str, folder: Path) -> dict[str, Any]:
        if stage == "export":
            return self._workplace.export_task(run.job)
        assert run.export is not None
        export = self._record("export", run.export)
        exported = self._linked(export, "exported", folder / FILES["exported"])
        if stage == "compile":
            return self._workplace.compile_task(run.job, run.export, exported)
        reference = self._linked(export, "reference", folder / "reference.pt")
        compiled = None
        if run.compiled is not None:
            record = self._record("compile", run.compiled)
            compiled = self._linked(record, "compiled", folder / FILES[run.job.compile.format])
        return self._workplace.verify_task(
            run.job, run.export, exported=exported, reference=reference, compiled=compiled
        )

    def _linked(self, record: Record, name: str, path: Path) -> Path:
        """A checked blob under a name that torch's loaders understand."""
        path.symlink_to(self._store.path(record, name))
        return path

    def _record(self, kind: str, result: Result) -> Record:
        record = self._results.record(kind, result.key)
        if record is None:
            raise BlobMissing(result.key)
        return record

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def _ended(self, ended: Ended) -> None:
        running = self._running.pop(ended.id, None)
        if running is None:
            return
        run, stage = running.run, running.stage
        self._schedule.finish(ended.id)
        seconds = ended.seconds or time.monotonic() - running.started
        self._listener(StageFinished(job=run.job.name, stage=stage, seconds=seconds))
        outcome = verdict(ended, running.folder, stage=stage, timed_out=running.timed_out, timeout=run.job.timeout)
        try:
            if isinstance(outcome, Success):
                self._succeeded(running, outcome, seconds, ended.peak_rss_bytes)
            elif isinstance(outcome, Changed):
                self._input_changed(run, stage, outcome.path)
            else:
                run.stages[stage] = StageReport(
                    outcome=Outcome.FAILED,
                    reason=run.reasons[stage],
                    key=running.key,
                    seconds=seconds,
                    peak_rss_bytes=ended.peak_rss_bytes,
                )
                self._fail(run, outcome)
        except (StoreError, OSError) as error:
            self._fail(run, _store_failure(stage, error))
        finally:
            running.lock.release()
            self._store.discard(running.folder)

    def _succeeded(self, running: Running, outcome: Success, seconds: float, peak: int | None) -> None:
        run, stage = running.run, running.stage
        if stage == "export":
            result, unseen = publish_export(
                results=self._results,
                traces=self._traces,
                job=run.job,
                ask=self._decider.ask(run.job),
                root=str(self._workplace.manifest.root),
                folder=running.folder,
                outcome=outcome,
            )
            run.reasons[stage] += unseen
        elif stage == "compile":
            assert running.key is not None
            result = self._results.publish(
                "compile",
                running.key,
                files={"compiled": running.folder / outcome.output["compiled"]},
                facts={},
                more={"job": run.job.name},
            )
        else:
            assert running.key is not None
            result = self._results.publish(
                "verify",
                running.key,
                files={},
                facts={"evidence": dict(outcome.output)},
                more={"job": run.job.name},
            )
        self._timings.learn(run.job, stage, seconds, peak)
        self._take(run, stage, result)
        run.stages[stage] = StageReport(
            outcome=Outcome.BUILT,
            reason=run.reasons[stage],
            key=result.key,
            seconds=seconds,
            peak_rss_bytes=peak,
        )
        running.lock.release()
        self._advance(run)

    def _input_changed(self, run: JobRun, stage: str, path: str) -> None:
        shown = os.path.relpath(path, self._workplace.manifest.root)
        if run.changed_once:
            run.stages[stage] = StageReport(outcome=Outcome.FAILED, reason=run.reasons[stage])
            message = f"{shown} changed while the stage ran, twice"
            self._fail(
                run,
                Failure(stage=stage, kind=Kind.EXPORT, message=message, remedy="run again when nothing edits it"),
            )
            return
        run.changed_once = True
        self._enqueue(run, stage, Miss(key=None, reason=f"{shown} changed while the stage ran"))

    def _heal(self, run: JobRun) -> None:
        """A result's files are gone or damaged: forget it and build it again."""
        run.healed += 1
        if run.healed > len(STAGES):
            self._fail(
                run,
                Failure(
                    stage="export",
                    kind=Kind.DISK,
                    message="stored results keep getting lost or damaged",
                    remedy="check the disk of the cache folder",
                ),
            )
            return
        for kind, result in (("export", run.export), ("compile", run.compiled), ("verify", run.verified)):
            if result is not None:
                self._results.record(kind, result.key)
        run.export = run.compiled = run.verified = None
        run.stages.clear()
        self._advance(run)

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def _deliver(self, run: JobRun) -> None:
        if self._last_stage != "verify":
            self._end(run, ok=True)
            return
        assert run.export is not None
        job = run.job
        wanted = {FILES["exported"]: run.export.files["exported"]}
        if run.compiled is not None:
            wanted[FILES[job.compile.format]] = run.compiled.files["compiled"]
        try:
            if not self._delivery.is_current(job.folder, wanted):
                sources = {FILES["exported"]: (self._record("export", run.export), "exported")}
                if run.compiled is not None:
                    sources[FILES[job.compile.format]] = (self._record("compile", run.compiled), "compiled")
                self._delivery.deliver(job.folder, sources, job_file(run, sources))
        except (BlobMissing, BlobDamaged):
            self._heal(run)
            return
        except (StoreError, OSError) as error:
            self._fail(run, _store_failure("verify", error))
            return
        folder = os.path.relpath(self._delivery.folder(job.folder), self._workplace.manifest.root)
        outputs = {"exported": f"{folder}/{FILES['exported']}"}
        if run.compiled is not None:
            outputs["compiled"] = f"{folder}/{FILES[job.compile.format]}"
        self._end(run, ok=True, outputs=outputs)

    def _fail(self, run: JobRun, failure: Failure) -> None:
        root = self._workplace.manifest.root
        log = self._workplace.log(run.job, failure.stage)
        manifest = shlex.quote(str(self._workplace.manifest.path))
        command = f"batchexport run {manifest} --only {shlex.quote(run.job.name)} --stage {failure.stage} --in-process"
        self._end(
            run,
            error=Failure(
                stage=failure.stage,
                kind=failure.kind,
                message=failure.message,
                remedy=failure.remedy,
                log=os.path.relpath(log, root) if log.exists() else None,
                reproduce=command,
            ),
        )
        if self._fail_fast and not self._stopping:
            self._cancel("--fail-fast")

    def _end(
        self,
        run: JobRun,
        *,
        ok: bool = False,
        error: Failure | None = None,
        outputs: dict[str, str] | None = None,
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
            running.lock.release()
            open_runs.append((running.run, running.stage))
        for run, stage in open_runs:
            run.stages[stage] = StageReport(outcome=Outcome.CANCELLED, reason=reason)
            self._end(run)

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _patience(self) -> float | None:
        if not self._running:
            return _POLL_SECONDS if self._ready else 0.0
        soonest = min(running.deadline for running in self._running.values()) - time.monotonic()
        return max(0.0, min(soonest, _POLL_SECONDS) if self._waiting else soonest)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for name, running in self._running.items():
            if now < running.deadline:
                continue
            running.timed_out = True
            self._runner.signal(name, signal.SIGKILL if running.terminated else signal.SIGTERM)
            running.terminated = True
            running.deadline = now + _GRACE_SECONDS

    def _retry_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._schedule.add(task)


def _store_failure(stage: str, error: Exception) -> Failure:
    full = isinstance(error, DiskFull)
    return Failure(
        stage=stage,
        kind=Kind.DISK,
        message=str(error),
        remedy="free some disk space and run again" if full else "check the folder's permissions and disk",
    )
