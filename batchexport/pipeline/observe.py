"""What a stage depends on is observed, never guessed: this process serves one stage of one job.

An audit hook sees `open`, folder listings, subprocesses and sockets; a loader hook sees the exact bytes
of every first-party module (and never a stale `.pyc`); a finder at the end of `sys.meta_path` sees what
was looked for and not found; environment reads by model code and its libraries are seen too.
What can't be seen makes the job `uncacheable` with a reason, rather than cached wrongly.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from batchexport.digests import bytes_digest, file_digest, listing_digest, text_digest, tree_digest
from batchexport.distributions import Distributions
from batchexport.pipeline.zones import Zone, Zones, third_party_roots

Dependency = list[Any]
_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
# Said by terminals, shells and batch systems about themselves, not about the model.
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


class InputChanged(Exception):
    """A file was changed while the stage that read it ran."""


class Observer:
    """Watches this process from `install()` on. One per process: an audit hook can't be taken out again."""

    def __init__(self, *, ignored: tuple[str, ...], own_environment: frozenset[str]) -> None:
        self._zones = Zones(ignored)
        self._unheard = _UNHEARD | own_environment
        self._sources: dict[str, tuple[str, str]] = {}
        self._read: dict[str, tuple[int, ...] | None] = {}
        self._weights: set[str] = set()
        self._written: set[str] = set()
        self._listed: dict[str, str] = {}
        self._absent: set[str] = set()
        self._environment: dict[str, str | None] = {}
        self._no_modules: set[str] = set()
        self._unseen: dict[str, None] = {}
        self._active = False

    def install(self) -> None:
        """Start to watch."""
        self._active = True
        sys.addaudithook(self._audit)
        sys.meta_path.append(_Absences(self))
        self._watch_loader()
        self._watch_environment()
        self._watch_stat()
        self._watch_safetensors()

    def declare(self, path: str, *, weights: bool = False) -> None:
        """Count `path` as read, for readers that no hook sees."""
        path = os.path.abspath(path)
        if weights:
            self._weights.add(path)
        self._read.setdefault(path, _signature(path))

    def unseen(self, reason: str) -> None:
        """Say that the stage depends on something that can't be observed."""
        self._unseen.setdefault(reason)

    @property
    def uncacheable(self) -> list[str]:
        """Why the results of this stage must not be reused; empty where they may."""
        return list(self._unseen)

    # ── the hooks ────────────────────────────────────────────────────────────────────────────

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            self._opened(*args)
        elif event in ("os.listdir", "os.scandir") and args and isinstance(args[0], str):
            self._list(args[0])
        elif event == "subprocess.Popen" and self._caller() is Zone.FIRST:
            self.unseen("model code runs another program")
        elif event == "socket.connect" and isinstance(args[1], tuple):
            self.unseen("the network is read")

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return
        path = os.path.abspath(path)
        if self._zones.of(path) is not Zone.FIRST:
            return
        writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & 3)
        if writes:
            self._written.add(path)
        elif path not in self._written and path not in self._read:
            # Tracebacks read the source of loaded modules for their own sake; model code reads for the result.
            if path in self._sources and self._caller() is not Zone.FIRST:
                return
            self._read[path] = _signature(path)

    def _list(self, path: str) -> None:
        path = os.path.abspath(path)
        if path in self._listed or self._zones.of(path) is not Zone.FIRST:
            return
        if sys._getframe(2).f_code.co_filename.startswith("<frozen importlib"):
            return  # an import looks for one name in a folder, and `_shadows` answers for that
        self._active = False
        try:
            self._listed[path] = listing_digest(path)
        except OSError:
            self._absent.add(path)
        finally:
            self._active = True

    def _watch_loader(self) -> None:
        loader = importlib.machinery.SourceFileLoader
        original: Callable[[Any, str], CodeType | None] = loader.get_code
        observer = self

        def get_code(self: Any, fullname: str) -> CodeType | None:
            path = os.path.abspath(self.get_filename(fullname))
            if observer._zones.of(path) is not Zone.FIRST:
                return original(self, fullname)
            source = Path(path).read_bytes()
            observer._sources[path] = (bytes_digest(source), tree_digest(source))
            observer._read.pop(path, None)
            code: CodeType = self.source_to_code(source, path)
            return code

        loader.get_code = get_code  # type: ignore[method-assign]

    def _watch_environment(self) -> None:
        kind = type(os.environ)
        original = kind.__getitem__
        observer = self

        def getitem(self: Any, key: str) -> str:
            try:
                value = original(self, key)
            except KeyError:
                observer._heard(key, None)
                raise
            observer._heard(key, value)
            return value

        kind.__getitem__ = getitem  # type: ignore[method-assign]

    def _heard(self, key: str, value: str | None) -> None:
        new = self._active and key not in self._unheard and key not in self._environment
        if new and self._asked_by_model():
            self._environment[key] = None if value is None else text_digest(value)

    def _watch_stat(self) -> None:
        original = os.stat
        observer = self

        def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            try:
                return original(path, *args, **kwargs)
            except (FileNotFoundError, NotADirectoryError):
                if observer._active and not kwargs and isinstance(path, str | Path) and observer._asked_by_model():
                    observer.looked_for(os.path.abspath(path))
                raise

        os.stat = stat

    def _watch_safetensors(self) -> None:
        # Its reader is native code, which raises no audit event.
        import safetensors
        import safetensors.torch

        original = safetensors.safe_open
        observer = self

        def safe_open(filename: Any, *args: Any, **kwargs: Any) -> Any:
            observer.declare(os.fspath(filename))
            return original(filename, *args, **kwargs)

        for module in (safetensors, safetensors.torch):
            vars(module)["safe_open"] = safe_open

    def looked_for(self, path: str) -> None:
        """Note that `path` was looked for and is not there."""
        if self._zones.of(path) is Zone.FIRST:
            self._absent.add(path)

    def no_module(self, name: str) -> None:
        """Note that no top-level module of this name can be imported."""
        if self._active:
            self._no_modules.add(name)

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
                return Zone.OWN if skip_torch and "/site-packages/torch/" in path else zone
            if path.endswith(("/linecache.py", "/traceback.py")):
                return Zone.STDLIB
            frame = frame.f_back
        return Zone.STDLIB

    # ── the result ───────────────────────────────────────────────────────────────────────────

    def dependencies(self) -> list[Dependency]:
        """All that was observed, sorted: `[kind, subject, digest…]`; see `batchexport.dependencies`.

        Raises:
            InputChanged: where a file is no longer what it was when it was read.
        """
        self._active = False
        found: list[Dependency] = []
        self._add_modules(found)
        for path, (content, tree) in self._sources.items():
            if _digest_or_none(path) != content:
                raise InputChanged(path)
            found.append(["source", path, content, tree])
        for path, signature in self._read.items():
            if path in self._written:
                continue
            if _signature(path) != signature:
                raise InputChanged(path)
            if signature is None:
                self._absent.add(path)
            elif os.path.isfile(path):
                found.append(["weights" if path in self._weights else "file", path, file_digest(path)])
        found += [["listing", path, digest] for path, digest in self._listed.items() if path not in self._absent]
        found += [["absent", path] for path in self._absent if not os.path.lexists(path)]
        found += [["no-module", name] for name in self._no_modules if name not in sys.modules]
        found += [["environment", name, digest] for name, digest in self._environment.items()]
        return sorted(found, key=lambda dependency: [str(part) for part in dependency])

    def _add_modules(self, found: list[Dependency]) -> None:
        seen: set[str] = set()
        for module in list(sys.modules.values()):
            path = _module_path(module)
            if path is None:
                continue
            zone = self._zones.of(path)
            if zone is Zone.FIRST:
                self._absent |= _shadows(module, path)
                if path not in self._sources:
                    self._read.setdefault(path, _signature(path))
            elif zone is Zone.THIRD:
                owners = installed().of_file(path)
                if not owners:
                    self._read.setdefault(path, _signature(path))
                for owner in owners:
                    if owner.name not in seen:
                        seen.add(owner.name)
                        found.append(["distribution", owner.name, owner.version, owner.digest])


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
        stem = name.rpartition(".")[2]
        for folder in path:
            base = os.path.join(os.path.abspath(folder), stem)
            for candidate in (base, base + ".py"):
                self._observer.looked_for(candidate)


