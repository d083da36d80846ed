"""What a stage depends on is observed, never guessed: this process serves one stage of one job.

An audit hook sees `open`, folder listings, libraries, subprocesses and sockets; a loader hook sees the exact
bytes of every first-party module (and never a stale `.pyc`); a finder at the end of `sys.meta_path` sees what
was looked for and not found; environment reads by model code and its libraries are seen too.
What can't be seen makes the job `uncacheable` with a reason, rather than cached wrongly.
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

# Said by terminals, shells and batch systems about themselves, not about the model. Paths made of them are
# bound to them: see `place` in `batchexport.dependencies.checker`.
_UNHEARD = frozenset(
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
# They list every folder on the path to find one module, for which `lookups.ahead` answers, or what is installed.
_LISTERS = ("<frozen importlib", "/importlib/metadata/", "/importlib_metadata/", "/pkg_resources/")
_CODE = (".py", ".pyc", ".so")  # its distribution is known from `sys.modules`


class Observer:
    """Watches this process from `install()` on. One per process: an audit hook can't be taken out again."""

    def __init__(self, *, root: str, ignored: tuple[str, ...], own_environment: frozenset[str]) -> None:
        """`root` is the folder of the models; `ignored` are folders of ours; nobody hears of `own_environment`."""
        root = os.path.abspath(root)
        self._zones = Zones(root, ignored)
        self._seen = Observations(root=root, zones=self._zones)
        self._unheard = {*_UNHEARD, *own_environment}
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
        """Start to watch."""
        self._active = True
        self._seen.since = time.time_ns() - LAG_NS
        self._seen.preloaded_modules = frozenset(sys.modules)
        self._seen.initial_sys_path = frozenset(sys.path)
        sys.addaudithook(self._audit)
        sys.meta_path.append(_Absences(self))
        hooks.watch_loader(self._is_watched, self._source)
        hooks.watch_environment(self._env_read, self._env_write)
        hooks.watch_stat(self._stat)
        hooks.watch_readers(self._native_read)

    def declare(self, path: str, *, weights: bool = False) -> None:
        """Count `path` as read, for readers that no hook sees."""
        path = os.path.abspath(path)
        if weights:
            self._seen.weights.add(path)
        self._seen.has_read(path)

    def mark_uncacheable(self, reason: str) -> None:
        """Say that the stage depends on something that can't be observed."""
        self._seen.uncacheable.setdefault(reason)

    @property
    def uncacheable(self) -> list[str]:
        """Why the results of this stage must not be reused; empty where they may."""
        return list(self._seen.uncacheable)

    def dependencies(self) -> list[Dependency]:
        """Stop watching and return all dependencies. Raises InputChanged: see `collect.dependencies`."""
        self._active = False
        return collect.dependencies(self._seen)

    # ── what the audit hook hears ────────────────────────────────────────────────────────────

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
        # Tracebacks read the source of loaded modules for their own sake; model code reads for the result.
        loaded = path in self._seen.sources and not writes and calling_zone(self._zones) is not Zone.FIRST
        if reads and path not in self._seen.written and not loaded:
            self._seen.has_read(path)
            if path in self._seen.weights and model_on_stack(self._zones):
                self._seen.weights.discard(path)  # what model code takes from there may be more than the state
        if writes:
            self._seen.written.add(path)

    def _made(self, given: Any, *rest: Any) -> None:
        path = absolute(given)
        if path is not None and self._seen.is_first(path) and self._seen.read.get(path) is None:
            self._seen.written.add(path)

    def _moved(self, source: Any, given: Any, *rest: Any) -> None:
        self._made(given)

    def _imported(self, name: str, filename: Any, *rest: Any) -> None:
        if filename is not None:  # of an extension module
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
        self._seen.listed[path] = ""  # the next line is heard, too
        try:
            self._seen.listed[path] = listing_digest(path)
        except OSError:
            del self._seen.listed[path]
            self._seen.absent.add(path)

    def _ran(self, *args: Any) -> None:
        if calling_zone(self._zones) is Zone.FIRST:
            self.mark_uncacheable("model code runs another program")

    def _forked(self) -> None:
        self.mark_uncacheable("another process is forked, and what it reads is not seen")

    def _connected(self, sock: Any, address: Any) -> None:
        if isinstance(address, tuple):
            self.mark_uncacheable("the network is read")

    # ── what the hooks tell ──────────────────────────────────────────────────────────────────

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
        if name not in self._unheard and name not in self._seen.environment and called_by_model_or_library(self._zones):
            self._seen.environment[name] = None if value is None else text_digest(os.fsdecode(value))

    def _env_write(self, key: Any) -> None:
        """From here on, what the variable says is what this process made it say."""
        if self._active:
            self._unheard.add(os.fsdecode(key))

    def _stat(self, given: Any, is_there: bool) -> None:
        if not self._active:
            return
        path, answers = absolute(given), self._seen.present if is_there else self._seen.absent
        if (
            path is not None
            and path not in answers
            and self._seen.is_first(path)
            and called_by_model_or_library(self._zones)
        ):
            answers.add(path)

    def _native_read(self, given: Any) -> None:
        if self._active:
            self._opened(given)

    def no_module(self, name: str) -> None:
        """Note that no top-level module of this name can be imported."""
        if not self._active:
            return
        self._seen.missing_modules.add(name)
        for entry in sys.path:
            if entry not in self._seen.initial_sys_path:  # model code added it, so nobody else will look there
                self._seen.no_file_of(name, entry)

    def no_file_of(self, stem: str, folder: str) -> None:
        """Note that `folder` has no module of this name."""
        if self._active:
            self._seen.no_file_of(stem, folder)


class _Absences:
    """A finder that finds nothing: whatever reaches it was looked for everywhere and is not there."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if path is None:
            self._observer.no_module(name)
            return
        for folder in path:
            self._observer.no_file_of(name.rpartition(".")[2], folder)
