"""What was seen of one stage so far: nothing is made of it here, and nothing that was seen first is replaced.

Paths are absolute and first-party, unless said otherwise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from batchexport.dependencies.paths import module_files, signature
from batchexport.dependencies.zones import Zone, Zones


class InputChanged(Exception):
    """A file was changed while the stage that read it ran."""


@dataclass(slots=True, kw_only=True)
class Observations:
    """What one stage has read, looked for and written, and what it had when it began.

    `since` (Unix time, ns), `preloaded_modules` (names) and `initial_sys_path` are as it began. `sources` holds the
    digests of bytes and syntax tree of loaded modules, `read` the stat of what was read then, `listed` the digests
    of folder listings, `environment` those of values. `third_party_files` are files of installed distributions.
    `missing_modules` are names of modules that can't be imported, `uncacheable` the reasons not to trust all this.
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
        """Whether a path is first-party."""
        return self.zones.of(path) is Zone.FIRST

    def has_read(self, path: str) -> None:
        """Note that `path` was read, or would have been, were it there."""
        self.read.setdefault(path, signature(path))

    def looked_for(self, path: str) -> None:
        """Note that `path` was looked for and is not there."""
        if self.is_first(path):
            self.absent.add(path)

    def no_file_of(self, stem: str, folder: str) -> None:
        """Note that `folder` has no module of this name."""
        base = os.path.join(os.path.abspath(folder), stem)
        for candidate in (base, *module_files(base)):
            self.looked_for(candidate)