def _module_path(module: ModuleType) -> str | None:
    path = getattr(module, "__file__", None)
    if module.__name__ in ("__main__", "__mp_main__") or not isinstance(path, str):
        return None
    return path if os.path.isabs(path) else None  # torch has modules whose `__file__` is no path


def _shadows(module: ModuleType, path: str) -> set[str]:
    """Paths that, were they there, would be imported in place of `module`, loaded from `path`."""
    parts = module.__name__.split(".")
    stem = parts[-1]
    is_package = os.path.basename(path).startswith("__init__.")
    folder = os.path.dirname(os.path.dirname(path) if is_package else path)
    shadows = set()
    if not is_package:
        shadows.add(os.path.join(folder, stem, "__init__.py"))
        if path.endswith(".py"):
            shadows |= {os.path.join(folder, stem + suffix) for suffix in _EXTENSIONS}
    parent = sys.modules.get(".".join(parts[:-1]))
    search = list(getattr(parent, "__path__", [])) if len(parts) > 1 else sys.path
    for entry in search:
        entry = os.path.abspath(entry)
        if entry == folder:
            break
        base = os.path.join(entry, stem)
        shadows |= {
            os.path.join(base, "__init__.py"),
            base + ".py",
            *(base + suffix for suffix in _EXTENSIONS),
        }
    return {shadow for shadow in shadows if shadow != path and not os.path.lexists(shadow)}


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        status = os.lstat(path) if not os.path.islink(path) else os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest_or_none(path: str) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None
