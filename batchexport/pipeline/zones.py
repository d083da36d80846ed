"""Every path belongs to exactly one zone, and the zone decides how a dependency on it is digested."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from enum import Enum
from functools import cache
from pathlib import Path

_SYSTEM = ("/proc", "/sys", "/dev", "/run", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin",
           "/usr/lib", "/usr/lib64", "/usr/include", "/usr/share")  # fmt: skip
_OWN = str(Path(__file__).resolve().parents[1])


class Zone(Enum):
    """Who answers for a file."""

    FIRST = "first-party"
    THIRD = "third-party"
    STDLIB = "standard library"
    OWN = "batchexport"
    IGNORED = "ignored"


@cache
def third_party_roots() -> tuple[str, ...]:
    """Folders that hold installed distributions."""
    paths = sysconfig.get_paths()
    roots = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    roots |= {entry for entry in sys.path if entry.rstrip("/").endswith(("site-packages", "dist-packages"))}
    return tuple(sorted({*roots, *(os.path.realpath(root) for root in roots)}))


@cache
def _stdlib_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths["stdlib"], paths["platstdlib"], os.path.realpath(paths["stdlib"])}
    return tuple(sorted(roots))


def within(path: str, root: str) -> bool:
    """True when `path` is `root` or lies below it; both absolute."""
    return path == root or path.startswith(root.rstrip("/") + "/")


class Zones:
    """Sorts absolute paths into zones. `ignored` are folders of ours: staging, caches."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self._ignored = ignored
        self._known: dict[str, Zone] = {}

    def of(self, path: str) -> Zone:
        """The zone of an absolute path; `<string>` and the like are IGNORED."""
        zone = self._known.get(path)
        if zone is None:
            zone = self._known[path] = self._sort(path)
        return zone

    def _sort(self, path: str) -> Zone:
        if not path.startswith("/"):
            return Zone.STDLIB if path.startswith("<frozen") else Zone.IGNORED
        if any(within(path, root) for root in self._ignored):
            return Zone.IGNORED
        if within(path, _OWN):
            return Zone.OWN
        if any(within(path, root) for root in third_party_roots()):
            return Zone.THIRD
        if any(within(path, root) for root in _stdlib_roots()):
            return Zone.STDLIB
        if any(within(path, root) for root in _SYSTEM) or "/__pycache__/" in path:
            return Zone.IGNORED
        return Zone.FIRST
