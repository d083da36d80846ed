"""Wrap the calls that raise no audit event, except those about paths: report to the observer, call the original."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

Readers = list[tuple[dict[str, Any], str, Callable[..., Any]]]
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


def watch_environment(
    on_read: Callable[[Any, Any], None], on_write: Callable[[Any], None], on_list: Callable[[], None]
) -> None:
    """Report each variable that is read, with its value or None; each that is set or deleted; and listings."""
    mapping = type(os.environ)
    get, put, drop = mapping.__getitem__, mapping.__setitem__, mapping.__delitem__
    iterate, count, represent = mapping.__iter__, mapping.__len__, mapping.__repr__

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

    def iterator(self: Any) -> Any:
        on_list()
        return iterate(self)

    def length(self: Any) -> int:
        on_list()
        return count(self)

    def text(self: Any) -> str:
        for _ in self.values():  # reads each
            pass
        return represent(self)

    mapping.__getitem__ = getitem  # type: ignore[method-assign]
    mapping.__setitem__ = setitem  # type: ignore[method-assign]
    mapping.__delitem__ = delitem  # type: ignore[method-assign]
    mapping.__iter__ = iterator  # type: ignore[method-assign]
    mapping.__len__ = length  # type: ignore[method-assign]
    mapping.__repr__ = text  # type: ignore[method-assign]


def watch_processes(on_start: Callable[[], None]) -> None:
    """Report each process that multiprocessing or a library like it starts, for which there is no audit event."""
    import _posixsubprocess

    original = _posixsubprocess.fork_exec

    def fork_exec(*args: Any) -> int:
        on_start()
        return original(*args)

    _posixsubprocess.fork_exec = fork_exec


def watch_metadata(
    on_distribution: Callable[[str], None], on_all: Callable[[], None], on_entry_points: Callable[[str | None], None]
) -> None:
    """Report each distribution that `importlib.metadata` is asked for by name, requests for all, and entry points."""
    from importlib import metadata

    finder = metadata.MetadataPathFinder
    find, entry_points = finder.find_distributions, metadata.entry_points
    looking: list[bool] = []  # for entry points, which takes a look at all distributions

    def find_distributions(*args: Any, **kwargs: Any) -> Any:
        context: Any = next(iter((*args, *kwargs.values())), None)
        name = getattr(context, "name", None)
        if name is None:
            if not looking:
                on_all()
        else:
            on_distribution(name)
        return find(*args, **kwargs)

    def watched_entry_points(**params: Any) -> Any:
        on_entry_points(params.get("group"))
        looking.append(True)
        try:
            return entry_points(**params)
        finally:
            looking.pop()

    finder.find_distributions = staticmethod(find_distributions)  # type: ignore[method-assign]
    metadata.entry_points = watched_entry_points


def watch_databases(on_attach: Callable[[str | None], None]) -> None:
    """Report the files that SQL attaches to a database, by SQLite's authorizer; None if SQL does not name the file."""
    import sqlite3

    original = sqlite3.connect

    def authorize(action: int, name: str | None, *rest: str | None) -> int:
        if action == sqlite3.SQLITE_ATTACH:
            on_attach(name)
        return sqlite3.SQLITE_OK

    def connect(*args: Any, **kwargs: Any) -> Any:
        connection = original(*args, **kwargs)
        connection.set_authorizer(authorize)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = connect


def find_readers() -> Readers:
    """Return where the loaded modules hold a native reader: the attributes of a module, the name, and the reader."""
    readers: list[tuple[str, Callable[..., Any]]] = []
    for module, name in _READERS:
        reader = getattr(sys.modules.get(module), name, None)
        if reader is not None:
            readers.append((name, reader))
    found: Readers = []
    for holder in list(sys.modules.values()):
        attributes: Any = getattr(holder, "__dict__", None)
        if isinstance(attributes, dict):
            found += [(attributes, name, reader) for name, reader in readers if attributes.get(name) is reader]
    return found


def watch_readers(on_open: Callable[[Any], None], readers: Readers) -> None:
    """Report the files that these native readers open."""

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("filename", kwargs.get("f"))
            if isinstance(given, str | bytes | os.PathLike):
                on_open(given)
            return original(*args, **kwargs)

        return read

    for attributes, name, original in readers:
        attributes[name] = watched(original)
    if hasattr(sys.modules.get("torch"), "UntypedStorage"):
        _watch_torch(watched, on_open)


def _watch_torch(watched: Callable[[Callable[..., Any]], Callable[..., Any]], on_open: Callable[[Any], None]) -> None:
    """Report what torch's native readers open: archives, packages and storages that are mapped."""
    torch: Any = sys.modules["torch"]
    original: Any = torch._C.PyTorchFileReader

    class PyTorchFileReader(original):  # type: ignore[misc]
        def __init__(self, given: Any, *rest: Any) -> None:
            if isinstance(given, str | bytes | os.PathLike):
                on_open(given)
            super().__init__(given, *rest)

    torch._C.PyTorchFileReader = PyTorchFileReader
    torch.UntypedStorage.from_file = staticmethod(watched(torch.UntypedStorage.from_file))


class MissingModules:
    """A finder that finds nothing. It comes last, so each module it is asked for was not found anywhere.

    It calls `on_module` with the name of a top-level module, and `on_submodule` with the last part of a module's name
    and a folder of its package.
    """

    def __init__(self, on_module: Callable[[str], None], on_submodule: Callable[[str, str], None]) -> None:
        self._on_module, self._on_submodule = on_module, on_submodule

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if path is None:
            self._on_module(name)
            return
        for folder in path:
            self._on_submodule(name.rpartition(".")[2], folder)
