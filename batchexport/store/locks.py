"""Locks between processes that the kernel frees when their holder dies.

A file system without such locks is an error: a lock that outlives its holder would block every later run.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from batchexport.store.errors import StoreError, translate_os_errors

if TYPE_CHECKING:
    from filelock import FileLock

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_ELSEWHERE = "put the cache on a local disk with --cache-dir"


class Lock:
    """One held lock; leaving its context, or `release()`, frees it."""

    def __init__(self, held: FileLock, path: Path) -> None:
        self._held = held
        self._path = path

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self._held.is_locked:
            # Lock files must not pile up. The file is removed while the lock is held: a process that had it open
            # already finds, once it gets the lock, that the file has no name any more, and starts over.
            self._path.unlink(missing_ok=True)
            self._held.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class KeyLock:
    """Locks between the processes, and the threads, that share one folder.

    They are `flock`s: the kernel frees them with the process, and they work across containers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tried = False

    def try_lock(self, key: str) -> Lock | None:
        """Return the lock of `key`, or None if it is held elsewhere; never waits.

        Raises:
            ValueError: if `key` is not 1 to 128 of a-z, 0-9 and "-".
            DiskFull, StoreError: if the folder can't be written or its file system has no locks.
        """
        from filelock import FileLock, Timeout  # slow to import, and only builds need it

        if _NAME.fullmatch(key) is None:
            raise ValueError(f"not a lock's name: {key!r}")
        path = self._folder / f"{key}.lock"
        # filelock's soft lock would outlive its holder, so a file system without flock is an error.
        held = FileLock(path, mode=self._mode(), timeout=0, thread_local=False, fallback_to_soft=False)
        with translate_os_errors(self._folder, remedy=_ELSEWHERE):
            try:
                held.acquire()
            except Timeout:
                return None
            except NotImplementedError:
                raise self._without_locks() from None
            lock = Lock(held, path)
            if not self._tried and not _excludes(path):
                lock.release()
                raise self._without_locks()
        self._tried = True
        return lock

    def _mode(self) -> int:
        """Return the mode of new lock files: whoever may write the folder may take its locks."""
        try:
            return self._folder.stat().st_mode & 0o666 | 0o600
        except OSError:
            return 0o644

    def abandoned(self) -> int:
        """Remove the lock files that killed processes left; return how many there were."""
        count = 0
        for path in sorted(self._folder.glob("*.lock")):
            if _NAME.fullmatch(path.stem):
                lock = self.try_lock(path.stem)
                if lock is not None:
                    lock.release()
                    count += 1
        return count

    def held(self, prefix: str) -> set[str]:
        """Return the keys starting with `prefix` whose locks are held."""
        found = set()
        for path in self._folder.glob(f"{prefix}*.lock"):
            if _NAME.fullmatch(path.stem):
                lock = self.try_lock(path.stem)
                if lock is None:
                    found.add(path.stem)
                else:
                    lock.release()
        return found

    def _without_locks(self) -> StoreError:
        message = "file locks don't work there, and two runs would overwrite each other's work"
        return StoreError(f"can't use {self._folder}: {message}; {_ELSEWHERE}")


def _excludes(path: Path) -> bool:
    """Return True if the lock held on `path` excludes a second one; on some file systems every lock succeeds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class SharedLock:
    """The reader-writer lock of the store: lookups and publishes share it for moments, gc takes it exclusively."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others; waits for a gc that is removing. Without locks, gc refuses to run."""
        descriptor = None
        with suppress(OSError):
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone, after waiting for the others. Must not be nested.

        Raises:
            StoreError: if the file system has no locks.
        """
        with translate_os_errors(self._path.parent, remedy="put the cache on a local disk with --cache-dir"):
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except BaseException:
                os.close(descriptor)
                raise
        try:
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
