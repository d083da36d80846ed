"""The coordinator schedules and never executes: it decides, starts children, publishes and delivers.

Every job ends in exactly one report, whatever its children do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from batchexport import interrupts
from batchexport.aftermath import Aftermath, Again, Failed, Onward, Step
from batchexport.assignment import Assignments
from batchexport.decide import Decider, Hit, Miss
from batchexport.delivery import Delivery
from batchexport.ends import Ends, store_failure
from batchexport.errors import Kind
from batchexport.events import Listener, Note, StageFinished, StageStarted
from batchexport.jobrun import JobRun, Running
from batchexport.probe import why_no_cuda
from batchexport.publish import Publisher
from batchexport.report import STAGES, Failure, JobReport, Outcome, StageReport
from batchexport.results import Results
from batchexport.schedule import Schedule, Task
from batchexport.specs import Job
from batchexport.store.errors import BlobDamaged, BlobMissing, StoreError
from batchexport.store.lock import Lock
from batchexport.supervision import Runner, Supervisor
from batchexport.timings import Timings
from batchexport.workers.forkserver import Ended
from batchexport.workplace import Workplace


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a run behaves; see `batchexport run --help`."""

    last_stage: str = "verify"
    require_all: bool = False
    fail_fast: bool = False
    paranoid: bool = False
    retries: bool = True


