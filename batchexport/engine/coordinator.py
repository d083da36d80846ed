"""Coordinate one run: look up what is cached, schedule and start children for the rest, publish and deliver.

A runner executes the stages in child processes, so that every job ends in exactly one report, whatever its model does.
"""

from __future__ import annotations

import time
from dataclasses import replace

from batchexport.core import interrupts
from batchexport.core.errors import Kind
from batchexport.core.events import Listener, Note, StageFinished, StageStarted
from batchexport.core.options import RunOptions
from batchexport.core.report import STAGES, Failure, JobReport, Outcome, StageReport
from batchexport.engine.completion import Advance, Fail, Rerun, StageCompletion, Step
from batchexport.engine.finish import JobFinisher, store_failure
from batchexport.engine.gpus import Gpus, device_lost
from batchexport.engine.job_run import JobRun, StageAttempt
from batchexport.engine.queue import QueuedStage, StageQueue
from batchexport.engine.requests import StageRequests
from batchexport.engine.schedule import Schedule
from batchexport.planning.lookup import Hit, Miss, PackWeights
from batchexport.planning.session import Session
from batchexport.store.errors import BlobDamaged, BlobMissing, DiskFull, StoreError, StoreReadOnly
from batchexport.store.locks import Lock
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.supervisor import Runner, Supervisor

# The damaged results that one job may meet in a row. Its stages have fewer, but rebuilt ones may be damaged again.
_MAX_DAMAGED_RESULTS = 11


