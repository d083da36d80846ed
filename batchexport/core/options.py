"""What a user asks of a run: options, and data files by pattern. A no-op run needs this but no jobs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `batchexport run`; see its `--help`.

    `force` names the stages to run again even if cached; `output_dir` replaces the manifest's. `apply_fixes` writes
    what failures say into the manifest, and runs again. `failed` selects the jobs that failed when they last ran.
    `json`, `junit`, `html` and `trace` are files to write reports to.
    """

    manifest: Path
    cache_dir: Path | None = None
    expression: str | None = None
    tags: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    stage: str | None = None
    jobs: int | None = None
    failed: bool = False
    fail_fast: bool = False
    maxfail: int | None = None
    force: tuple[str, ...] = ()
    paranoid: bool = False
    require_all: bool = False
    in_process: bool = False
    apply_fixes: bool = False
    json: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    trace: Path | None = None
    output_dir: Path | None = None

    def stop_reason(self, failures: int) -> str | None:
        """Return the option because of which nothing more is started after so many failures; None for none."""
        if self.fail_fast and failures:
            return "--fail-fast"
        return f"--maxfail {self.maxfail}" if self.maxfail is not None and failures >= self.maxfail else None

    @property
    def explicit_cache_dir(self) -> Path | None:
        """Return the cache folder that the command or its environment names; it overrides the manifest's."""
        named = os.environ.get("BATCHEXPORT_CACHE_DIR")
        return self.cache_dir or (Path(named) if named else None)


def data_files(root: Path, patterns: Iterable[str]) -> list[str]:
    """Return the files that data patterns match, sorted: below `root` where they are relative.

    A name without magic characters is returned even if there is no such file, so that its absence is noticed.
    """
    found: set[str] = set()
    for pattern in patterns:
        if glob.has_magic(pattern):
            names = glob.glob(pattern, root_dir=root, recursive=True)
            found.update(name for name in names if os.path.isfile(os.path.join(root, name)))
        else:
            found.add(pattern)
    return sorted(found)
