"""Observe what this process, which runs one stage of one job, reads: dependencies are recorded, never guessed.

- An audit hook sees `open`, folder listings, shared libraries, subprocesses and sockets.
- A loader hook sees the exact bytes of each first-party module, and never uses a stale `.pyc`.
- A finder at the end of `sys.meta_path` sees the modules that were not found.
- Wrapped functions see stat calls, native readers, and the variables that model code and its libraries read.

A read that can't be observed makes the stage uncacheable, with a reason, so that it is never cached wrongly.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from batchexport.core.digests import bytes_digest, listing_digest, text_digest, tree_digest
from batchexport.dependencies import collect, hooks
from batchexport.dependencies.collect import LAG_NS
from batchexport.dependencies.dependency import Dependency
from batchexport.dependencies.observations import Observations
from batchexport.dependencies.paths import absolute, access
from batchexport.dependencies.zones import Zone, Zones, called_by_model_or_library, calling_zone, model_on_stack

# Terminals, shells and batch systems set these, and no model means them. Paths made of them are covered by the
# dependency on the location: see `batchexport.dependencies.dependency`.
_UNTRACKED = frozenset(
    [
        "HOME",
        "PATH",
        "PWD",
        "OLDPWD",
        "TERM",
        "COLUMNS",
        "LINES",
        "USER",
        "LOGNAME",
        "SHLVL",
        "_",
        "TMPDIR",
        "TEMP",
        "TMP",
    ]
)
# Their listings are not dependencies: they list every folder of the path to find one module, which
# `paths.shadowing_paths` covers, or to find the installed distributions.
_LISTERS = ("<frozen importlib", "/importlib/metadata/", "/importlib_metadata/", "/pkg_resources/")
_CODE = (".py", ".pyc", ".so")  # the distributions of these are known from `sys.modules`


class Observer:
    """Observes this process from `install()` on. One per process, as an audit hook can't be removed."""

    def __init__(self, *, root: str, ignored: tuple[str, ...], own_environment: frozenset[str]) -> None:
        """Record reads of model code in the manifest's folder `root` and elsewhere.

        Reads in the folders `ignored` and of the variables `own_environment` are batchexport's own.
        """
        root = os.path.abspath(root)
        self._zones = Zones(root, ignored)
        self._seen = Observations(root=root, zones=self._zones)
        self._untracked = {*_UNTRACKED, *own_environment}
        self._active = False
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "import": self._imported,
            "ctypes.dlopen": self._loaded,
            "sqlite3.connect": self._connected_to,
            "os.mkdir": self._made,
            "os.rename": self._moved,
            "os.link": self._moved,
            "os.symlink": self._moved,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "subprocess.Popen": self._ran,
            "os.system": self._ran,
            "os.exec": self._ran,
            "os.posix_spawn": self._ran,
            "os.fork": self._forked,
            "os.forkpty": self._forked,
            "socket.connect": self._connected,
        }

    def install(self) -> None:
        """Start observing."""
        self._active = True
        self._seen.since = time.time_ns() - LAG_NS
        self._seen.preloaded_modules = frozenset(sys.modules)
        self._seen.initial_sys_path = frozenset(sys.path)
        sys.addaudithook(self._audit)
        sys.meta_path.append(_MissingModules(self))
        hooks.watch_loader(self._is_watched, self._source)
        hooks.watch_environment(self._env_read, self._env_write)
        hooks.watch_stat(self._stat)
        hooks.watch_readers(self._native_read)

    def declare(self, path: str, *, weights: bool = False) -> None:
        """Record `path` as read, for readers that no hook sees."""
        path = os.path.abspath(path)
        if weights:
            self._seen.weights.add(path)
        self._seen.record_read(path)

    def mark_uncacheable(self, reason: str) -> None:
        """Record that the stage depends on something that can't be observed."""
        self._seen.uncacheable.setdefault(reason)

    @property
    def uncacheable(self) -> list[str]:
        """The reasons why the results of this stage must not be reused."""
        return list(self._seen.uncacheable)

    def dependencies(self) -> list[Dependency]:
        """Stop observing and return all dependencies. Raises InputChanged: see `collect.dependencies`."""
        self._active = False
        return collect.dependencies(self._seen)

    # ── audit events ─────────────────────────────────────────────────────────────────────────────

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._active and (handler := self._handlers.get(event)) is not None:
            handler(*args)

    def _opened(self, given: Any, mode: Any = None, flags: Any = 0) -> None:
        path = absolute(given)
        if path is None:
            return
        reads, writes = access(mode, flags)
        zone = self._zones.of(path)
        if zone is Zone.THIRD and not writes and not path.endswith(_CODE) and ".dist-info/" not in path:
            self._seen.third_party_files.add(path)
        if zone is not Zone.FIRST:
            return
        # Tracebacks read the source of loaded modules too, which doesn't reach the result.
        loaded = path in self._seen.sources and not writes and calling_zone(self._zones) is not Zone.FIRST
        if reads and path not in self._seen.written and not loaded:
            self._seen.record_read(path)
            if path in self._seen.weights and model_on_stack(self._zones):
                self._seen.weights.discard(path)  # model code may use more of the file than its weights
        if writes:
            self._seen.written.add(path)

    def _made(self, given: Any, *rest: Any) -> None:
        path = absolute(given)
        if path is not None and self._seen.is_first(path) and self._seen.read.get(path) is None:
            self._seen.written.add(path)

    def _moved(self, source: Any, given: Any, *rest: Any) -> None:
        self._made(given)

    def _imported(self, name: str, filename: Any, *rest: Any) -> None:
        if filename is not None:  # set for extension modules only
            self._opened(filename)

    def _loaded(self, name: Any) -> None:
        if isinstance(name, str | bytes | os.PathLike) and "/" in os.fsdecode(name):
            self._opened(name)

    def _connected_to(self, database: Any) -> None:
        if database not in ("", ":memory:"):
            self._opened(database, "r+")

    def _list(self, given: Any = None) -> None:
        path = absolute("." if given is None else given)
        if path is None or path in self._seen.listed or not self._seen.is_first(path):
            return
        lister = sys._getframe(2).f_code.co_filename
        if any(word in lister for word in _LISTERS):
            return
        self._seen.listed[path] = ""  # the next line raises this event, too
        try:
            self._seen.listed[path] = listing_digest(path)
        except OSError:
            del self._seen.listed[path]
            self._seen.absent.add(path)

    def _ran(self, *args: Any) -> None:
        if calling_zone(self._zones) is Zone.FIRST:
            self.mark_uncacheable("model code runs another program")

    def _forked(self) -> None:
        self.mark_uncacheable("it forks a process whose reads can't be tracked")

    def _connected(self, sock: Any, address: Any) -> None:
        if isinstance(address, tuple):
            self.mark_uncacheable("the network is read")

    # ── reports of the wrapped functions ─────────────────────────────────────────────────────────

    def _is_watched(self, path: str) -> bool:
        return self._active and self._seen.is_first(path)

    def _source(self, path: str) -> bytes:
        was_data = path in self._seen.read
        source = Path(path).read_bytes()
        self._seen.sources[path] = (bytes_digest(source), tree_digest(source))
        if not was_data:
            self._seen.read.pop(path, None)
        return source

    def _env_read(self, key: Any, value: Any) -> None:
        if not self._active:
            return
        name = os.fsdecode(key)
        if name in self._untracked or name in self._seen.environment:
            return
        if called_by_model_or_library(self._zones):
            self._seen.environment[name] = None if value is None else text_digest(os.fsdecode(value))

    def _env_write(self, key: Any) -> None:
        """Stop tracking a variable that this process sets itself."""
        if self._active:
            self._untracked.add(os.fsdecode(key))

    def _stat(self, given: Any, exists: bool) -> None:
        if not self._active:
            return
        path, known = absolute(given), self._seen.present if exists else self._seen.absent
        if (
            path is not None
            and path not in known
            and self._seen.is_first(path)
            and called_by_model_or_library(self._zones)
        ):
            known.add(path)

    def _native_read(self, given: Any) -> None:
        if self._active:
            self._opened(given)

    def record_missing_module(self, name: str) -> None:
        """Record that no top-level module of this name can be imported."""
        if not self._active:
            return
        self._seen.missing_modules.add(name)
        for entry in sys.path:
            if entry not in self._seen.initial_sys_path:  # model code added it, so the coordinator doesn't know it
                self._seen.record_missing_module(name, entry)

    def record_missing_submodule(self, stem: str, folder: str) -> None:
        """Record that the package folder `folder` contains no module of this name."""
        if self._active:
            self._seen.record_missing_module(stem, folder)


class _MissingModules:
    """A finder that finds nothing. It comes last, so each module it is asked for was not found anywhere."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if path is None:
            self._observer.record_missing_module(name)
            return
        for folder in path:
            self._observer.record_missing_submodule(name.rpartition(".")[2], folder)
