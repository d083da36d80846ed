"""What a stage depends on is observed, never guessed: this process serves one stage of one job.

An audit hook sees `open`, folder listings, libraries, subprocesses and sockets; a loader hook sees the exact
bytes of every first-party module (and never a stale `.pyc`); a finder at the end of `sys.meta_path` sees what
was looked for and not found; environment reads by model code and its libraries are seen too.
What can't be seen makes the job `uncacheable` with a reason, rather than cached wrongly.
"""

from __future__ import annotations

import importlib.machinery
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from batchexport.digests import bytes_digest, listing_digest, text_digest, tree_digest
from batchexport.distributions import Distributions
from batchexport.pipeline.lookups import (
    absolute,
    access,
    ahead,
    digest_or_none,
    folder_of_module,
    is_since,
    module_files,
    module_path,
    signature,
)
from batchexport.pipeline.zones import Zone, Zones, third_party_roots, within

Dependency = list[Any]
# Said by terminals, shells and batch systems about themselves, not about the model. Paths made of them are
# bound to them: see `place` in `batchexport.dependencies`.
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
_LAG_NS = 100_000_000  # the clock that stamps files is a little behind
_SINCE = time.time_ns() - _LAG_NS  # from here on, an edit of what is loaded goes unnoticed
_TORCH = re.compile(r"/(site|dist)-packages/torch/")
# They list every folder on the path to find one module, for which `shadows` answers, or what is installed.
_LISTERS = ("<frozen importlib", "/importlib/metadata/", "/importlib_metadata/", "/pkg_resources/")
_CODE = (".py", ".pyc", ".so")  # its distribution is known from `sys.modules`
# Readers in native code, which raise no audit event.
_READERS = (("safetensors", "safe_open"), ("torch.export", "load"), ("torch.jit", "load"), ("torch", "from_file"))


class InputChanged(Exception):
    """A file was changed while the stage that read it ran."""


