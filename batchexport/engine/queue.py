"""A stage that must run is pending until its child is begun or its job has ended: it is never forgotten."""

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
    """What is pending; `device`: what it was given with its place in the schedule."""

    task: Task
    run: JobRun
    stage: str
    miss: Miss
    device: str | None = None


class StageQueue:
    """The stages of one run that wait for a worker, or for somebody else who builds the same."""

    def __init__(self, schedule: Schedule, timings: Timings, gpus: Gpus) -> None:
        self._schedule = schedule
        self._timings = timings
        self._gpus = gpus
        self._turns: dict[str, QueuedStage] = {}
        self._parked: list[Task] = []

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def has_deferred(self) -> bool:
        """Whether anything waits for somebody else."""
        return bool(self._parked)

    def add(self, run: JobRun, stage: str, miss: Miss, *, alone: bool = False) -> None:
        """A stage must run; `alone`: while nothing else does."""
        weights = run.export.export_facts.parameter_bytes if run.export else 0
        expected = self._timings.expected(run.job, stage, parameter_bytes=weights)
        remaining = sum(self._timings.expected(run.job, later).seconds for later in STAGES[STAGES.index(stage) :])
        kind, device_memory = self._gpus.needs(run, stage)
        task = Task(
            id=f"{run.job.name}:{stage}",
            stage=stage,
            # A verify is short and ends a job: what is nearly done is delivered before more is begun.
            urgency=math.inf if stage == STAGES[-1] else remaining,
            memory=expected.memory,
            kind=kind,
            device_memory=device_memory,
            alone=alone,
        )
        self._turns[task.id] = QueuedStage(task=task, run=run, stage=stage, miss=miss)
        self._schedule.add(task)

    def next(self) -> QueuedStage | None:
        """What may start now; it holds its place in the schedule until `finish`, and stays pending until `begun`."""
        task = self._schedule.next()
        if task is None:
            return None
        turn = self._turns[task.id] = replace(self._turns[task.id], device=self._schedule.device(task.id))
        return turn

    def start(self, turn: QueuedStage) -> None:
        """It needs no worker any more, for it has one, or needs none."""
        if self._turns.get(turn.task.id) is turn:
            del self._turns[turn.task.id]

    def finish(self, name: str) -> None:
        """Its place in the schedule is free."""
        self._schedule.finish(name)

    def defer(self, turn: QueuedStage) -> None:
        """Somebody, maybe this very run, builds the same: it waits, to take the result."""
        self._schedule.finish(turn.task.id)
        self._parked.append(turn.task)

    def requeue_deferred(self) -> None:
        """Let what waited for somebody else try again."""
        parked, self._parked = self._parked, []
        for task in parked:
            self._schedule.add(task)

    def restore(self, turn: QueuedStage) -> None:
        """It was not begun after all."""
        self._turns[turn.task.id] = turn

    def remove_unschedulable(self) -> list[QueuedStage]:
        """Forget what needs a kind of device that is gone altogether; returns it."""
        found = [turn for turn in self._turns.values() if self._gpus.lost_kind(turn.run, turn.stage)]
        for turn in found:
            del self._turns[turn.task.id]
        self._parked = [task for task in self._parked if task.id in self._turns]
        return found

    def clear(self) -> list[QueuedStage]:
        """Forget everything; returns it."""
        self._schedule.clear_ready()
        self._parked.clear()
        turns = list(self._turns.values())
        self._turns.clear()
        return turns
