"""Store what the observer records of one stage. The first record of a path is kept, later ones are ignored."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from batchexport.dependencies.paths import module_files, signature
from batchexport.dependencies.zones import Zone, Zones


class InputChanged(Exception):
    """A file changed while the stage that read it was running."""


@dataclass(slots=True, kw_only=True)
class Observations:
    """What one stage has read, probed and written so far. Paths are absolute and first-party except where noted.

    - `root`: the manifest's folder
    - `since` (Unix time in ns), `preloaded_modules` (names), `initial_sys_path`: the state when the stage began
    - `sources`: the digests of bytes and syntax tree of each loaded module
    - `read`: the signature of each file when it was read, None if it did not exist
    - `weights`: the files that only weights are read from
    - `third_party_files`: files of installed distributions
    - `listed`: the digest of each folder's listing
    - `present`, `absent`: paths that were probed and did or did not exist
    - `environment`: the digest of each variable's value, None if it was unset
    - `missing_modules`: names of top-level modules that could not be imported
    - `uncacheable`: why the dependencies are incomplete, as an ordered set
    """

    root: str
    zones: Zones
    since: int = 0
    preloaded_modules: frozenset[str] = frozenset()
    initial_sys_path: frozenset[str] = frozenset()
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    read: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    third_party_files: set[str] = field(default_factory=set)
    listed: dict[str, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    environment: dict[str, str | None] = field(default_factory=dict)
    missing_modules: set[str] = field(default_factory=set)
    uncacheable: dict[str, None] = field(default_factory=dict)

    def is_first(self, path: str) -> bool:
        """Return True if a path is first-party."""
        return self.zones.of(path) is Zone.FIRST

    def record_read(self, path: str) -> None:
        """Record that `path` was read, or that an attempt to read it failed."""
        self.read.setdefault(path, signature(path))

    def record_absent(self, path: str) -> None:
        """Record that `path` was probed and does not exist."""
        if self.is_first(path):
            self.absent.add(path)

    def record_missing_module(self, stem: str, folder: str) -> None:
        """Record that `folder` contains no module of this name."""
        base = os.path.join(os.path.abspath(folder), stem)
        for candidate in (base, *module_files(base)):
            self.record_absent(candidate)
