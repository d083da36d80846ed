"""Store what the observer records of one stage. The first record of a path is kept, later ones are ignored."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from batchexport.dependencies.answers import OwnFiles
from batchexport.dependencies.paths import module_files, signature
from batchexport.dependencies.zones import Zone, Zones, within


class InputChanged(Exception):
    """A file changed while the stage that read it was running."""


@dataclass(slots=True, kw_only=True)
class Observations:
    """What one stage has read, probed and written so far. Paths are absolute and first-party except where noted.

    - `root`: the manifest's folder; `real_root`: the same without links
    - `started`, `since` (Unix time in ns; the second allows for a clock that lags), `preloaded_modules` (names),
      `initial_sys_path`, `initially_mapped` (files): the state when the stage began
    - `sources`: the digests of bytes and syntax tree of each loaded module
    - `read`: the signature of each file when it was read, None if it did not exist
    - `weights`: the files that only weights are read from
    - `written`: what the stage wrote or made; `filled`: the folders in which it made something
    - `third_party_files`: files of installed distributions
    - `listed`: the digest of each folder's listing; `kinds`: the digest of what the entries of a folder are
    - `present`, `absent`: paths that were probed and did or did not exist
    - `stats`: the answer to each question that a stat of a path was asked; `accesses` those of `os.access`
    - `links`: the digest of the text of each link that was read
    - `environment`: the given value of each variable that was read, None if it was unset
    - `variables`: the given names of all variables if they were listed; `own_variables`: those that batchexport sets
    - `missing_modules`: names of top-level modules that could not be imported
    - `metadata`: names of distributions whose version was asked for; `distributions`: those that model code asks for
    - `entry_points`: groups of entry points; `installed`: see `installed.Installed.named`
    - `machine`: the answer to each question about the machine
    - `uncacheable`: why the dependencies are incomplete, as an ordered set
    """

    root: str
    real_root: str
    zones: Zones
    own: OwnFiles = field(default_factory=OwnFiles)
    started: int = 0
    since: int = 0
    preloaded_modules: frozenset[str] = frozenset()
    initial_sys_path: frozenset[str] = frozenset()
    initially_mapped: frozenset[str] = frozenset()
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    read: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    third_party_files: set[str] = field(default_factory=set)
    listed: dict[str, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    stats: dict[tuple[str, str], str] = field(default_factory=dict)
    accesses: dict[tuple[str, str], bool] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    variables: frozenset[str] | None = None
    own_variables: frozenset[str] = frozenset()
    missing_modules: set[str] = field(default_factory=set)
    metadata: set[str] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)
    entry_points: set[str] = field(default_factory=set)
    installed: set[str] = field(default_factory=set)
    machine: dict[str, str] = field(default_factory=dict)
    uncacheable: dict[str, None] = field(default_factory=dict)

    def is_first(self, path: str) -> bool:
        """Return True if a path is first-party."""
        return self.zones.of(path) is Zone.FIRST

    def record_read(self, path: str) -> None:
        """Record that `path` was read, or that an attempt to read it failed."""
        self.read.setdefault(path, signature(path))

    def record_written(self, path: str, *, new: bool) -> None:
        """Record that the stage writes `path`; `new`: as far as is known, there is no such file yet."""
        self.written.add(path)
        if new:
            self.filled.add(os.path.dirname(path))

    def record_absent(self, path: str) -> None:
        """Record that `path` was probed and does not exist."""
        if self.is_first(path):
            self.absent.add(path)

    def record_missing_module(self, stem: str, folder: str) -> None:
        """Record that `folder` contains no module of this name."""
        base = os.path.join(os.path.abspath(folder), stem)
        for candidate in (base, *module_files(base)):
            self.record_absent(candidate)

    def is_own(self, path: str) -> bool:
        """Return True if this stage wrote `path` or a folder above it, or ran programs that may have."""
        return bool(self.uncacheable) or any(within(path, made) for made in self.written)
