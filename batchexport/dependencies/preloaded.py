"""Keep what the fork server finds out once for all its children about the modules that it has loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from batchexport.dependencies.hooks import Readers, find_readers
from batchexport.dependencies.installed import installed, installed_digest
from batchexport.dependencies.paths import module_path
from batchexport.dependencies.zones import OWN, within


class LoadedModule(NamedTuple):
    """A module with `paths.module_path` of it and the names of the distributions that own this file."""

    module: ModuleType
    path: str | None
    owners: tuple[str, ...]


@dataclass(slots=True)
class Preloaded:
    """The loaded modules by name, and the native readers; empty where no fork server was.

    A child that looked at thousands of modules by itself would copy the memory of them all.
    """

    modules: dict[str, LoadedModule] = field(default_factory=dict)
    readers: Readers | None = None

    def get(self, name: str, module: Any) -> LoadedModule | None:
        """Return what is known of a module of this process; None if the fork server had not loaded this very one."""
        known = self.modules.get(name)
        return known if known is not None and known.module is module else None


PRELOADED = Preloaded()


def take_stock() -> None:
    """Find out all that children need of what is loaded and installed; for the fork server."""
    import sqlite3  # noqa: F401 - each child would import it to watch it

    for distributions in installed().owners.values():
        for distribution in distributions:
            installed_digest(distribution.record)
    PRELOADED.modules = {name: _loaded(name, module) for name, module in sys.modules.items()}
    PRELOADED.readers = find_readers()


def _loaded(name: str, module: ModuleType) -> LoadedModule:
    path = module_path(name, module)
    if path is None or any(within(path, folder) for folder in OWN):  # no model depends on us: see the toolchain
        return LoadedModule(module, path, ())
    return LoadedModule(module, path, tuple(owner.name for owner in installed().of_file(path)))
