"""Wrap the calls that raise no audit event: report to the observer, then call the original."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

# Functions that read files in native code.
_READERS = (("safetensors", "safe_open"), ("torch.export", "load"), ("torch.jit", "load"), ("torch", "from_file"))


def watch_loader(is_watched: Callable[[str], bool], read: Callable[[str], bytes]) -> None:
    """Load each watched module from the bytes that `read` returns for its path, never from a stale `.pyc`."""
    loader = importlib.machinery.SourceFileLoader
    original: Callable[[Any, str], CodeType | None] = loader.get_code

    def get_code(self: Any, fullname: str) -> CodeType | None:
        path = os.path.abspath(self.get_filename(fullname))
        if not is_watched(path):
            return original(self, fullname)
        code: CodeType = self.source_to_code(read(path), path)
        return code

    loader.get_code = get_code  # type: ignore[method-assign]


def watch_environment(on_read: Callable[[Any, Any], None], on_write: Callable[[Any], None]) -> None:
    """Report each variable that is read, with its value or None if it is unset, and each that is set or deleted."""
    mapping = type(os.environ)
    get, put, drop = mapping.__getitem__, mapping.__setitem__, mapping.__delitem__

    def getitem(self: Any, key: Any) -> Any:
        try:
            value = get(self, key)
        except KeyError:
            on_read(key, None)
            raise
        on_read(key, value)
        return value

    def setitem(self: Any, key: Any, value: Any) -> None:
        put(self, key, value)
        on_write(key)

    def delitem(self: Any, key: Any) -> None:
        drop(self, key)
        on_write(key)

    mapping.__getitem__ = getitem  # type: ignore[method-assign]
    mapping.__setitem__ = setitem  # type: ignore[method-assign]
    mapping.__delitem__ = delitem  # type: ignore[method-assign]


def watch_stat(on_stat: Callable[[str | bytes | os.PathLike[Any], bool], None]) -> None:
    """Report each path that stat, lstat or access is called with, and whether it exists."""

    def watched(original: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            named = not isinstance(path, int) and kwargs.get("dir_fd") is None
            try:
                status = original(path, *args, **kwargs)
            except (FileNotFoundError, NotADirectoryError):
                if named:
                    on_stat(path, False)
                raise
            if named:
                on_stat(path, True)
            return status

        return stat

    for name in ("stat", "lstat"):
        original = getattr(os, name)
        replaced = watched(original)
        setattr(os, name, replaced)
        for abilities in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if original in abilities:
                abilities.add(replaced)
    original_access = os.access

    def watched_access(path: Any, *args: Any, **kwargs: Any) -> bool:
        if kwargs.get("dir_fd") is None and not isinstance(path, int):
            os.path.lexists(path)  # calls lstat, which is watched
        return original_access(path, *args, **kwargs)

    os.access = watched_access


def watch_readers(on_open: Callable[[Any], None]) -> None:
    """Report the files that native readers open."""

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("filename", kwargs.get("f"))
            if isinstance(given, str | bytes | os.PathLike):
                on_open(given)
            return original(*args, **kwargs)

        return read

    for module_name, name in _READERS:
        original = getattr(sys.modules.get(module_name), name, None)
        if original is None:
            continue
        reader = watched(original)
        for holder in list(sys.modules.values()):
            attributes = getattr(holder, "__dict__", None)
            if isinstance(attributes, dict) and attributes.get(name) is original:
                attributes[name] = reader
