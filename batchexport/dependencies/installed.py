"""Answer what is installed: distributions, their entry points, and the folder that a module is imported from."""

from __future__ import annotations

import importlib.machinery
import os
from collections.abc import Sequence
from functools import cache, cached_property

from batchexport.dependencies.dependency import Dependency
from batchexport.toolchain.distributions import Distribution, Distributions, record_digest

_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_DISTRIBUTION_SUFFIXES = (".dist-info", ".egg-info")
ALL_DISTRIBUTIONS = "distributions"
ALL_NAMES = "names"
# The owners of modules that no distribution owns: of the standard library, and of single files in `site-packages`.
PYTHON, NO_DISTRIBUTION = "", "site-packages"


@cache
def installed() -> Distributions:
    """Return the installed distributions. The fork server reads them once for all its children."""
    from batchexport.dependencies.zones import third_party_roots  # the coordinator needs none of its imports

    return Distributions(third_party_roots())


@cache
def installed_digest(record: str) -> str:
    """Return `record_digest` of a distribution, as it was when this process or the fork server first asked for it."""
    return record_digest(record)


class Installed:
    """What children can import from `root`, the manifest's folder, and then from the entries of `path`."""

    def __init__(self, root: str, path: Sequence[str]) -> None:
        self.distributions = Distributions(path)
        self._root = root
        normal = os.path.normpath(root)
        self._others = [entry for entry in path if os.path.normpath(entry) != normal]
        self._names: dict[str, frozenset[str]] = {}

    def provides(self, name: str, *, root: bool = True) -> bool:
        """Return True if a folder of the path, with or without `root`, holds a module or a folder of this name."""
        entries = [self._root, *self._others] if root else self._others
        return any(self._holds(entry, name, packages_only=False) for entry in entries)

    def _holds(self, entry: str, name: str, *, packages_only: bool) -> bool:
        names = self._listed(entry)
        if any(name + suffix in names for suffix in _SUFFIXES):
            return True
        if name not in names:
            return False
        folder = os.path.join(entry, name)
        return not packages_only or any(os.path.exists(os.path.join(folder, f"__init__{end}")) for end in _SUFFIXES)

    def _listed(self, entry: str) -> frozenset[str]:
        if entry not in self._names:
            try:
                self._names[entry] = frozenset(os.listdir(entry))
            except OSError:
                self._names[entry] = frozenset()
        return self._names[entry]

    def provider(self, name: str) -> str | None:
        """Return the first folder of the path that a regular module or package of this name is imported from."""
        entries = [self._root, *self._others]
        return next((entry for entry in entries if self._holds(entry, name, packages_only=True)), None)

    def moved_module(self, dependency: Dependency) -> str | None:
        """Return what changed if a module that was imported from a distribution is found elsewhere now."""
        _, owner, (names,) = dependency
        for name in (names or "").split():
            entry = self.provider(name)
            if entry is not None and not self._is_of(owner, entry):
                return f"module {name} is found in {entry} now"
        return None

    def _is_of(self, owner: str, entry: str) -> bool:
        if owner == PYTHON:
            return _is_standard(entry)
        if owner == NO_DISTRIBUTION:
            return _is_third_party(entry)
        found = self.distributions.get(owner)  # one that is not installed any more has a row of its own
        return found is None or os.path.normpath(entry) == os.path.normpath(found.root)

    def named(self, what: str) -> list[str]:
        """Return all distributions with versions and entry points, or all names beside them."""
        return self._all_distributions if what == ALL_DISTRIBUTIONS else self._all_names

    @cached_property
    def _all_distributions(self) -> list[str]:
        found = self.distributions.by_name.values()
        return [f"{one.name} {one.version} {_entry_points_text(one)}" for one in found]

    @cached_property
    def _all_names(self) -> list[str]:
        names = {name for entry in self._others if _is_third_party(entry) for name in self._listed(entry)}
        return [name for name in names if not name.endswith(_DISTRIBUTION_SUFFIXES)]

    def entry_points(self, group: str) -> list[str]:
        """Return the entry points of a group with the distributions that provide them."""
        from configparser import ConfigParser
        from configparser import Error as ConfigError

        found = []
        for one in self.distributions.by_name.values():
            text = _entry_points_text(one)
            if f"[{group}]" not in text:
                continue
            parser = ConfigParser(delimiters=("=",), interpolation=None, strict=False)
            try:
                parser.read_string(text)
                found += [f"{one.name} {name} {value}" for name, value in parser.items(group)]
            except ConfigError:
                found.append(f"{one.name} {text}")
        return found


def _is_standard(entry: str) -> bool:
    """Return True if a folder of the import path is one of the standard library."""
    library = os.path.dirname(os.__file__)
    return entry in (library, os.path.join(library, "lib-dynload")) or entry.endswith(".zip")


def _is_third_party(entry: str) -> bool:
    """Return True if distributions are installed in a folder of the import path."""
    return entry.rstrip("/").endswith(("site-packages", "dist-packages"))


def _entry_points_text(distribution: Distribution) -> str:
    """Return the text of a distribution's entry points, empty if it has none."""
    try:
        with open(os.path.join(os.path.dirname(distribution.record), "entry_points.txt"), encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
