"""Translate calls of open, stat and import into paths, without triggering the observer's own hooks."""

from __future__ import annotations

import importlib.machinery
import os
import platform
import sys
from typing import Any
from urllib.parse import unquote

from batchexport.core.digests import bytes_digest, file_digest, stat_identity, tree_digest
from batchexport.dependencies.answers import exists

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
# Folders beside a library that glibc looks into: glibc-hwcaps, and up to 2.36 those named after what the CPU has.
_VARIANTS = ("glibc-hwcaps", "tls", "haswell", "xeon_phi", "avx512_1")
_stat, _readlink = os.stat, os.readlink  # bound before the observer wraps them


def absolute(given: Any) -> str | None:
    """Return the absolute path of a path-like or descriptor argument, or None if it has none."""
    try:
        if isinstance(given, int):
            return _readlink(f"/proc/self/fd/{given}")
        return os.path.abspath(os.fsdecode(given))
    except (OSError, TypeError, ValueError):
        return None


def joined(dir_fd: int | None, given: Any) -> str | None:
    """Return the absolute path of an argument that may be relative to an open folder; None for a descriptor."""
    if isinstance(given, int):
        return None
    if dir_fd is None:
        return absolute(given)
    folder = absolute(dir_fd)
    try:
        return None if folder is None else os.path.normpath(os.path.join(folder, os.fsdecode(given)))
    except (TypeError, ValueError):
        return None


def database_file(given: Any) -> str | None:
    """Return the file that `sqlite3.connect` or ATTACH opens, which may be given as a URI; None for one in memory.

    See https://www.sqlite.org/uri.html.
    """
    name = os.fsdecode(given) if isinstance(given, str | bytes | os.PathLike) else ""
    if name.startswith("file:"):
        path, _, query = name.removeprefix("file:").partition("#")[0].partition("?")
        name = unquote("/" + path.lstrip("/") if path.startswith("/") else path)
        name = "" if "mode=memory" in query else name
    return None if name in ("", ":memory:") else name


def mapped_files() -> set[str]:
    """Return what is mapped into this process or open in it: files that are not deleted, folders and devices."""
    found = set()
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            found = {line[at:-1] for line in file if (at := line.find("/")) > 0}
        found |= {path for name in os.listdir("/proc/self/fd") if (path := absolute(int(name))) is not None}
    except OSError:  # not Linux
        return found
    return {path for path in found if path.startswith("/") and not path.endswith(" (deleted)")}


def access(mode: Any, flags: Any) -> tuple[bool, bool]:
    """Return whether a call of `open` can read earlier content, and whether it can write."""
    letters = mode if isinstance(mode, str) else ""
    bits = flags if isinstance(flags, int) else 0
    writes = any(letter in letters for letter in "wax+") or bool(bits & os.O_ACCMODE)
    both = "+" in letters or bits & os.O_ACCMODE == os.O_RDWR
    fresh = any(letter in letters for letter in "wx") or bool(bits & (os.O_TRUNC | os.O_EXCL))
    return not writes or (both and not fresh), writes


def signature(path: str) -> tuple[int, ...] | None:
    """Return the parts of a stat that change when the file does, or None where there is no file."""
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


def source_digests(source: bytes) -> tuple[str, str]:
    """Return the digests of a Python file: of its bytes and of its syntax tree."""
    return bytes_digest(source), tree_digest(source)


def module_files(base: str) -> set[str]:
    """Return the files that a module could be loaded from; `base` is its path without a suffix."""
    return {base + ".py", *(base + suffix for suffix in _EXTENSIONS)}


def import_candidates(base: str) -> set[str]:
    """Return the files that a module or package could be loaded from; `base` is its path without a suffix."""
    return {*module_files(os.path.join(base, "__init__")), *module_files(base)}


def module_path(name: str, module: Any) -> str | None:
    """Return the file of a loaded module, or None. Attributes of a lazy module are not accessed."""
    path = getattr(module, "__dict__", {}).get("__file__")
    if name in ("__main__", "__mp_main__") or not isinstance(path, str):
        return None
    if not path.startswith("/"):  # torch has modules whose `__file__` is not a path
        return None
    plain = "/./" not in path and "/../" not in path and "//" not in path
    return path if plain else os.path.abspath(path)  # there are thousands of modules


def folder_of_module(path: str) -> str:
    """Return the folder in which the import system found the module loaded from `path`."""
    return os.path.dirname(os.path.dirname(path) if os.path.basename(path).startswith("__init__.") else path)


def library_shadows(path: str) -> set[str]:
    """Return the paths that, if they existed, the dynamic loader would look into before it takes the library `path`.

    They are the folders of variants beside it and the earlier folders of LD_LIBRARY_PATH (ld.so(8)).
    """
    folder, name = os.path.split(path)
    found = {os.path.join(folder, variant) for variant in (*_VARIANTS, platform.machine())}
    for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if os.path.abspath(entry) == folder:
            break
        found.add(os.path.join(os.path.abspath(entry), name))
    return found


def missing_paths(paths: set[str]) -> set[str]:
    """Return the paths that do not exist; neither does a link to nothing, which no import follows."""
    return {path for path in paths if not exists(path)}


def shadowing_paths(name: str, path: str) -> set[str]:
    """Return the paths that, if they existed, would be imported instead of the module `name` loaded from `path`."""
    parent, _, stem = name.rpartition(".")
    folder = folder_of_module(path)
    found = set()
    if os.path.basename(path).startswith("__init__."):
        found |= module_files(os.path.join(folder, stem, "__init__")) if path.endswith(".py") else set()
    else:
        found |= module_files(os.path.join(folder, stem, "__init__"))
        if path.endswith(".py"):
            found |= module_files(os.path.join(folder, stem))
    search = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else sys.path
    for entry in map(os.path.abspath, search):
        if entry == folder:
            break
        base = os.path.join(entry, stem)
        found |= import_candidates(base)
    return found - {path}


def is_newer(path: str, then: int) -> bool:
    """Return True if the module file `path` exists and was created or changed after `then` (Unix time in ns)."""
    # The files of a moved package keep their times; its folder does not.
    entries = (path, os.path.dirname(path)) if os.path.basename(path) == "__init__.py" else (path,)
    changes = [max(seen[-2:]) for entry in entries if (seen := signature(entry)) is not None]
    return len(changes) == len(entries) and max(changes) >= then
