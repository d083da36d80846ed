"""What an open, a stat or an import means in terms of paths; nothing here is seen by the observer's own hooks."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from typing import Any

from batchexport.core.digests import file_digest, stat_identity

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_stat = os.stat  # as it is before anybody watches it


def absolute(given: Any) -> str | None:
    """The path that a call means, or None where it means none that is known here."""
    try:
        if isinstance(given, int):
            return os.readlink(f"/proc/self/fd/{given}")
        return os.path.abspath(os.fsdecode(given))
    except (OSError, TypeError, ValueError):
        return None


def access(mode: Any, flags: Any) -> tuple[bool, bool]:
    """Whether a call of `open` can read what was there before it, and whether it can write."""
    letters = mode if isinstance(mode, str) else ""
    bits = flags if isinstance(flags, int) else 0
    writes = any(letter in letters for letter in "wax+") or bool(bits & os.O_ACCMODE)
    both = "+" in letters or bits & os.O_ACCMODE == os.O_RDWR
    fresh = any(letter in letters for letter in "wx") or bool(bits & (os.O_TRUNC | os.O_EXCL))
    return not writes or (both and not fresh), writes


def signature(path: str) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is none."""
    try:
        status = _stat(path)
    except (OSError, ValueError):
        return None
    return tuple(stat_identity(status))


def digest_or_none(path: str) -> str | None:
    """SHA-256 of a file, or None where it can't be read."""
    try:
        return file_digest(path)
    except OSError:
        return None


def module_files(base: str) -> set[str]:
    """The files that a module would be loaded from, were it there; `base` is its path without a suffix."""
    return {base + ".py", *(base + suffix for suffix in _EXTENSIONS)}


def importable(base: str) -> set[str]:
    """As `module_files`, and the file that would make a package of the folder `base`."""
    return {os.path.join(base, "__init__.py"), *module_files(base)}


def module_path(name: str, module: Any) -> str | None:
    """The file of a loaded module. What stands in `sys.modules` may be anything, and is not to be woken up."""
    path = getattr(module, "__dict__", {}).get("__file__")
    if name in ("__main__", "__mp_main__") or not isinstance(path, str):
        return None
    return os.path.abspath(path) if os.path.isabs(path) else None  # torch has modules whose `__file__` is no path


def folder_of_module(path: str) -> str:
    """The folder in which an import found the module that was loaded from `path`."""
    return os.path.dirname(os.path.dirname(path) if os.path.basename(path).startswith("__init__.") else path)


def not_there(paths: set[str]) -> set[str]:
    """Those of some paths where nothing is."""
    return {path for path in paths if not os.path.lexists(path)}


def ahead(name: str, path: str) -> set[str]:
    """Paths that, were they there, would be imported in place of the module `name`, loaded from `path`."""
    parent, _, stem = name.rpartition(".")
    folder = folder_of_module(path)
    found = set()
    if not os.path.basename(path).startswith("__init__."):
        found.add(os.path.join(folder, stem, "__init__.py"))
        if path.endswith(".py"):
            found |= module_files(os.path.join(folder, stem))
    search = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else sys.path
    for entry in map(os.path.abspath, search):
        if entry == folder:
            break
        base = os.path.join(entry, stem)
        found |= importable(base)
    return found - {path}


def is_since(path: str, then: int) -> bool:
    """Whether the file of a module is at `path`, and was put or changed there after `then` (Unix time, in ns)."""
    # A package that is moved brings its files as old as they were.
    places = (path, os.path.dirname(path)) if os.path.basename(path) == "__init__.py" else (path,)
    changes = [max(seen[-2:]) for place in places if (seen := signature(place)) is not None]
    return len(changes) == len(places) and max(changes) >= then
