"""Assign each path to one zone, which decides how a dependency on the path is recorded."""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import PurePath
from types import FrameType

from batchexport.dependencies.answers import SYSTEM, USER

# The folders of this package.
OWN = tuple({os.path.dirname(os.path.dirname(read(__file__))) for read in (os.path.abspath, os.path.realpath)})


class Zone(Enum):
    """The origin of a file."""

    FIRST = "first-party"
    THIRD = "third-party"
    STDLIB = "standard library"
    SYSTEM = "system"
    OWN = "batchexport"
    IGNORED = "ignored"


@cache
def third_party_roots() -> tuple[str, ...]:
    """Return the folders that contain installed distributions."""
    paths = sysconfig.get_paths()
    roots = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    roots |= {entry for entry in sys.path if entry.rstrip("/").endswith(("site-packages", "dist-packages"))}
    return tuple(sorted({*roots, *(os.path.realpath(root) for root in roots)}))


@cache
def _stdlib_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths["stdlib"], paths["platstdlib"], os.path.realpath(paths["stdlib"])}
    archive = "python{}{}.zip".format(*sys.version_info)
    roots |= {entry for entry in sys.path if os.path.basename(entry) == archive}
    return tuple(sorted(roots))


def within(path: str, root: str) -> bool:
    """Return True if `path` is `root` or lies below it; both absolute."""
    return path == root or path.startswith(root.rstrip("/") + "/")


class Zones:
    """Assigns absolute paths to zones by the innermost known folder that contains them.

    `root` is the manifest's folder; `ignored` are folders that only batchexport writes to.
    """

    def __init__(self, root: str, ignored: tuple[str, ...]) -> None:
        folders = dict.fromkeys(SYSTEM, Zone.SYSTEM)
        folders |= {
            os.path.join(prefix, part): Zone.SYSTEM
            for prefix in (sys.prefix, sys.base_prefix)
            for part in ("lib", "bin", "include")
        }
        folders |= dict.fromkeys(USER, Zone.FIRST)
        folders |= dict.fromkeys(_stdlib_roots(), Zone.STDLIB)
        folders |= dict.fromkeys(third_party_roots(), Zone.THIRD)
        folders |= dict.fromkeys(ignored, Zone.IGNORED)
        folders |= dict.fromkeys(OWN, Zone.OWN)
        folders[root] = Zone.FIRST
        self._folders = {folder.rstrip("/"): zone for folder, zone in folders.items()}
        self._installed = _uniform(folders, {*_stdlib_roots(), *third_party_roots()})
        self._known: dict[str, Zone] = {}

    def surely_installed(self, path: object) -> bool:
        """Return True if `path` names an installed file; False if it does not, or if that takes a closer look.

        Libraries open and stat thousands of these while they are imported, so this is cheap.
        """
        if isinstance(path, PurePath):
            path = str(path)
        return type(path) is str and path.startswith(self._installed) and "/.." not in path

    def of(self, path: str) -> Zone:
        """Return the zone of an absolute path; of `<string>` and the like, IGNORED."""
        zone = self._known.get(path)
        if zone is None:
            zone = self._known[path] = self._find(path)
        return zone

    def _find(self, path: str) -> Zone:
        if not path.startswith("/"):
            return Zone.STDLIB if path.startswith("<frozen") else Zone.IGNORED
        folder, _, _ = path.rpartition("/")
        zone = self._folders.get(path.rstrip("/"))
        if zone is None:
            zone = self.of(folder) if folder else self._folders.get("", Zone.FIRST)
        return Zone.IGNORED if zone is Zone.FIRST and folder.endswith("/__pycache__") else zone


def _uniform(folders: Mapping[str, Zone], roots: Iterable[str]) -> tuple[str, ...]:
    """Return, with a slash at their ends, the `roots` in which no folder is first-party or the system's."""
    other = [folder for folder, zone in folders.items() if zone in (Zone.FIRST, Zone.SYSTEM)]
    return tuple(root.rstrip("/") + "/" for root in roots if not any(within(folder, root) for folder in other))


_TORCH = re.compile(r"/(site|dist)-packages/torch/")


def calling_zone(zones: Zones, *, skip_torch: bool = False) -> Zone:
    """Return the zone of the nearest calling frame outside the standard library and batchexport.

    `skip_torch` returns OWN for torch's frames.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        zone = zones.of(path)
        if zone in (Zone.FIRST, Zone.THIRD):
            return Zone.OWN if skip_torch and _TORCH.search(path) else zone
        if path.endswith(("/linecache.py", "/traceback.py")):
            return Zone.STDLIB
        frame = frame.f_back
    # A thread has no frame of the code that started it, so it is assumed to be the model's.
    return Zone.STDLIB if threading.current_thread() is threading.main_thread() else Zone.FIRST


def direct_caller(zones: Zones) -> str:
    """Return the file of the nearest calling frame outside batchexport, whatever its zone."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and zones.of(frame.f_code.co_filename) is Zone.OWN:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


def called_by_model_or_library(zones: Zones) -> bool:
    """Return True if the call that a hook sees comes from model code or a library other than torch."""
    return calling_zone(zones, skip_torch=True) in (Zone.FIRST, Zone.THIRD)


_COMPILERS = re.compile(r"/(site|dist)-packages/torch/_(inductor|dynamo)/")


def asked_by_model(zones: Zones) -> bool:
    """Return True if model code makes this call, by itself or through a library that it calls.

    What a library does while it is imported, and what torch's compilers do, is not the model's.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path == "<frozen importlib._bootstrap>" or _COMPILERS.search(path):
            return False
        if path.endswith(("/linecache.py", "/traceback.py")):
            return False
        if zones.of(path) is Zone.FIRST:
            return True
        frame = frame.f_back
    return threading.current_thread() is not threading.main_thread()


def model_on_stack(zones: Zones) -> bool:
    """Return True if any calling frame is model code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if zones.of(frame.f_code.co_filename) is Zone.FIRST:
            return True
        frame = frame.f_back
    return False
