"""What no audit event tells of is replaced by a function that tells of it, and then does just what it did before."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

# Readers in native code, which raise no audit event.
_READERS = (("safetensors", "safe_open"), ("torch.export", "load"), ("torch.jit", "load"), ("torch", "from_file"))


def watch_loader(is_watched: Callable[[str], bool], read: Callable[[str], bytes]) -> None:
    """Load each watched module from the bytes that `read` gives for its path: never from a stale `.pyc`."""
    loader = importlib.machinery.SourceFileLoader
    original: Callable[[Any, str], CodeType | None] = loader.get_code

    def get_code(self: Any, fullname: str) -> CodeType | None:
        path = os.path.abspath(self.get_filename(fullname))
        if not is_watched(path):
            return original(self, fullname)
        code: CodeType = self.source_to_code(read(path), path)
        return code

    loader.get_code = get_code  # type: ignore[method-assign]


def watch_environment(heard: Callable[[Any, Any], None], said: Callable[[Any], None]) -> None:
    """Tell of variables that are read, with their values (None: there is none), and that are set or deleted."""
    kind = type(os.environ)
    get, put, drop = kind.__getitem__, kind.__setitem__, kind.__delitem__

    def getitem(self: Any, key: Any) -> Any:
        try:
            value = get(self, key)
        except KeyError:
            heard(key, None)
            raise
        heard(key, value)
        return value

    def setitem(self: Any, key: Any, value: Any) -> None:
        put(self, key, value)
        said(key)

    def delitem(self: Any, key: Any) -> None:
        drop(self, key)
        said(key)

    kind.__getitem__, kind.__setitem__, kind.__delitem__ = getitem, setitem, delitem  # type: ignore[method-assign]


def watch_stat(asked: Callable[[str | bytes | os.PathLike[Any], bool], None]) -> None:
    """Tell of paths whose stat or access is asked for, and whether they are there."""

    def watched(original: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            named = not isinstance(path, int) and kwargs.get("dir_fd") is None
            try:
                status = original(path, *args, **kwargs)
            except (FileNotFoundError, NotADirectoryError):
                if named:
                    asked(path, False)
                raise
            if named:
                asked(path, True)
            return status

        return stat

    for name in ("stat", "lstat"):
        original = getattr(os, name)
        replaced = watched(original)
        setattr(os, name, replaced)
        for abilities in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if original in abilities:
                abilities.add(replaced)
    may = os.access

    def watched_access(path: Any, *args: Any, **kwargs: Any) -> bool:
        if kwargs.get("dir_fd") is None and not isinstance(path, int):
            os.path.lexists(path)  # which is watched
        return may(path, *args, **kwargs)

    os.access = watched_access


def watch_readers(opened: Callable[[Any], None]) -> None:
    """Tell of the files that native readers are given."""

    def telling(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("filename", kwargs.get("f"))
            if isinstance(given, str | bytes | os.PathLike):
                opened(given)
            return original(*args, **kwargs)

        return read

    for module_name, name in _READERS:
        original = getattr(sys.modules.get(module_name), name, None)
        if original is None:
            continue
        reader = telling(original)
        for holder in list(sys.modules.values()):
            attributes = getattr(holder, "__dict__", None)
            if isinstance(attributes, dict) and attributes.get(name) is original:
                attributes[name] = reader
