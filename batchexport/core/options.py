"""The options of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `batchexport run`; see its `--help`.

    `force` names the stages to run again even if cached; `output_dir` replaces the manifest's.
    """

    manifest: Path
    cache_dir: Path | None = None
    expression: str | None = None
    tags: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    stage: str | None = None
    jobs: int | None = None
    fail_fast: bool = False
    force: tuple[str, ...] = ()
    paranoid: bool = False
    require_all: bool = False
    in_process: bool = False
    json: Path | None = None
    output_dir: Path | None = None
