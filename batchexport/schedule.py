"""Longest expected first, never more than the pool has: a pure state machine that starts nothing itself."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage of one job that is ready to run. `urgency` is the seconds expected until its job is done."""

    id: str
    stage: str
    urgency: float
    memory: int = 0


@dataclass(slots=True)
class Schedule:
    """Ready and running tasks of one pool of `slots` workers and `memory` bytes (None: unbounded)."""

    slots: int
    memory: int | None = None
    _ready: list[tuple[float, int, Task]] = field(default_factory=list)
    _running: dict[str, Task] = field(default_factory=dict)
    _count: int = 0

    def add(self, task: Task) -> None:
        """A task became ready."""
        self._count += 1
        heapq.heappush(self._ready, (-task.urgency, self._count, task))

    def next(self) -> Task | None:
        """The task to start now, or None while nothing fits. A task too large for the pool runs alone."""
        if len(self._running) >= self.slots:
            return None
        passed = []
        chosen = None
        while self._ready:
            item = heapq.heappop(self._ready)
            if self._fits(item[2]):
                chosen = item[2]
                break
            passed.append(item)
        for item in passed:
            heapq.heappush(self._ready, item)
        if chosen is not None:
            self._running[chosen.id] = chosen
        return chosen

    def finish(self, name: str) -> None:
        """A running task ended, well or badly."""
        del self._running[name]

    def drop_ready(self) -> list[Task]:
        """Forget what has not started; returns it."""
        dropped = [task for _, _, task in sorted(self._ready)]
        self._ready.clear()
        return dropped

    @property
    def running(self) -> int:
        """How many tasks run."""
        return len(self._running)

    def _fits(self, task: Task) -> bool:
        if self.memory is None or not self._running:
            return True
        return sum(other.memory for other in self._running.values()) + task.memory <= self.memory
