"""While gc removes, nobody hands out or makes known: they pass the gate together, gc passes it alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batchexport.store.errors import plain_errors


class Gate:
    """A `flock` on one file, taken shared for moments, and alone by gc; the kernel frees it with its holder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def together(self) -> Iterator[None]:
        """Pass with others, after a gc that is just removing. Where there are no locks, gc refuses to run."""
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
    def alone(self) -> Iterator[None]:
        """Pass alone; waits for those who are passing. Nothing inside may pass again.

        Raises:
            StoreError: if the file system has no locks.
        """
        with plain_errors(self._path.parent, remedy="put the cache on a local disk with --cache-dir"):
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
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
