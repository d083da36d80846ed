"""Queue the stages that must run, so that none is lost between the schedule and its child's start."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from batchexport.core.report import STAGES
from batchexport.engine.gpus import Gpus
from batchexport.engine.job_run import JobRun
from batchexport.engine.schedule import Schedule, Task
from batchexport.planning.estimates import Timings
from batchexport.planning.lookup import Miss


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedStage:
    """A stage that waits to start; `device`: the UUID of the device that the schedule gave it."""

    task: Task
    run: JobRun
    stage: str
    miss: Miss
    device: str | None = None


class StageQueue:
    """The stages of one run that wait for a worker, or for another child or run that builds the same result."""

    def __init__(self, schedule: Schedule, timings: Timings, gpus: Gpus) -> None:
        self._schedule = schedule
        self._timings = timings
        self._gpus = gpus
        self._queued: dict[str, QueuedStage] = {}
        self._deferred: list[Task] = []

    def __bool__(self) -> bool:
        return bool(self._queued)

    @property
    def has_deferred(self) -> bool:
        """Return True if any stage waits for another build of the same result."""
        return bool(self._deferred)

    def add(self, run: JobRun, stage: str, miss: Miss, *, alone: bool = False) -> None:
        """Add a stage that must run; `alone`: while no other stage runs."""
        weights = run.export.export_facts.parameter_bytes if run.export else 0
        expected = self._timings.expected(run.job, stage, parameter_bytes=weights)
        remaining = sum(self._timings.expected(run.job, later).seconds for later in STAGES[STAGES.index(stage) :])
        kind, device_memory = self._gpus.requirements(run, stage)
        task = Task(
            id=f"{run.job.name}:{stage}",
            stage=stage,
            # A verify is short and ends a job: deliver nearly finished jobs before starting others.
            urgency=math.inf if stage == STAGES[-1] else remaining,
            memory=expected.memory,
            kind=kind,
            device_memory=device_memory,
            alone=alone,
        )
        self._queued[task.id] = QueuedStage(task=task, run=run, stage=stage, miss=miss)
        self._schedule.add(task)

    def next(self) -> QueuedStage | None:
        """Return a stage that may start now; it takes resources until `finish`, and is queued until `start`."""
        task = self._schedule.next()
        if task is None:
            return None
        queued = self._queued[task.id] = replace(self._queued[task.id], device=self._schedule.device(task.id))
        return queued

    def start(self, queued: QueuedStage) -> None:
        """Take a stage off the queue: its child starts, or it needs none."""
        if self._queued.get(queued.task.id) is queued:
            del self._queued[queued.task.id]

    def finish(self, name: str) -> None:
        """Free the place of a stage in the schedule."""
        self._schedule.finish(name)

    def defer(self, queued: QueuedStage) -> None:
        """Let a stage wait while another child, of this run or another one, builds the same result."""
        self._schedule.finish(queued.task.id)
        self._deferred.append(queued.task)

    def requeue_deferred(self) -> None:
        """Return the deferred stages to the schedule."""
        deferred, self._deferred = self._deferred, []
        for task in deferred:
            self._schedule.add(task)

    def restore(self, queued: QueuedStage) -> None:
        """Put a stage back whose start was interrupted."""
        self._queued[queued.task.id] = queued

    def remove_unschedulable(self) -> list[QueuedStage]:
        """Remove and return the stages that need a kind of device of which none is left."""
        removed = [queued for queued in self._queued.values() if self._gpus.needs_lost_kind(queued.run, queued.stage)]
        for queued in removed:
            del self._queued[queued.task.id]
        self._deferred = [task for task in self._deferred if task.id in self._queued]
        return removed

    def clear(self) -> list[QueuedStage]:
        """Remove and return every queued stage."""
        self._schedule.clear_ready()
        self._deferred.clear()
        removed = list(self._queued.values())
        self._queued.clear()
        return removed
