"""Every child that was started is watched, for its time and its memory, until it has ended."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from batchexport.store.store import Store
from batchexport.workers import memory
from batchexport.workers.attempt import Attempt
from batchexport.workers.compiler_cache import CompilerCache
from batchexport.workers.exit_status import ExitContext
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.protocol import StageRequest

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 0.25  # between two looks at the children's memory; a process fills about a gigabyte in that time


class Runner(Protocol):
    """What runs stages: the fork server, or this very process."""

    note: str | None

    def open(self) -> None: ...
    def start(self, request: StageRequest) -> None: ...
    def signal(self, name: str, number: int) -> None: ...
    def held(self, *, exact: bool) -> dict[str, int]: ...
    def wait(self, timeout: float | None) -> list[ProcessExit]: ...
    def close(self) -> None: ...


OneAttempt = TypeVar("OneAttempt", bound=Attempt)


class Supervisor(Generic[OneAttempt]):
    """The children of one run; `pool` is how many bytes of memory they may hold together, None: no bound."""

    def __init__(self, runner: Runner, store: Store, pool: int | None) -> None:
        self._headers = CompilerCache(store.layout.inductor)
        self._cut = -math.inf  # when a killed stage was last seen to have left a precompiled header cut off
        self._runner = runner
        self._store = store
        self._pool = pool
        self._running: dict[str, OneAttempt] = {}
        self._looked = 0.0

    @property
    def busy(self) -> bool:
        """Whether any child is at work."""
        return bool(self._running)

    @property
    def note(self) -> str | None:
        """What the user should know of the way children are run."""
        return self._runner.note

    def open(self) -> None:
        """Make the place fit for children."""
        self._runner.open()
        self._store.sweep()
        self._headers.open()

    def start(self, running: OneAttempt, request: StageRequest) -> None:
        """Start a child. Raises EnvironmentProblem where none can be started at all."""
        self._running[request.id] = running
        running.kernel_kills = memory.kernel_kills()
        try:
            self._runner.start(request)
        except BaseException:
            del self._running[request.id]
            raise
        # The first start waits for the import of torch, which is no stage's own time.
        running.deadline = time.monotonic() + running.timeout

    def wait(self, *, poll: bool) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        """The children that ended, after waiting for something to happen; `poll`: for a moment at most."""
        yield from self._collect_exits(self._patience(poll))

    def ended(self) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        """The children that have ended by now."""
        yield from self._collect_exits(0.0)

    def _collect_exits(self, patience: float) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        for ended in self._runner.wait(patience):
            running = self._running.pop(ended.id, None)
            if running is not None:
                if ended.status != 0:
                    self._remove_truncated(running)
                yield running, ended

    def enforce(self) -> None:
        """End the children whose time is over, and one where memory runs out."""
        now = time.monotonic()
        self._enforce_deadlines(now)
        if now - self._looked >= _LOOK_SECONDS and self._running:
            self._enforce_memory()
            self._looked = time.monotonic()

    def _enforce_deadlines(self, now: float) -> None:
        # Asked to end at first, so that its log can say where it hangs; killed once its grace is over too.
        for name, running in self._running.items():
            if now < running.deadline:
                continue
            self._runner.signal(name, signal.SIGKILL if running.timed_out else signal.SIGTERM)
            running.timed_out = True
            running.deadline = now + _GRACE_SECONDS

    def _enforce_memory(self) -> None:
        held, free = self._runner.held(exact=False), memory.available()
        pool = sys.maxsize if self._pool is None else self._pool
        if not memory.over_budget(held, pool=pool, available=free):
            return
        held = self._runner.held(exact=True)
        expected = {name: running.expected_memory for name, running in self._running.items()}
        name = memory.choose_victim(held, expected, pool=pool, available=free)
        if name in self._running and self._running[name].held_when_killed is None:
            self._running[name].held_when_killed = held[name]
            self._runner.signal(name, signal.SIGKILL)

    def kill(self) -> list[OneAttempt]:
        """Kill every child; returns what they worked on."""
        for name, running in self._running.items():
            running.cancelled = True
            self._runner.signal(name, signal.SIGKILL)
        return list(self._running.values())

    def exit_context(self, running: OneAttempt) -> ExitContext:
        """What is known of the end of a child beside its status."""
        before, after = running.kernel_kills, memory.kernel_kills()
        return ExitContext(
            timeout=running.timeout,
            timed_out=running.timed_out,
            held=running.held_when_killed,
            limit=self._pool,
            kernel_killed=None if before is None or after is None else after > before,
            header_cut=self._cut >= running.started,
        )

    def free(self, running: OneAttempt) -> None:
        """Give up what a child that has ended held."""
        running.lock.release()
        self._store.discard(running.folder)

    def close(self) -> None:
        """End everything."""
        self._runner.close()
        for running in self._running.values():
            self._remove_truncated(running)
            self.free(running)
        self._headers.close()

    def _remove_truncated(self, running: OneAttempt) -> None:
        if running.stage != "export" and self._headers.remove_truncated(
            time.time() - (time.monotonic() - running.started)
        ):
            self._cut = time.monotonic()

    def _patience(self, poll: bool) -> float:
        if not self._running:
            return _POLL_SECONDS if poll else 0.0
        soonest = min(running.deadline for running in self._running.values()) - time.monotonic()
        return max(0.0, min(soonest, _LOOK_SECONDS))
