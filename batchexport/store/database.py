"""The SQLite database under the index: replaced once if it is damaged, and given up on any other error."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import diskcache

from batchexport.store.rows import TextDisk

T = TypeVar("T")

_SETTINGS = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "size_limit": 2**62,
    "disk_min_file_size": 2**31 - 1,
    "sqlite_mmap_size": 0,  # under mmap an I/O error or a truncated file is a SIGBUS, not an exception
    "sqlite_synchronous": 0,  # the index is disposable, so it need not be flushed
}

_FILES = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal")

# Errors of the machine (full disk, permissions, locks), as opposed to damage inside the database.
_CIRCUMSTANCES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """A diskcache in `folder`, opened at first use; no method raises on errors of the disk.

    `problem` is None or one line about the first error. `renewed`: the database was damaged and replaced.
    """

    def __init__(self, folder: Path, *, timeout: float) -> None:
        """`timeout`: seconds to wait while another process writes."""
        self.problem: str | None = None
        self._folder = folder
        self._timeout = timeout
        self._opening = threading.Lock()
        self._cache: Any = None
        self._readable = True
        self._writable = True
        self.renewed = False

    def read(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Run `action` on the open diskcache and return its result, or `otherwise`. After an error nothing is read."""
        try:
            cache = self._open()
            return otherwise if cache is None else action(cache)
        except (sqlite3.Error, OSError, diskcache.Timeout) as error:
            if not self._renew(error):
                self._readable = self._writable = False
            return otherwise

    def write(self, action: Callable[[Any], object]) -> None:
        """Run `action` on the open diskcache. After an error nothing is written any more, only read."""
        if not self._writable:
            return
        try:
            cache = self._open()
            if cache is not None:
                action(cache)
        except (sqlite3.Error, OSError, diskcache.Timeout) as error:
            if not self._renew(error):
                self._writable = False

    def close(self) -> None:
        """Close this thread's connection; the next use opens it again."""
        with self._opening:
            self._disconnect()

    def _open(self) -> Any:
        with self._opening:
            while self._cache is None and self._readable:  # at most twice, as it is renewed only once
                try:
                    self._cache = self._connect()
                except Exception as error:  # noqa: BLE001 - tampered settings make diskcache raise nearly anything
                    if not self._renew(error):
                        self._readable = self._writable = False
            return self._cache

    def _connect(self) -> Any:
        name = str(self._folder)
        if os.path.expandvars(name) != name:
            raise PermissionError(f"diskcache would expand the variable in {name}")
        if self._folder.is_symlink() or (self._folder.exists() and not self._folder.is_dir()):
            raise sqlite3.DatabaseError("a file or a link is in its place")
        if any((self._folder / file).is_symlink() for file in _FILES):
            raise sqlite3.DatabaseError("a link is in its place")  # SQLite would write through it
        self._folder.mkdir(parents=True, exist_ok=True)  # diskcache would make it writable for its owner only
        cache = diskcache.Cache(name, timeout=self._timeout, disk=TextDisk, **_SETTINGS)
        self._share()
        return cache

    def _share(self) -> None:
        """Let whoever may write the folder write the files in it, which SQLite makes for their owner only."""
        mode = self._folder.stat().st_mode & 0o666
        for file in _FILES if mode & 0o022 else ():
            with suppress(OSError):  # another user's have it already
                (self._folder / file).chmod(mode | 0o600)

    def _renew(self, error: Exception) -> bool:
        """Note `error`, and set the database aside if it is damaged. Return whether a new one may be tried."""
        self.problem = self.problem or f"index: {str(error) or type(error).__name__}"
        if self.renewed or not _is_damage(error):
            return False
        self.renewed = True
        self._disconnect()
        aside = self._folder.with_name(f"{self._folder.name}.damaged")
        try:
            import shutil

            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)
            self._folder.replace(aside)
        except FileNotFoundError:  # another process was faster
            return True
        except OSError as failure:
            self.problem = f"{self.problem}; it can't be set aside: {failure}"
            return False
        self.problem = f"{self.problem}; set aside as {aside}, a fresh one is used"
        return True

    def _disconnect(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            with suppress(sqlite3.Error, OSError):
                cache.close()


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        return code & 0xFF not in _CIRCUMSTANCES  # the rest of a code only refines it
    return not isinstance(error, OSError | diskcache.Timeout)
