"""Wrap the calls of `os` that ask about paths and raise no audit event.

`os.stat` and the entries of `os.scandir` return stand-ins that report which of their parts are read, so that a file's
size or time counts only for code that looks at it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from batchexport.dependencies.answers import FIELDS, LINK_ITSELF, question_of
from batchexport.dependencies.paths import absolute, joined


class PathObserver(Protocol):
    """What the wrapped functions report to. All paths are absolute, except the argument of `ignores`."""

    def ignores(self, given: object) -> bool:
        """Return True if nothing that is asked of this path counts."""

    def on_stat(self, path: str, question: str, status: os.stat_result | None) -> None:
        """A stat was asked one question; None: there is nothing at `path`."""

    def on_link(self, path: str) -> None:
        """The text of the link `path` was read."""

    def on_kinds(self, folder: str) -> None:
        """The kinds of the entries of a listed folder were asked for."""

    def on_access(self, path: str, mode: int, answer: bool) -> None:
        """`os.access` was asked whether `path` allows `mode`."""


class WatchedStat(tuple[int, ...]):
    """A stat that reports each field that is read; a stand-in for `os.stat_result`, which can't be subclassed."""

    _status: os.stat_result
    _report: Callable[[str, os.stat_result], None]

    @classmethod
    def of(cls, status: os.stat_result, report: Callable[[str, os.stat_result], None]) -> WatchedStat:
        """Return the stand-in for `status`; `report` is called with a field's name and the stat."""
        watched = tuple.__new__(cls, status)
        watched._status, watched._report = status, report
        return watched

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return os.stat_result

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._status, name)
        self._report(name, self._status)
        return value

    def __getitem__(self, index: Any) -> Any:
        for field in [FIELDS[index]] if isinstance(index, int) else FIELDS[index]:
            self._report(field, self._status)
        return tuple.__getitem__(self, index)

    def __iter__(self) -> Iterator[int]:
        for field in FIELDS:
            self._report(field, self._status)
        return tuple.__iter__(self)

    def __reduce__(self) -> Any:
        return self._status.__reduce__()

    def __repr__(self) -> str:
        return repr(self._status)


class WatchedEntry:
    """An entry of `os.scandir` that reports what it is asked."""

    def __init__(self, entry: os.DirEntry[Any], observer: PathObserver, folder: str | None) -> None:
        self._entry, self._observer, self._folder = entry, observer, folder
        self.name, self.path = entry.name, entry.path

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return os.DirEntry

    def _kind(self) -> os.DirEntry[Any]:
        if self._folder is not None:
            self._observer.on_kinds(self._folder)
        return self._entry

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._kind().is_dir(follow_symlinks=follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._kind().is_file(follow_symlinks=follow_symlinks)

    def is_symlink(self) -> bool:
        return self._kind().is_symlink()

    def is_junction(self) -> bool:
        return False

    def inode(self) -> int:
        if self._folder is not None:
            path = os.path.join(self._folder, os.fsdecode(self.name))
            self._observer.on_stat(path, f"{LINK_ITSELF}identity", self._entry.stat(follow_symlinks=False))
        return self._entry.inode()

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        status = self._entry.stat(follow_symlinks=follow_symlinks)
        if self._folder is None:
            return status
        path = os.path.join(self._folder, os.fsdecode(self.name))
        return _watched(self._observer, path, status, "" if follow_symlinks else LINK_ITSELF)

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return repr(self._entry)


class WatchedScan:
    """The iterator that `os.scandir` returns."""

    def __init__(self, scan: Any, observer: PathObserver, folder: str | None) -> None:
        self._scan, self._observer, self._folder = scan, observer, folder

    def __iter__(self) -> WatchedScan:
        return self

    def __next__(self) -> WatchedEntry:
        return WatchedEntry(next(self._scan), self._observer, self._folder)

    def __enter__(self) -> WatchedScan:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._scan.close()


def _watched(observer: PathObserver, path: str, status: os.stat_result, prefix: str) -> WatchedStat:
    def report(field: str, status: os.stat_result) -> None:
        question = question_of(field)
        if question is not None:
            observer.on_stat(path, prefix + question, status)

    return WatchedStat.of(status, report)


def watch_stats(observer: PathObserver) -> None:
    """Report each path that stat, lstat or fstat is called with, whether it exists, and the fields that are read."""

    def replace(name: str, follows: bool) -> None:
        original = getattr(os, name)

        def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = follows) -> Any:
            options: dict[str, Any] = {} if dir_fd is None else {"dir_fd": dir_fd}
            if name == "stat":
                options["follow_symlinks"] = follow_symlinks
            if observer.ignores(path):
                return original(path, **options)
            prefix = "" if follow_symlinks else LINK_ITSELF
            where = absolute(path) if isinstance(path, int) else joined(dir_fd, path)
            try:
                status = original(path, **options)
            except (FileNotFoundError, NotADirectoryError):
                if where is not None and not isinstance(path, int):
                    observer.on_stat(where, f"{prefix}exists", None)
                raise
            if where is None or not where.startswith("/"):
                return status
            if not isinstance(path, int):
                observer.on_stat(where, f"{prefix}exists", status)
            return _watched(observer, where, status, prefix)

        _replace(name, stat)

    replace("stat", True)
    replace("lstat", False)
    original_fstat = os.fstat

    def fstat(fd: int) -> Any:
        status, path = original_fstat(fd), absolute(fd)
        return status if path is None or not path.startswith("/") else _watched(observer, path, status, "")

    _replace("fstat", fstat)


def watch_links(observer: PathObserver) -> None:
    """Report each link whose text is read."""
    original = os.readlink

    def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
        where = joined(dir_fd, path)
        if where is not None:
            observer.on_link(where)
        return original(path, dir_fd=dir_fd)

    _replace("readlink", readlink)


def watch_access(observer: PathObserver) -> None:
    """Report each path that `os.access` is asked about."""
    original = os.access

    def access(path: Any, mode: int, *, dir_fd: int | None = None, **options: Any) -> bool:
        answer, where = original(path, mode, dir_fd=dir_fd, **options), joined(dir_fd, path)
        if where is not None:
            observer.on_access(where, mode, answer)
        return answer

    _replace("access", access)


def watch_scans(observer: PathObserver) -> None:
    """Report what is asked of the entries that `os.scandir` returns."""
    original = os.scandir

    def scandir(path: Any = ".") -> Any:
        if observer.ignores(path):
            return original(path)
        return WatchedScan(original(path), observer, absolute("." if path is None else path))

    _replace("scandir", scandir)


def watch_relative_opens(on_open: Callable[[Any, str, int], None]) -> None:
    """Report the files that are opened relative to the descriptor of a folder, which no audit event names."""
    original = os.open

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None and not os.path.isabs(path):
            where = joined(dir_fd, path)
            if where is not None:
                on_open(path, where, flags)
        return original(path, flags, mode, dir_fd=dir_fd)

    _replace("open", open_)


def _replace(name: str, replacement: Callable[..., Any]) -> None:
    """Set `os.<name>`, there and in the sets that say what it supports."""
    original = getattr(os, name)
    setattr(os, name, replacement)
    for abilities in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if original in abilities:
            abilities.add(replacement)
