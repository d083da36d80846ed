"""Observe what this process, which runs one stage of one job, reads: dependencies are recorded, never guessed.

- An audit hook sees `open`, folder listings, shared libraries, databases, subprocesses and sockets.
- A loader hook sees the exact bytes of each first-party module, and never uses a stale `.pyc`.
- A finder at the end of `sys.meta_path` sees the modules that were not found.
- Wrapped functions see stats, links, native readers, and what is asked about the environment, the installed
  distributions and the machine: see `asked.py`.

A read that can't be observed makes the stage uncacheable, with a reason, so that it is never cached wrongly.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchexport.dependencies import collect, hooks, machine, path_hooks
from batchexport.dependencies.answers import OwnFiles, current_stat, exists, listing
from batchexport.dependencies.asked import LISTERS, Asked, initial_environment
from batchexport.dependencies.collect import LAG_NS
from batchexport.dependencies.dependency import Dependency
from batchexport.dependencies.installed import ALL_NAMES
from batchexport.dependencies.native import NativeOpens, add_audit_hook
from batchexport.dependencies.observations import InputChanged, Observations
from batchexport.dependencies.paths import (
    absolute,
    access,
    database_file,
    library_shadows,
    mapped_files,
    missing_paths,
    source_digests,
)
from batchexport.dependencies.preloaded import PRELOADED
from batchexport.dependencies.zones import (
    Zone,
    Zones,
    asked_by_model,
    called_by_model_or_library,
    calling_zone,
    direct_caller,
    model_on_stack,
    third_party_roots,
)

_OF_A_PROCESS = re.compile(r"/proc/(self|thread-self|\d+)/")
_CODE = (".py", ".pyc", ".so")  # the distributions of these are known from `sys.modules`


class Observer:
    """Observes this process from `install()` on. One per process, as an audit hook can't be removed."""

    def __init__(
        self,
        *,
        root: str,
        ignored: tuple[str, ...],
        own_environment: frozenset[str],
        output_dir: str = "",
        cache: str = "",
        given: Mapping[str, str] | None = None,
    ) -> None:
        """Record reads of model code in the manifest's folder `root` and elsewhere.

        Reads in the folders `ignored` and of the variables `own_environment` are batchexport's own; listings leave out
        what it writes into `output_dir` and `cache`. `given` is the environment that this process was started with.
        """
        root = os.path.abspath(root)
        self._zones = Zones(root, ignored)
        self._seen = Observations(
            root=root, real_root=os.path.realpath(root), zones=self._zones, own=OwnFiles.of(output_dir, cache)
        )
        asked = self._asked = Asked(self._seen, initial_environment() if given is None else given, own_environment)
        self._native = NativeOpens()
        self._relative: set[str] = set()
        self._active = False
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "import": self._imported,
            "ctypes.dlopen": self._loaded,
            "sqlite3.connect": self._connected_to,
            "sqlite3.load_extension": self._extension,
            "os.mkdir": self._made,
            "os.rename": self._moved,
            "os.link": self._moved,
            "os.symlink": self._moved,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "subprocess.Popen": asked.on_program,
            "os.system": asked.on_program,
            "os.exec": asked.on_program,
            "os.posix_spawn": asked.on_program,
            "os.fork": asked.on_fork,
            "os.forkpty": asked.on_fork,
            "socket.connect": asked.on_connection,
        }

    def install(self) -> None:
        """Start observing."""
        asked = self._asked
        machine.watch_machine(asked.on_machine, asked.on_unrepeatable)
        hooks.watch_metadata(asked.on_distribution, asked.on_all_distributions, asked.on_entry_points)
        self._active = asked.active = True
        self._seen.started = time.time_ns()
        self._seen.since = self._seen.started - LAG_NS
        self._seen.preloaded_modules = frozenset(sys.modules)
        self._seen.initial_sys_path = frozenset(sys.path)
        self._seen.initially_mapped = frozenset(mapped_files())
        self._native.start()
        add_audit_hook(self._audit, self._handlers)
        sys.meta_path.append(hooks.MissingModules(asked.on_missing_module, asked.on_missing_submodule))
        hooks.watch_loader(self._is_watched, self._source)
        hooks.watch_environment(asked.on_variable, asked.on_variable_set, asked.on_variables)
        hooks.watch_processes(asked.on_program)
        readers = PRELOADED.readers
        hooks.watch_readers(self._native_read, hooks.find_readers() if readers is None else readers)
        hooks.watch_databases(self._attached)
        path_hooks.watch_stats(asked)
        path_hooks.watch_links(asked)
        path_hooks.watch_access(asked)
        path_hooks.watch_scans(asked)
        path_hooks.watch_relative_opens(self._opened_at)

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
        self._active = self._asked.active = False
        for path, flags in self._native.stop():
            self._opened_unseen(path, flags)
        if self._native.lost:
            self.mark_uncacheable("native code opens more files than can be recorded")
        for path in filter(os.path.isfile, mapped_files() - self._seen.initially_mapped):
            self._opened_unseen(path, os.O_RDONLY)
            if ".so" in path and self._seen.is_first(path):
                self._seen.absent |= missing_paths(library_shadows(path))
        return collect.dependencies(self._seen)

    def _opened_unseen(self, path: str, flags: int) -> None:
        """Record a first-party file that no hook has seen, after the fact. Raises InputChanged if it is new."""
        seen = self._seen
        if path in seen.written or path in seen.sources or path in seen.read or not seen.is_first(path):
            return
        reads, writes = access(None, flags)
        if writes:
            seen.record_written(path, new=True)
        elif reads and not os.path.isdir(path) and not path.startswith("/dev/"):
            seen.record_read(path)
            now = seen.read[path]
            if now is not None and max(now[-2:]) > seen.started:
                raise InputChanged(path)

    # ── audit events ─────────────────────────────────────────────────────────────────────────────

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._active and (handler := self._handlers.get(event)) is not None:
            handler(*args)

    def _opened(self, given: Any, mode: Any = None, flags: Any = 0) -> None:
        if self._zones.surely_installed(given) and str(given).endswith(_CODE):
            return
        path = absolute(given)
        if path is None:
            return
        if self._relative and given in self._relative:
            self._relative.discard(given)
            return
        reads, writes = access(mode, flags)
        zone = self._zones.of(path)
        if zone is Zone.THIRD and not writes:
            self._opened_installed(path)
        elif zone is Zone.SYSTEM and reads:
            self._opened_system(path)
        if zone is not Zone.FIRST:
            return
        # Tracebacks read the source of loaded modules too, which doesn't reach the result.
        loaded = path in self._seen.sources and not writes and calling_zone(self._zones) is not Zone.FIRST
        if reads and path not in self._seen.written and not loaded:
            self._seen.record_read(path)
            if path in self._seen.weights and model_on_stack(self._zones):
                self._seen.weights.discard(path)  # model code may use more of the file than its weights
        if writes:
            self._seen.record_written(path, new=not exists(path))

    def _opened_installed(self, path: str) -> None:
        if ".dist-info/" not in path:
            if not path.endswith(_CODE):
                self._seen.third_party_files.add(path)
        elif asked_by_model(self._zones):
            self._seen.distributions.add(path.partition(".dist-info/")[0].rpartition("/")[2].partition("-")[0])

    def _opened_system(self, path: str) -> None:
        if path.startswith(("/proc/", "/sys/")):
            if not _OF_A_PROCESS.match(path) and asked_by_model(self._zones):
                self.mark_uncacheable(f"model code reads the state of the machine from {path}")
        elif os.path.isfile(path) and called_by_model_or_library(self._zones):
            self._seen.record_read(path)

    def _opened_at(self, given: str, path: str, flags: int) -> None:
        """Record a file that is opened relative to a folder, and ignore the audit event, which names it wrongly."""
        if self._active:
            self._opened(path, None, flags)
            self._relative.add(given)

    def _made(self, given: Any, *rest: Any) -> None:
        path = absolute(given)
        if path is not None and self._seen.is_first(path) and self._seen.read.get(path) is None:
            self._seen.record_written(path, new=True)

    def _moved(self, source: Any, given: Any, *rest: Any) -> None:
        self._made(given)

    def _imported(self, name: str, filename: Any, *rest: Any) -> None:
        if filename is not None:  # set for extension modules only
            self._opened(filename)

    def _loaded(self, name: Any) -> None:
        if isinstance(name, str | bytes | os.PathLike) and "/" in os.fsdecode(name):
            self._opened(name)

    def _connected_to(self, database: Any) -> None:
        name = database_file(database)
        if name is None:
            return
        self._opened(name, "r+")
        for end in ("-wal", "-journal", "-shm"):
            beside = absolute(name + end)
            if beside is not None and self._seen.is_first(beside):
                if end != "-shm":  # the others hold changes that are not in the file yet
                    self._seen.stats.setdefault((beside, "log"), current_stat("log", beside))
                self._seen.record_written(beside, new=True)

    def _attached(self, name: str | None) -> None:
        if not self._active:
            return
        if name is None:
            self.mark_uncacheable("a database is attached whose name can't be seen")
        else:
            self._connected_to(name)

    def _extension(self, connection: Any, path: Any) -> None:
        self._opened(path)

    def _list(self, given: Any = None) -> None:
        path = absolute("." if given is None else given)
        if path is None or path in self._seen.listed:
            return
        first, root = self._seen.is_first(path), path in third_party_roots()
        if not (first or root) or any(word in direct_caller(self._zones) for word in LISTERS):
            return
        if root and asked_by_model(self._zones):
            self._seen.installed.add(ALL_NAMES)
        if not first:
            return
        self._seen.listed[path] = ""  # the next line raises this event, too
        try:
            self._seen.listed[path] = listing(path, self._seen.own)
        except OSError:
            del self._seen.listed[path]
            self._seen.absent.add(path)
            self._seen.stats.setdefault((path, "mode"), current_stat("mode", path))

    # ── reports of the wrapped functions ─────────────────────────────────────────────────────────

    def _is_watched(self, path: str) -> bool:
        return self._active and self._seen.is_first(path)

    def _source(self, path: str) -> bytes:
        was_data = path in self._seen.read
        source = Path(path).read_bytes()
        self._seen.sources[path] = source_digests(source)
        if not was_data:
            self._seen.read.pop(path, None)
        return source

    def _native_read(self, given: Any) -> None:
        if self._active:
            self._opened(given)
