"""Working folders of running stages; each belongs to a process, and is swept once that process is dead."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from batchexport.core.files import remove
from batchexport.store.errors import StoreError, translate_os_errors
from batchexport.store.locks import KeyLock, Lock

_OWNED = re.compile(r"(\d+-[0-9a-f]+)-\d+-[a-z0-9-]*")
_UNSAFE = re.compile(r"[^a-z0-9]+")
_LINK = re.compile(r"bx-[0-9a-f]{12}")
_SLUG_LENGTH = 32  # short: sockets below these folders have to stay under 108 characters


class Staging:
    """Folders and files for attempts, named `<owner>-<counter>-<slug>`; an owner is `<pid>-<start>`.

    A pid alone is ambiguous across reboots and containers, so each process holds the lock `owner-<owner>`
    as long as it lives.
    """

    def __init__(self, folder: Path, locks: KeyLock) -> None:
        self._folder = folder
        self._locks = locks
        self._counter = count()
        self._guard = threading.Lock()
        self._pid = 0
        self._owner = ""
        self._lock: Lock | None = None

    def attempt(self, name: str) -> Path:
        """Create an empty folder for one attempt at `name`.

        Raises:
            DiskFull, StoreError: if it can't be made.
        """
        path = self.scratch(name)
        with translate_os_errors(self._folder):
            path.mkdir()
        return path

    def temporary(self, attempt: Path) -> Path:
        """Create the folder `tmp` of an attempt, and return a short path that leads to it.

        The path of a Unix socket may have 107 bytes (unix(7)), fewer than many a path in a cache. If no short link can
        be made, the long path is returned. Raises OSError if the folder can't be made.
        """
        folder, link = attempt / "tmp", _short_link(attempt)
        folder.mkdir()
        try:
            link.symlink_to(folder)
        except OSError:
            return folder
        return link

    def scratch(self, name: str) -> Path:
        """Return an unused path for one temporary file; it is swept like an attempt.

        Raises:
            DiskFull, StoreError: if this process can't take the lock of an owner.
        """
        slug = _UNSAFE.sub("-", name.lower()).strip("-")[:_SLUG_LENGTH]
        return self._folder / f"{self._own()}-{next(self._counter)}-{slug}"

    def discard(self, path: Path) -> None:
        """Remove one attempt; what can't be removed now is swept later.

        Raises:
            ValueError: if `path` does not lie directly in the staging folder.
        """
        if path.parent != self._folder:
            raise ValueError(f"not an attempt of this store: {path}")
        _remove(path)

    def sweep(self) -> int:
        """Remove the attempts of dead owners, and short links to nothing; return how many attempts there were."""
        _drop_dangling_links()
        swept = 0
        for paths in self._dead():
            for path in paths:
                _remove(path)
                swept += 1
        return swept

    def abandoned(self) -> list[Path]:
        """Return the attempts of dead owners, which `sweep` would remove."""
        return [path for paths in self._dead() for path in paths]

    def _dead(self) -> Iterator[list[Path]]:
        """Yield the attempts of each dead owner while holding its lock."""
        for owner, paths in self._by_owner().items():
            if owner == self._owner and self._pid == os.getpid():
                continue
            try:
                lock = self._locks.try_lock(f"owner-{owner}")
            except StoreError:  # without locks the owner may be alive
                continue
            if lock is not None:
                with lock:
                    yield paths

    def others_at_work(self) -> bool:
        """Return True if another process works in this folder now."""
        mine = {f"owner-{self._owner}"} if self._pid == os.getpid() else set()
        return bool(self._locks.held("owner-") - mine)

    def close(self) -> None:
        """Release this process's ownership; what is left may be swept from now on."""
        with self._guard:
            if self._lock is not None and self._pid == os.getpid():
                self._lock.release()
            self._lock = None
            self._pid = 0

    def _own(self) -> str:
        with self._guard:
            while self._pid != os.getpid():  # also true in a forked child, which owns attempts of its own
                owner = f"{os.getpid()}-{time.time_ns():x}"
                lock = self._locks.try_lock(f"owner-{owner}")
                if lock is not None:
                    self._pid, self._owner, self._lock = os.getpid(), owner, lock
            return self._owner

    def _by_owner(self) -> dict[str, list[Path]]:
        owned: dict[str, list[Path]] = {}
        for path in _children(self._folder):
            match = _OWNED.fullmatch(path.name)
            if match:
                owned.setdefault(match[1], []).append(path)
        return owned


def _short_link(attempt: Path) -> Path:
    """Return the link in the system's temporary folder that leads to the one of an attempt, now or later."""
    import tempfile  # which takes longer to import than a run without work may

    return Path(tempfile.gettempdir(), f"bx-{hashlib.sha256(os.fsencode(attempt)).hexdigest()[:12]}")


def _drop_dangling_links() -> None:
    """Remove the short links of killed runs whose caches are gone."""
    import tempfile

    for path in _children(Path(tempfile.gettempdir())):
        if _LINK.fullmatch(path.name) and path.is_symlink() and not path.exists():
            remove(path)


def _remove(attempt: Path) -> None:
    link = _short_link(attempt)
    if link.is_symlink():
        remove(link)
    remove(attempt)


def _children(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return