class Coordinator:
    """Brings every job of one run to its report."""

    def __init__(
        self,
        *,
        jobs: Sequence[Job],
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
        self._jobs = jobs
        self._store = workplace.store
        self._decider = decider
        self._results = results
        self._timings = timings
        self._schedule = schedule
        self._listener = listener
        self._policy = policy
        self._assignments = Assignments(workplace, results)
        self._supervisor = Supervisor(runner, workplace.store, workplace.memory)
        self._aftermath = Aftermath(
            store=workplace.store,
            decider=decider,
            results=results,
            publisher=publisher,
            timings=timings,
            root=str(workplace.manifest.root),
            paranoid=policy.paranoid,
            retries=policy.retries,
        )
        self._ends = Ends(
            workplace=workplace,
            assignments=self._assignments,
            delivery=delivery,
            listener=listener,
            total=len(jobs),
        )
        self._ready: dict[str, tuple[JobRun, str, Miss]] = {}
        self._waiting: list[Task] = []
        self._stopping: str | None = None  # why nothing more is started
        self.interrupted = False

    def run(self) -> tuple[JobReport, ...]:
        """All jobs to their ends. On KeyboardInterrupt: children are ended, what is finished is kept.

        Raises EnvironmentProblem where no child can be started at all.
        """
        try:
            for job in self._jobs:
                self._advance(JobRun(job))
            if self._ready:
                self._supervisor.open()
                self._loop()
        except KeyboardInterrupt:
            self.interrupted = True
            self._cancel("interrupted")
        finally:
            self._supervisor.close()
        return self._ends.reports(self._jobs)

    def _loop(self) -> None:
        noted = False
        while self._ready or self._supervisor.busy:
            self._start_ready()
            for running, ended in self._supervisor.wait(poll=bool(self._waiting)):
                with interrupts.shielded():
                    self._ended(running, ended)
            if self._supervisor.note and not noted:
                noted = True
                self._listener(Note(text=self._supervisor.note))
            self._supervisor.enforce()
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
            run.take(stage, decision.result)
            run.stages[stage] = StageReport(outcome=Outcome.CACHED, reason=decision.reason, key=decision.result.key)
        self._deliver(run)

    def _decide(self, run: JobRun, stage: str) -> Hit | Miss:
        if stage == "export":
            return self._decider.export(run.job)
        assert run.export is not None
        if stage == "compile":
            return self._decider.compile(run.job, run.export, pack=run.packs)
        return self._decider.verify(run.job, run.export, run.compiled)

    def _without_cuda(self, run: JobRun) -> None:
        # Code for the CPU under the name of a CUDA target would be a wrong artifact, so there is none.
        reason = why_no_cuda()
        for stage in ("compile", "verify"):
            run.stages[stage] = StageReport(outcome=Outcome.SKIPPED, reason=reason)
        if not self._policy.require_all:
            self._ends.end(run)
            return
        message = f"{reason}, and --require-all was given"
        remedy = "drop the cuda targets, or run without --require-all"
        failure = Failure(stage="compile", kind=Kind.TOOLCHAIN, message=message, remedy=remedy)
        self._ends.end(run, error=failure)

    def _enqueue(self, run: JobRun, stage: str, miss: Miss, *, alone: bool = False) -> None:
        if self._stopping is not None:
            self._ends.cancel(run, stage, self._stopping)
            return
        run.reasons[stage] = miss.reason
        weights = run.export.facts.get("stats", {}).get("parameter_bytes", 0) if run.export else 0
        expected = self._timings.expected(run.job, stage, parameter_bytes=weights)
        remaining = sum(self._timings.expected(run.job, later).seconds for later in STAGES[STAGES.index(stage) :])
        # A verify is short and ends a job: what is nearly done is delivered before more is begun.
        urgency = math.inf if stage == STAGES[-1] else remaining
        name = f"{run.job.name}:{stage}"
        task = Task(id=name, stage=stage, urgency=urgency, memory=expected.memory, alone=alone)
        self._ready[task.id] = (run, stage, miss)
        self._schedule.add(task)

    def _start_ready(self) -> None:
        while self._stopping is None and (task := self._schedule.next()) is not None:
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
            except KeyboardInterrupt:
                self._ready[task.id] = (run, stage, miss)  # to be reported as cancelled
                raise
            except (BlobMissing, BlobDamaged):
                self._give_up(task, lock)
                self._heal(run)
            except (StoreError, OSError) as error:
                self._give_up(task, lock)
                self._fail(run, store_failure(stage, error))

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
        run.reasons[stage] = run.reasons[stage] if decision.code is None else decision.reason
        self._listener(StageStarted(job=run.job.name, stage=stage, reason=run.reasons[stage]))
        running = Running(run=run, stage=stage, miss=decision, folder=folder, lock=lock, expected_memory=task.memory)
        self._supervisor.start(running, request)

    def _give_up(self, task: Task, lock: Lock) -> None:
        """The task needs no child after all."""
        lock.release()
        self._schedule.finish(task.id)

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def _ended(self, running: Running, ended: Ended) -> None:
        run, stage = running.run, running.stage
        self._schedule.finish(ended.id)
        seconds = ended.seconds or time.monotonic() - running.started
        self._listener(StageFinished(job=run.job.name, stage=stage, seconds=seconds))
        if running.cancelled:  # and reported so
            self._supervisor.free(running)
            return
        step: Step
        try:
            step = self._aftermath.settle(running, ended, seconds, self._supervisor.circumstances(running))
        except (StoreError, OSError) as error:
            step = Failed(failure=store_failure(stage, error))
        finally:
            self._supervisor.free(running)
        match step:
            case Onward():
                self._advance(run)
            case Again():
                self._enqueue(run, step.stage, step.miss, alone=step.alone)
            case Failed():
                self._fail(run, step.failure)

    def _heal(self, run: JobRun) -> None:
        """A result's files are gone or damaged: forget it and build it again."""
        run.healed += 1
        if run.healed > len(STAGES):
            message = "stored results keep getting lost or damaged"
            remedy = "check the disk of the cache folder"
            self._fail(run, Failure(stage="export", kind=Kind.DISK, message=message, remedy=remedy))
            return
        for kind, result in run.taken():
            self._results.record(kind, result.key)
        run.forget()
        self._advance(run)

    def _deliver(self, run: JobRun) -> None:
        if self._policy.last_stage != "verify":
            self._ends.end(run, ok=True)
            return
        try:
            with interrupts.shielded():
                self._ends.deliver(run)
        except (BlobMissing, BlobDamaged):
            self._heal(run)
        except (StoreError, OSError) as error:
            self._fail(run, store_failure("verify", error))

    def _fail(self, run: JobRun, failure: Failure) -> None:
        self._ends.fail(run, failure)
        if self._policy.fail_fast and self._stopping is None:
            self._cancel("--fail-fast")

    def _cancel(self, reason: str) -> None:
        """Start nothing more, end what runs, and report every open job as cancelled."""
        self._stopping = reason
        self._schedule.drop_ready()
        open_runs = [(run, stage) for run, stage, _ in self._ready.values()]
        self._ready.clear()
        self._waiting.clear()
        for running, ended in self._supervisor.ended():  # finished in time, and kept
            self._ended(running, ended)
        open_runs += [(running.run, running.stage) for running in self._supervisor.kill()]
        for run, stage in open_runs:
            self._ends.cancel(run, stage, reason)

    def _retry_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._schedule.add(task)