class Coordinator:
    """Bring every job of one run to its report."""

    def __init__(
        self,
        session: Session,
        options: RunOptions,
        *,
        requests: StageRequests,
        schedule: Schedule,
        runner: Runner,
        listener: Listener,
    ) -> None:
        self._jobs = session.jobs
        self._store = session.store
        self._lookup = session.lookup
        self._results = session.results
        self._options = options
        self._last_stage = options.stage or STAGES[-1]
        self._listener = listener
        self._requests = requests
        self._gpus = Gpus(session.devices, schedule)
        self._queue = StageQueue(schedule, session.timings, self._gpus)
        self._supervisor: Supervisor[StageAttempt] = Supervisor(
            runner, session.store, requests.memory, requests.compilers
        )
        self._completion = StageCompletion(session, paranoid=options.paranoid, retries=not options.in_process)
        self._finisher = JobFinisher(
            requests=requests, delivery=session.delivery, listener=listener, total=len(session.jobs)
        )
        self._stopping: str | None = None  # why nothing more is started
        self.interrupted = False

    def run(self) -> tuple[JobReport, ...]:
        """Run all jobs and return their reports. KeyboardInterrupt ends the children and keeps finished results.

        Raises EnvironmentProblem where no child can be started at all.
        """
        try:
            for job in self._jobs:
                self._advance(JobRun(job))
            if self._queue:
                self._supervisor.open()
                self._loop()
        except KeyboardInterrupt:
            self.interrupted = True
            self._cancel("interrupted")
        finally:
            self._supervisor.close()
        return self._finisher.reports(self._jobs)

    def _loop(self) -> None:
        note_sent = False
        while self._queue or self._supervisor.busy:
            self._gpus.refresh()
            self._start_ready()
            for attempt, process_exit in self._supervisor.wait(poll=self._queue.has_deferred):
                with interrupts.defer_signals():
                    self._handle_exit(attempt, process_exit)
            if self._supervisor.note and not note_sent:
                note_sent = True
                self._listener(Note(text=self._supervisor.note))
            self._supervisor.enforce()
            self._queue.requeue_deferred()

    # ── one job forward ──────────────────────────────────────────────────────────────────────

    def _advance(self, run: JobRun) -> None:
        """Take a job as far as cached results reach; then enqueue its next stage, or end it."""
        for stage in STAGES:
            if stage in run.stages:
                continue
            if STAGES.index(stage) > STAGES.index(self._last_stage):
                reason = f"not requested (--stage {self._last_stage})"
                run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason=reason)
                continue
            if stage == "compile" and run.job.compile.format == "none":
                run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason='compile format is "none"')
                continue
            if (unavailable := self._gpus.unavailable_reason(run, stage)) is not None:
                self._skip_without_device(run, unavailable)
                return
            decision = self._decide(run, stage)
            if isinstance(decision, Miss):
                self._enqueue(run, stage, decision)
                return
            run.record_result(stage, decision.result)
            run.stages[stage] = StageReport(outcome=Outcome.CACHED, reason=decision.reason, key=decision.result.key)
        self._deliver(run)

    def _decide(self, run: JobRun, stage: str) -> Hit | Miss:
        if stage == "export":
            swap = run.retries.may_swap_weights and not self._options.paranoid
            pack = (
                run.retries.may_pack_weights
                and self._last_stage != "export"
                and self._gpus.unavailable_reason(run, "compile") is None
            )
            found = self._lookup.export(run.job, swap_weights=swap, pack=pack)
            if self._options.paranoid and isinstance(found, Hit):
                return Miss(key=None, lock=self._lookup.request_key(run.job), reason="built twice for --paranoid")
            return found
        assert run.export is not None
        if stage == "compile":
            return self._lookup.compile(run.job, run.export, pack=run.retries.may_pack_weights)
        return self._lookup.verify(run.job, run.export, run.compiled)

    def _skip_without_device(self, run: JobRun, reason: str) -> None:
        # Code for another device under the name of a CUDA target would be a wrong artifact, so deliver none.
        for stage in ("compile", "verify"):
            run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason=reason)
        if not self._options.require_all:
            self._finisher.end(run)
            return
        message = f"{reason}, and --require-all was given"
        remedy = "drop the cuda targets, or run without --require-all"
        failure = Failure(stage="compile", kind=Kind.TOOLCHAIN, message=message, remedy=remedy)
        self._finisher.end(run, error=failure)

    def _enqueue(self, run: JobRun, stage: str, miss: Miss, *, alone: bool = False) -> None:
        if self._stopping is not None:
            self._finisher.cancel(run, stage, self._stopping)
            return
        if self._gpus.needs_lost_kind(run, stage):
            self._fail(run, device_lost(stage))
            return
        self._queue.add(run, stage, miss, alone=alone)

    def _start_ready(self) -> None:
        while self._stopping is None and (queued := self._queue.next()) is not None:
            try:
                stores_files = queued.stage != "verify"
                lock = self._store.try_lock(f"{queued.stage}-{queued.miss.lock}", stores_files=stores_files)
            except (DiskFull, StoreReadOnly) as error:  # any other means that locks don't work, and ends the run
                self._queue.start(queued)
                self._queue.finish(queued.task.id)
                self._fail(queued.run, store_failure(queued.stage, error))
                continue
            if lock is None:
                self._queue.defer(queued)
                continue
            self._queue.start(queued)
            try:
                self._start(queued, lock)
            except KeyboardInterrupt:
                self._queue.restore(queued)  # to be reported as cancelled
                raise
            except (BlobMissing, BlobDamaged):
                self._give_up(queued, lock)
                self._discard_damaged_results(queued.run)
            except (StoreError, OSError) as error:
                self._give_up(queued, lock)
                self._fail(queued.run, store_failure(queued.stage, error))

    def _start(self, queued: QueuedStage, lock: Lock) -> None:
        run, stage = queued.run, queued.stage
        self._lookup.refresh(run.job)
        decision = self._decide(run, stage)
        if isinstance(decision, Hit):
            self._give_up(queued, lock)
            self._advance(run)
            return
        folder = self._store.attempt(f"{run.job.folder}-{stage}")
        try:
            request = self._requests.for_stage(run, stage, decision, folder, queued.device)
        except BaseException:
            self._store.discard(folder)
            raise
        reason = decision.reason if isinstance(decision, PackWeights) else queued.miss.reason
        self._listener(StageStarted(job=run.job.name, stage=stage, reason=reason))
        attempt = StageAttempt(
            run=run,
            stage=stage,
            miss=decision,
            reason=reason,
            folder=folder,
            lock=lock,
            timeout=run.job.timeout,
            expected_memory=queued.task.memory,
            device=queued.device,
        )
        self._supervisor.start(attempt, request)

    def _give_up(self, queued: QueuedStage, lock: Lock) -> None:
        """Release the lock and worker of a stage that needs no child after all."""
        lock.release()
        self._queue.finish(queued.task.id)

    # ── results of stages ────────────────────────────────────────────────────────────────────

    def _handle_exit(self, attempt: StageAttempt, process_exit: ProcessExit) -> None:
        run, stage = attempt.run, attempt.stage
        self._queue.finish(process_exit.id)
        seconds = process_exit.seconds or time.monotonic() - attempt.started
        self._listener(StageFinished(job=run.job.name, stage=stage, seconds=seconds))
        if attempt.cancelled:  # its job is reported already
            self._supervisor.free(attempt)
            return
        step: Step
        try:
            step = self._completion.handle(attempt, process_exit, seconds, self._supervisor.exit_context(attempt))
        except (StoreError, OSError) as error:
            step = Fail(failure=store_failure(stage, error))
        finally:
            self._supervisor.free(attempt)
        if attempt.device is not None and not isinstance(step, Advance):
            step = self._retry_on_other_device(attempt, attempt.device, step)
        match step:
            case Advance():
                self._advance(run)
            case Rerun():
                self._enqueue(run, step.stage, step.miss, alone=step.alone)
            case Fail():
                self._fail(run, step.failure)

    def _retry_on_other_device(self, attempt: StageAttempt, device: str, step: Step) -> Step:
        """Run a stage again on another device if the one that it failed on is lost; else return `step`."""
        if not self._gpus.drop_if_lost(device):
            return step
        run, stage = attempt.run, attempt.stage
        run.stages.pop(stage, None)
        run.retries.forget_alone(stage)
        self._listener(Note(text=f"the GPU {device} was lost"))
        for queued in self._queue.remove_unschedulable():
            self._fail(queued.run, device_lost(queued.stage))
        return Rerun(stage=stage, miss=replace(attempt.miss, reason=f"the GPU {device} was lost while it ran"))

    def _discard_damaged_results(self, run: JobRun) -> None:
        """Forget the job's results whose files are missing or damaged, and build them again."""
        if not run.retries.allow_after_damage(_MAX_DAMAGED_RESULTS):
            message = "stored results keep getting lost or damaged"
            remedy = "check the disk of the cache folder"
            self._fail(run, Failure(stage="export", kind=Kind.DISK, message=message, remedy=remedy))
            return
        for stage, result in run.results():
            if self._results.record(stage, result.key) is None:
                run.forget(stage)
        self._advance(run)

    def _deliver(self, run: JobRun) -> None:
        try:
            with interrupts.defer_signals():
                report = self._finisher.deliver(run)
        except (BlobMissing, BlobDamaged):
            self._discard_damaged_results(run)
        except (StoreError, OSError) as error:
            self._fail(run, store_failure(self._last_stage, error))
        else:
            self._stop_after(report)

    def _fail(self, run: JobRun, failure: Failure) -> None:
        self._stop_after(self._finisher.fail(run, failure))

    def _stop_after(self, report: JobReport) -> None:
        if report.unexpected and self._stopping is None and (why := self._options.stop_reason(self._finisher.failures)):
            self._cancel(why)

    def _cancel(self, reason: str) -> None:
        """Start nothing more, kill the children, and report every open job as cancelled."""
        self._stopping = reason
        open_runs = [(queued.run, queued.stage) for queued in self._queue.clear()]
        for attempt, process_exit in self._supervisor.exited():  # they finished in time: keep their results
            self._handle_exit(attempt, process_exit)
        open_runs += [(attempt.run, attempt.stage) for attempt in self._supervisor.kill()]
        for run, stage in open_runs:
            self._finisher.cancel(run, stage, reason)
