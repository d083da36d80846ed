"""The build system for PyTorch model export: a manifest in, verified archives and compiled packages out.

Importing it is cheap: each function imports what it needs when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchexport.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from batchexport.core.events import Listener
    from batchexport.core.plan import Plan
    from batchexport.core.report import RunReport

__all__ = ["__version__", "load", "plan", "run"]


def run(
    manifest: str | PathLike[str],
    *,
    cache_dir: str | PathLike[str] | None = None,
    expression: str | None = None,
    tags: Iterable[str] = (),
    only: Iterable[str] = (),
    stage: str | None = None,
    jobs: int | None = None,
    failed: bool = False,
    fail_fast: bool = False,
    maxfail: int | None = None,
    force: bool = False,
    require_all: bool = False,
    in_process: bool = False,
    apply_fixes: bool = False,
    json: str | PathLike[str] | None = None,
    junit: str | PathLike[str] | None = None,
    html: str | PathLike[str] | None = None,
    trace: str | PathLike[str] | None = None,
    listener: Listener | None = None,
) -> RunReport:
    """Bring every selected job of a manifest up to date, as `batchexport run` does, and return the report.

    A job that fails is data in the report. `listener` is called with every event of the run.

    Raises:
        BatchExportError: on what stops the whole run, such as a mistake in the manifest.
    """
    from pathlib import Path

    from batchexport.api import RunOptions
    from batchexport.api import run as run_manifest
    from batchexport.core.report import STAGES

    options = RunOptions(
        manifest=Path(manifest),
        cache_dir=None if cache_dir is None else Path(cache_dir),
        expression=expression,
        tags=tuple(tags),
        only=tuple(only),
        stage=stage,
        jobs=jobs,
        failed=failed,
        fail_fast=fail_fast,
        maxfail=maxfail,
        force=STAGES if force else (),
        require_all=require_all,
        in_process=in_process,
        apply_fixes=apply_fixes,
        json=None if json is None else Path(json),
        junit=None if junit is None else Path(junit),
        html=None if html is None else Path(html),
        trace=None if trace is None else Path(trace),
    )
    return run_manifest(options, listener or (lambda _: None))


def plan(
    manifest: str | PathLike[str],
    *,
    cache_dir: str | PathLike[str] | None = None,
    expression: str | None = None,
    tags: Iterable[str] = (),
    only: Iterable[str] = (),
    force: bool = False,
) -> Plan:
    """Return what the next run of a manifest would do, and why, as `batchexport plan` shows it.

    Imports no torch and starts nothing.

    Raises:
        BatchExportError: on what would stop the whole run, such as a mistake in the manifest.
    """
    from pathlib import Path

    from batchexport.api import RunOptions
    from batchexport.api import plan as plan_manifest
    from batchexport.core.report import STAGES

    return plan_manifest(
        RunOptions(
            manifest=Path(manifest),
            cache_dir=None if cache_dir is None else Path(cache_dir),
            expression=expression,
            tags=tuple(tags),
            only=tuple(only),
            force=STAGES if force else (),
        )
    )


def load(folder: str | PathLike[str]) -> Callable[..., Any]:
    """Load the compiled package in an output folder as a callable: `load("dist/bert-base@cpu")(input_ids=...)`.

    Imports torch. Raises UnsafeArchive, an OSError, for a package with members outside its folder.
    """
    from pathlib import Path

    from batchexport.core.archives import vet
    from batchexport.pipeline.load import load as load_package

    for package in Path(folder).glob("*.pt2"):
        vet(package)
    return load_package(Path(folder))
