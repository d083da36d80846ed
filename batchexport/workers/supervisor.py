"""Watch every running child: enforce time and memory limits, and collect what is needed to explain its end."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from batchexport.store.compiler_cache import CompilerCache
from batchexport.store.store import Store
from batchexport.workers import memory
from batchexport.workers.attempt import Attempt
from batchexport.workers.exit_status import ExitContext
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.protocol import StageRequest

_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_POLL_SECONDS = 0.5
_MEMORY_CHECK_SECONDS = 0.25  # a process allocates about a gigabyte in that time


class Runner(Protocol):
    """Runs stages: the fork server, or this very process."""

    note: str | None

    def open(self) -> None: ...
    def start(self, request: StageRequest) -> None: ...
    def signal(self, name: str, number: int) -> None: ...
    def resident_bytes(self, *, exact: bool) -> dict[str, int]: ...
    def wait(self, timeout: float | None) -> list[ProcessExit]: ...
    def end_children(self) -> None: ...


OneAttempt = TypeVar("OneAttempt", bound=Attempt)


class Supervisor(Generic[OneAttempt]):
    """The children of one run; `pool` is how many bytes of memory they may hold together, None for no limit.

    `compilers` is the folder of what compilers make once per toolchain.
    """

    def __init__(self, runner: Runner, store: Store, pool: int | None, compilers: Path) -> None:
        self._compiler_cache = CompilerCache(compilers)
        self._header_truncated = -math.inf  # when a killed stage was last found to have left a truncated header
        self._runner = runner
        self._store = store
        self._pool = pool
        self._attempts: dict[str, OneAttempt] = {}
        self._memory_checked = 0.0

    @property
    def busy(self) -> bool:
        """Return True if any child is running."""
        return bool(self._attempts)

    @property
    def note(self) -> str | None:
        """Return what the user should know about how children are run."""
        return self._runner.note

    def open(self) -> None:
        """Start the runner, and remove what killed runs left in staging and in the compiler's cache.

        With a read-only store nothing can run, and this does nothing.
        """
        if self._store.read_only:
            return
        self._runner.open()
        self._store.sweep()
        self._compiler_cache.open()

    def start(self, attempt: OneAttempt, request: StageRequest) -> None:
        """Start a child. Raises EnvironmentProblem where no child can be started at all."""
        self._attempts[request.id] = attempt
        attempt.kernel_kills = memory.kernel_kills()
        try:
            self._runner.start(request)
        except BaseException:
            del self._attempts[request.id]
            raise
        # The first start waits for the import of torch, which does not count as the stage's own time.
        attempt.deadline = time.monotonic() + attempt.timeout

    def wait(self, *, poll: bool) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        """Wait a moment for children to exit, and yield those that did; `poll`: wait even if no child is running."""
        yield from self._collect_exits(self._wait_seconds(poll))

    def exited(self) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        """Yield the children that have exited by now, without waiting."""
        yield from self._collect_exits(0.0)

    def _collect_exits(self, timeout: float) -> Iterator[tuple[OneAttempt, ProcessExit]]:
        for process_exit in self._runner.wait(timeout):
            attempt = self._attempts.pop(process_exit.id, None)
            if attempt is not None:
                if process_exit.status != 0:
                    self._remove_truncated(attempt)
                yield attempt, process_exit

    def enforce(self) -> None:
        """End the children whose time is over, and kill one where memory runs out."""
        now = time.monotonic()
        self._enforce_deadlines(now)
        if now - self._memory_checked >= _MEMORY_CHECK_SECONDS and self._attempts:
            self._enforce_memory()
            self._memory_checked = time.monotonic()

    def _enforce_deadlines(self, now: float) -> None:
        # SIGTERM makes the child write into its log where it hangs; SIGKILL follows after the grace period.
        for name, attempt in self._attempts.items():
            if now < attempt.deadline:
                continue
            self._runner.signal(name, signal.SIGKILL if attempt.timed_out else signal.SIGTERM)
            attempt.timed_out = True
            attempt.deadline = now + _GRACE_SECONDS

    def _enforce_memory(self) -> None:
        held, free = self._runner.resident_bytes(exact=False), memory.available()
        pool = sys.maxsize if self._pool is None else self._pool
        if not memory.over_budget(held, pool=pool, available=free):
            return
        held = self._runner.resident_bytes(exact=True)
        expected = {name: attempt.expected_memory for name, attempt in self._attempts.items()}
        victim = memory.choose_victim(held, expected, pool=pool, available=free)
        if victim in self._attempts and self._attempts[victim].held_when_killed is None:
            self._attempts[victim].held_when_killed = held[victim]
            self._runner.signal(victim, signal.SIGKILL)

    def kill(self) -> list[OneAttempt]:
        """Kill every child; return what they worked on."""
        for name, attempt in self._attempts.items():
            attempt.cancelled = True
            self._runner.signal(name, signal.SIGKILL)
        return list(self._attempts.values())

    def exit_context(self, attempt: OneAttempt) -> ExitContext:
        """Return what is known of a child's end besides its exit status."""
        before, after = attempt.kernel_kills, memory.kernel_kills()
        return ExitContext(
            timeout=attempt.timeout,
            timed_out=attempt.timed_out,
            held_when_killed=attempt.held_when_killed,
            pool=self._pool,
            kernel_killed=None if before is None or after is None else after > before,
            header_truncated=self._header_truncated >= attempt.started,
        )

    def free(self, attempt: OneAttempt) -> None:
        """Release the lock and delete the folder of a child that has exited."""
        attempt.lock.release()
        self._store.discard(attempt.folder)

    def close(self) -> None:
        """End every child, and free what they held. The runner stays as it is."""
        self._runner.end_children()
        for attempt in self._attempts.values():
            self._remove_truncated(attempt)
            self.free(attempt)
        self._compiler_cache.close()

    def _remove_truncated(self, attempt: OneAttempt) -> None:
        seconds = time.monotonic() - attempt.started
        if attempt.stage != "export" and self._compiler_cache.remove_truncated(time.time() - seconds):
            self._header_truncated = time.monotonic()

    def _wait_seconds(self, poll: bool) -> float:
        if not self._attempts:
            return _POLL_SECONDS if poll else 0.0
        soonest = min(attempt.deadline for attempt in self._attempts.values()) - time.monotonic()
        return max(0.0, min(soonest, _MEMORY_CHECK_SECONDS))
