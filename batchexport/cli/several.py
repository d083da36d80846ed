"""Run several manifests with one command: one after the other, each with its own report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import echo, echo_error
from batchexport.core.errors import BatchExportError, ExitCode, ManifestError, NothingSelected, Problem

if TYPE_CHECKING:
    from batchexport.core.report import RunReport

_ONE_FILE = ("json_file", "junit", "html", "trace")


def manifest_files(given: Iterable[Path]) -> list[Path]:
    """Return the manifests that were given, and those in the folders that were, each once."""
    found: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            from batchexport.cli.manifest_path import manifests_in

            found |= {one.absolute(): one for one in manifests_in(path)}
        else:
            found.setdefault(path.absolute(), path)
    return list(found.values())


def run_each(ctx: click.Context, paths: Sequence[Path], given: Mapping[str, Any]) -> int:
    """Run the command of `ctx` for each manifest; print the totals and return the worst exit code.

    Raises ManifestError with the mistakes of all manifests before anything runs, UsageError for options that name one
    file.
    """
    named = [name.removesuffix("_file") for name in _ONE_FILE if given.get(name) is not None]
    if named:
        raise click.UsageError(f"--{named[0]} names one file, but each of {len(paths)} manifests has its own report")
    reports, codes, nothing = [], [], []
    started = time.monotonic()
    from batchexport.api import kept_servers

    if ctx.obj is None:
        ctx.obj = ctx.with_resource(kept_servers())
    for path, file in _report_files(paths).items():
        echo([f"{'manifest':<9} {path}"])
        ctx.meta.pop("batchexport.report", None)
        try:
            ctx.invoke(ctx.command, **{**given, "manifest": (path,), "json_file": file})
        except click.exceptions.Exit as end:
            codes.append(end.exit_code)
        except NothingSelected as error:
            nothing.append(str(error))
        except BatchExportError as error:
            echo_error(f"{path}: {error}")
            codes.append(int(error.exit_code))
        if (report := ctx.meta.get("batchexport.report")) is not None:
            reports.append(report)
        if ExitCode.INTERRUPTED in codes:
            break
    if len(nothing) == len(paths):
        raise NothingSelected(nothing[0])
    if not given["dry_run"]:
        echo([total_line(reports, len(paths), time.monotonic() - started)])
    return max(codes, default=0)


def total_line(reports: Sequence[RunReport], manifests: int, seconds: float) -> str:
    """Return the last line: the counts of all runs, the seconds and the paths of the reports."""
    from batchexport.core.text import clean, counted

    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(jobs=len(report.jobs), ok=report.ok, failed=report.failed, skipped=report.skipped)
    parts = ", ".join(f"{counts[word]} {word}" for word in ("ok", "failed", "skipped"))
    files = ", ".join(clean(report.path) for report in reports if report.path)
    end = f"; reports: {files}" if files else ""
    return f"{counted(manifests, 'manifest')}, {counted(counts['jobs'], 'job')}: {parts} in {seconds:.1f} s{end}"


def _report_files(paths: Sequence[Path]) -> dict[Path, Path | None]:
    """Return the report's file of each manifest, None for its usual one; manifests that share a folder have their own.

    Raises ManifestError.
    """
    from batchexport.manifest import resolve

    folders: dict[Path, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            folders[path] = resolve.load(path).output_dir
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(tuple(problems))
    sharing = Counter(folders.values())
    return {
        path: folder / f"report-{path.stem}.json" if sharing[folder] > 1 else None for path, folder in folders.items()
    }
