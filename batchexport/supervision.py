"""Every child that was started is watched until it has ended: its time, its signals, its folder and its lock."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any, Protocol

from batchexport.jobrun import Running
from batchexport.store.store import Store
from batchexport.workers.forkserver import Ended

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.5


class Runner(Protocol):
    """What runs stages: the fork server, or this very process."""

    note: str | None

    def start(self, request: dict[str, Any]) -> None: ...
    def signal(self, name: str, number: int) -> None: ...
    def wait(self, timeout: float | None) -> list[Ended]: ...
    def close(self) -> None: ...


class Supervisor:
    """The children of one run."""

    def __init__(self, runner: Runner, store: Store) -> None:
        self._runner = runner
        self._store = store
        self._running: dict[str, Running] = {}

    @property
    def busy(self) -> bool:
        """Whether any child is at work."""
        return bool(self._running)

    @property
    def note(self) -> str | None:
        """What the user should know of the way children are run."""
        return self._runner.note

    def start(self, running: Running, request: dict[str, Any]) -> None:
        """Start a child. Raises EnvironmentProblem where none can be started at all."""
        self._running[request["id"]] = running
        self._runner.start(request)
        # The first start waits for the import of torch, which is no stage's own time.
        running.deadline = time.monotonic() + running.run.job.timeout

    def wait(self, *, poll: bool) -> Iterator[tuple[Running, Ended]]:
        """The children that ended, after waiting for something to happen; `poll`: for a moment at most."""
        for ended in self._runner.wait(self._patience(poll)):
            running = self._running.pop(ended.id, None)
            if running is not None:
                yield running, ended

    def enforce_deadlines(self) -> None:
        """Ask a child whose time is over to end, and kill it once its grace is over too."""
        now = time.monotonic()
        for name, running in self._running.items():
            if now < running.deadline:
                continue
            self._runner.signal(name, signal.SIGKILL if running.timed_out else signal.SIGTERM)
            running.timed_out = True
            running.deadline = now + _GRACE_SECONDS

    def kill(self) -> list[Running]:
        """Kill every child; returns what they worked on."""
        for name in self._running:
            self._runner.signal(name, signal.SIGKILL)
        return list(self._running.values())

    def free(self, running: Running) -> None:
        """Give up what a child that has ended held."""
        running.lock.release()
        self._store.discard(running.folder)

    def close(self) -> None:
        """End everything."""
        self._runner.close()
        for running in self._running.values():
            self.free(running)

    def _patience(self, poll: bool) -> float | None:
        if not self._running:
            return _POLL_SECONDS if poll else 0.0
        soonest = min(running.deadline for running in self._running.values()) - time.monotonic()
        return max(0.0, min(soonest, _POLL_SECONDS) if poll else soonest)