class Observer:
    """Watches this process from `install()` on. One per process: an audit hook can't be taken out again."""

    def __init__(self, *, root: str, ignored: tuple[str, ...], own_environment: frozenset[str]) -> None:
        """`root` is the folder of the models; `ignored` are folders of ours; nobody hears of `own_environment`."""
        self._root = os.path.abspath(root)
        self._zones = Zones(self._root, ignored)
        self._unheard = {*_UNHEARD, *own_environment}
        self._sources: dict[str, tuple[str, str]] = {}
        self._read: dict[str, tuple[int, ...] | None] = {}
        self._weights: set[str] = set()
        self._written: set[str] = set()
        self._borrowed: set[str] = set()
        self._listed: dict[str, str] = {}
        self._present: set[str] = set()
        self._absent: set[str] = set()
        self._environment: dict[str, str | None] = {}
        self._no_modules: set[str] = set()
        self._unseen: dict[str, None] = {}
        self._active = False
        self._since = 0
        self._before: frozenset[str] = frozenset()
        self._path: frozenset[str] = frozenset()
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
        import safetensors  # noqa: F401 - so that its reader can be replaced

        self._active = True
        self._since = time.time_ns() - _LAG_NS
        self._before = frozenset(sys.modules)
        self._path = frozenset(sys.path)
        sys.addaudithook(self._audit)
        sys.meta_path.append(_Absences(self))
        self._watch_loader()
        self._watch_environment()
        self._watch_stat()
        self._watch_readers()

    def declare(self, path: str, *, weights: bool = False) -> None:
        """Count `path` as read, for readers that no hook sees."""
        path = os.path.abspath(path)
        if weights:
            self._weights.add(path)
        self._read.setdefault(path, signature(path))

    def unseen(self, reason: str) -> None:
        """Say that the stage depends on something that can't be observed."""
        self._unseen.setdefault(reason)

    @property
    def uncacheable(self) -> list[str]:
        """Why the results of this stage must not be reused; empty where they may."""
        return list(self._unseen)

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
            self._borrowed.add(path)
        if zone is not Zone.FIRST:
            return
        # Tracebacks read the source of loaded modules for their own sake; model code reads for the result.
        loaded = path in self._sources and not writes and self._caller() is not Zone.FIRST
        if reads and path not in self._written and not loaded:
            self._read.setdefault(path, signature(path))
            if path in self._weights and self._is_behind():
                self._weights.discard(path)  # what model code takes from there may be more than the state
        if writes:
            self._written.add(path)

    def _made(self, given: Any, *rest: Any) -> None:
        path = absolute(given)
        if path is not None and self._zones.of(path) is Zone.FIRST and self._read.get(path) is None:
            self._written.add(path)

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
        if path is None or path in self._listed or self._zones.of(path) is not Zone.FIRST:
            return
        lister = sys._getframe(2).f_code.co_filename
        if any(word in lister for word in _LISTERS):
            return
        self._listed[path] = ""  # the next line is heard, too
        try:
            self._listed[path] = listing_digest(path)
        except OSError:
            del self._listed[path]
            self._absent.add(path)

    def _ran(self, *args: Any) -> None:
        if self._caller() is Zone.FIRST:
            self.unseen("model code runs another program")

    def _forked(self) -> None:
        self.unseen("another process is forked, and what it reads is not seen")

    def _connected(self, sock: Any, address: Any) -> None:
        if isinstance(address, tuple):
            self.unseen("the network is read")

    # ── what is replaced, because no event tells of it ───────────────────────────────────────

    def _watch_loader(self) -> None:
        loader = importlib.machinery.SourceFileLoader
        original: Callable[[Any, str], CodeType | None] = loader.get_code
        observer = self

        def get_code(self: Any, fullname: str) -> CodeType | None:
            path = os.path.abspath(self.get_filename(fullname))
            if not observer._active or observer._zones.of(path) is not Zone.FIRST:
                return original(self, fullname)
            was_data = path in observer._read
            source = Path(path).read_bytes()
            observer._sources[path] = (bytes_digest(source), tree_digest(source))
            if not was_data:
                observer._read.pop(path, None)
            code: CodeType = self.source_to_code(source, path)
            return code

        loader.get_code = get_code  # type: ignore[method-assign]

    def _watch_environment(self) -> None:
        kind = type(os.environ)
        get, put, drop = kind.__getitem__, kind.__setitem__, kind.__delitem__
        observer = self

        def getitem(self: Any, key: Any) -> Any:
            try:
                value = get(self, key)
            except KeyError:
                observer._heard(key, None)
                raise
            observer._heard(key, value)
            return value

        def setitem(self: Any, key: Any, value: Any) -> None:
            put(self, key, value)
            observer._said(key)

        def delitem(self: Any, key: Any) -> None:
            drop(self, key)
            observer._said(key)

        kind.__getitem__, kind.__setitem__, kind.__delitem__ = getitem, setitem, delitem  # type: ignore[method-assign]

    def _heard(self, key: Any, value: Any) -> None:
        if not self._active:
            return
        name = os.fsdecode(key)
        if name not in self._unheard and name not in self._environment and self._asked_by_model():
            self._environment[name] = None if value is None else text_digest(os.fsdecode(value))

    def _said(self, key: Any) -> None:
        """From here on, what the variable says is what this process made it say."""
        if self._active:
            self._unheard.add(os.fsdecode(key))

    def _watch_stat(self) -> None:
        for name in ("stat", "lstat"):
            original = getattr(os, name)
            watched = self._watched(original)
            setattr(os, name, watched)
            for abilities in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                if original in abilities:
                    abilities.add(watched)
        may = os.access

        def watched_access(path: Any, *args: Any, **kwargs: Any) -> bool:
            if kwargs.get("dir_fd") is None and not isinstance(path, int):
                os.path.lexists(path)  # which is watched
            return may(path, *args, **kwargs)

        os.access = watched_access

    def _watched(self, original: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            try:
                status = original(path, *args, **kwargs)
            except (FileNotFoundError, NotADirectoryError):
                self._asked(path, kwargs, self._absent)
                raise
            self._asked(path, kwargs, self._present)
            return status

        return stat

    def _asked(self, given: Any, options: dict[str, Any], answers: set[str]) -> None:
        if not self._active or isinstance(given, int) or options.get("dir_fd") is not None:
            return
        path = absolute(given)
        if path is not None and path not in answers and self._zones.of(path) is Zone.FIRST and self._asked_by_model():
            answers.add(path)

    def _watch_readers(self) -> None:
        for module_name, name in _READERS:
            original = getattr(sys.modules.get(module_name), name, None)
            if original is None:
                continue
            reader = self._telling(original)
            for holder in list(sys.modules.values()):
                attributes = getattr(holder, "__dict__", None)
                if isinstance(attributes, dict) and attributes.get(name) is original:
                    attributes[name] = reader

    def _telling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("filename", kwargs.get("f"))
            if self._active and isinstance(given, str | bytes | os.PathLike):
                self._opened(given)
            return original(*args, **kwargs)

        return read

    def looked_for(self, path: str) -> None:
        """Note that `path` was looked for and is not there."""
        if self._active and self._zones.of(path) is Zone.FIRST:
            self._absent.add(path)

    def no_module(self, name: str) -> None:
        """Note that no top-level module of this name can be imported."""
        if not self._active:
            return
        self._no_modules.add(name)
        for entry in sys.path:
            if entry not in self._path:  # model code added it, so nobody else will look there
                self.no_file_of(name, entry)

    def no_file_of(self, stem: str, folder: str) -> None:
        """Note that `folder` has no module of this name."""
        base = os.path.join(os.path.abspath(folder), stem)
        for candidate in (base, *module_files(base)):
            self.looked_for(candidate)

    # ── who asks ─────────────────────────────────────────────────────────────────────────────

    def _asked_by_model(self) -> bool:
        """True when model code or a library of its, other than torch, is behind what a hook sees."""
        return self._caller(skip_torch=True) in (Zone.FIRST, Zone.THIRD)

    def _caller(self, *, skip_torch: bool = False) -> Zone:
        """The zone of the nearest frame that is neither the standard library's nor ours."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            path = frame.f_code.co_filename
            zone = self._zones.of(path)
            if zone in (Zone.FIRST, Zone.THIRD):
                return Zone.OWN if skip_torch and _TORCH.search(path) else zone
            if path.endswith(("/linecache.py", "/traceback.py")):
                return Zone.STDLIB
            frame = frame.f_back
        # A thread does not know who started it, so it is taken for the model's.
        return Zone.STDLIB if threading.current_thread() is threading.main_thread() else Zone.FIRST

    def _is_behind(self) -> bool:
        """True when model code is anywhere behind what a hook sees."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if self._zones.of(frame.f_code.co_filename) is Zone.FIRST:
                return True
            frame = frame.f_back
        return False

    # ── the result ───────────────────────────────────────────────────────────────────────────

    def dependencies(self) -> list[Dependency]:
        """All that was observed, sorted: `[kind, subject, digest…]`; see `batchexport.dependencies`.

        Raises:
            InputChanged: where a file is no longer what it was when it was read.
        """
        self._active = False
        found: list[Dependency] = []
        self._add_modules(found)
        self._add_sources(found)
        self._add_files(found)
        self._add_folders(found)
        for name in self._no_modules - sys.modules.keys():
            found.append(["no-module", name])
            self._refuse_new(self._ahead_of_all(name))
        found += [["environment", name, digest] for name, digest in self._environment.items()]
        return sorted(found, key=lambda dependency: [str(part) for part in dependency])

    def _add_sources(self, found: list[Dependency]) -> None:
        for path, (source, tree) in self._sources.items():
            if digest_or_none(path) != source:
                raise InputChanged(path)
            found.append(["source", path, source, tree])

    def _add_files(self, found: list[Dependency]) -> None:
        files: dict[str, str] = {}
        for path, then in self._read.items():
            if then is None:
                self._absent.add(path)
                continue
            if os.path.exists(path) and not os.path.isfile(path):
                continue  # a folder or a device
            content = digest_or_none(path)
            if content is not None and signature(path) == then:
                files[path] = content
            elif path in self._written:
                self.unseen(f"{path} is read and then written")
            else:
                raise InputChanged(path)
        for path in self._absent:
            if not os.path.lexists(path):
                found.append(["absent", path])
            elif path in self._written and os.path.isfile(path):
                # Looked for, then made: had it been there, it would have been read as it is.
                files.setdefault(path, digest_or_none(path) or "")
            elif os.path.isfile(path) and not self._is_own(path):
                raise InputChanged(path)
        found += [["weights" if path in self._weights else "file", path, files[path]] for path in files]
        self._add_present(found, {*files, *self._sources, *self._listed, *self._written, *self._absent})

    def _add_present(self, found: list[Dependency], known: set[str]) -> None:
        for path in self._present - known:
            if not os.path.lexists(path) and not self._is_own(path):
                raise InputChanged(path)
            if os.path.lexists(path) and not within(self._root, path):
                found.append(["present", path])

    def _is_own(self, path: str) -> bool:
        """Whether this stage made `path` or a folder around it, or ran programs that may have."""
        return bool(self._unseen) or any(within(path, made) for made in self._written)

    def _add_folders(self, found: list[Dependency]) -> None:
        filled = {os.path.dirname(path) for path in self._written}
        for path, names in self._listed.items():
            if path in self._absent:
                continue
            if path not in filled and os.path.isdir(path) and listing_digest(path) != names:
                raise InputChanged(path)
            found.append(["listing", path, names])

    def _refuse_new(self, candidates: set[str]) -> None:
        """What would have been imported, had it been there, was not there when this stage began."""
        for path in candidates - self._written:
            if is_since(path, self._since):
                raise InputChanged(path)

    def _ahead_of_all(self, name: str) -> set[str]:
        """First-party files from which a module that could not be imported might have been."""
        first = [entry for entry in map(os.path.abspath, sys.path) if self._zones.of(entry) is Zone.FIRST]
        bases = [os.path.join(entry, name) for entry in first]
        return {path for base in bases for path in (os.path.join(base, "__init__.py"), *module_files(base))}

    def _add_modules(self, found: list[Dependency]) -> None:
        distributions: dict[str, Dependency] = {}
        paths = set(self._borrowed)
        for name, module in list(sys.modules.items()):
            path = module_path(name, module)
            if path is None:
                found += self._namespace(name, module)
                continue
            zone = self._zones.of(path)
            if zone is Zone.FIRST:
                candidates = ahead(name, path)
                self._absent |= {candidate for candidate in candidates if not os.path.lexists(candidate)}
                self._refuse_new(candidates)
                if path not in self._sources:
                    self._add_loaded(path, before=name in self._before)
            elif zone is Zone.THIRD:
                paths.add(path)
            if zone in (Zone.THIRD, Zone.STDLIB) and "." not in name and name not in self._before:
                self._absent |= self._hiding(name, path)
        for path in paths:
            owners = installed().of_file(path)
            if not owners and os.path.exists(path):
                self._read.setdefault(path, signature(path))
            for owner in owners:
                if owner.name not in distributions:  # thousands of paths have torch's, which takes long to hash
                    distributions[owner.name] = ["distribution", owner.name, owner.version, owner.digest]
        found += distributions.values()

    def _add_loaded(self, path: str, *, before: bool) -> None:
        now = signature(path)
        if before and now is not None and max(now[-2:]) >= _SINCE:
            self.unseen(f"{path} was edited after this process had loaded it")
        self._read.setdefault(path, now)

    def _hiding(self, name: str, path: str) -> set[str]:
        """First-party files that, were they there, would be imported in place of an installed module."""
        hiding: set[str] = set()
        for entry in map(os.path.abspath, sys.path):
            if entry == folder_of_module(path):
                break
            if self._zones.of(entry) is Zone.FIRST:
                base = os.path.join(entry, name)
                hiding |= {base + ".py", os.path.join(base, "__init__.py")}
        return {candidate for candidate in hiding if not os.path.lexists(candidate)}

    def _namespace(self, name: str, module: Any) -> list[Dependency]:
        """A folder without `__init__.py` is a package as long as nothing of its name is a module."""
        paths = getattr(module, "__dict__", {}).get("__path__", ())
        portions = [os.path.abspath(portion) for portion in paths]
        first = [portion for portion in portions if self._zones.of(portion) is Zone.FIRST]
        for base in first:
            candidates = {os.path.join(base, "__init__.py"), *module_files(base)}
            self._absent |= {candidate for candidate in candidates if not os.path.lexists(candidate)}
        alone = "." not in name and all(os.path.dirname(portion) == self._root for portion in portions)
        return [["namespace", name]] if first and alone else []


@cache
def installed() -> Distributions:
    """What is installed here; the fork server asks once, for all its children."""
    return Distributions(third_party_roots())


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
