"""Reuse the report of a whole run while manifest, selection, toolchain, dependencies and outputs are unchanged.

A run after which everything is up to date saves its report in the index, under the bytes of the manifest, the
selection and the toolchain, with the keys of the checked sets of dependencies and the stats of all outputs. Only if
something differs must the next run parse the manifest, resolve thousands of jobs and look each of them up.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core import keys
from batchexport.core.digests import bytes_digest
from batchexport.core.options import RunOptions, data_files
from batchexport.core.report import STAGES, UNCHANGED, JobReport, Outcome, StageReport
from batchexport.dependencies.checker import CheckedFiles, DependencyChecker
from batchexport.planning.outcomes import any_failed
from batchexport.store import gc_roots
from batchexport.store.index import Index
from batchexport.store.layout import Layout
from batchexport.store.outputs import current_rows
from batchexport.toolchain import probe
from batchexport.version import __version__

_HEAD_BYTES = 1 << 20
_HEAD_DOTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NoopRun:
    """A saved run whose jobs are all up to date. Folders are absolute."""

    root: Path
    output_dir: Path
    jobs: tuple[JobReport, ...]


def noop_key(options: RunOptions, manifest: bytes, toolchain: probe.Toolchain) -> str:
    """Return the index key of the run that these options, manifest and toolchain make."""
    return keys.digest(
        "conclusion",
        1,
        __version__,
        str(options.manifest.absolute()),
        bytes_digest(manifest),
        [options.expression, sorted(options.tags), sorted(options.only), options.require_all],
        str(options.output_dir),
        [dict(toolchain.capture), dict(toolchain.code), probe.driver()],
    )


def load(options: RunOptions, toolchain: probe.Toolchain, checked: CheckedFiles | None = None) -> NoopRun | None:
    """Return the saved run if everything that it checked is unchanged, else None.

    Digests of the files that had to be hashed are added to `checked`, so that the rest of the command reuses them.
    """
    if options.force or options.stage or options.in_process or options.paranoid or options.failed:
        return None
    try:
        manifest = options.manifest.read_bytes()
    except OSError:
        return None
    cache = _likely_cache(options, manifest)
    layout = Layout(cache.absolute())
    if not layout.index.is_dir():
        return None
    index = Index(layout.index)
    try:
        row = index.get("conclusion", noop_key(options, manifest, toolchain))
        if not isinstance(row, dict) or row["cache"] != str(layout.root) or not _is_current(row, index, checked):
            return None
        if any_failed(index, options.manifest):
            return None  # the full run notes that it does no more
        if not gc_roots.mark_used(layout, options.manifest):
            return None  # the full run writes the gc root, without which gc would delete what the outputs need
        return NoopRun(
            root=Path(row["root"]),
            output_dir=Path(row["output_dir"]),
            jobs=tuple(_report(job) for job in row["jobs"]),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    finally:
        index.close()


def _likely_cache(options: RunOptions, manifest: bytes) -> Path:
    """Guess the cache folder from the head of the manifest; a wrong guess finds no run, as saved runs name theirs."""
    explicit = options.explicit_cache_dir
    if explicit is not None:
        return explicit
    head = manifest.partition(b"\n[[entry]]")[0]
    try:
        text = head.decode("utf-8-sig") if len(head) <= _HEAD_BYTES else ""
        if any(line.count(".") > _HEAD_DOTS for line in text.splitlines()):
            text = ""  # tomllib is quadratic in the parts of a dotted key
        named = tomllib.loads(text).get("cache", {}).get("dir")
    except (ValueError, AttributeError, RecursionError):
        named = None
    return (
        Path(os.path.normpath(options.manifest.absolute().parent / named)) if isinstance(named, str) else Path("cache")
    )


def _is_current(saved: Mapping[str, Any], index: Index, checked: CheckedFiles | None) -> bool:
    """Return True if the data files, dependencies and outputs of a saved run are unchanged."""
    root = saved["root"]
    if any(data_files(Path(root), [pattern]) != found for pattern, found in saved["data"].items()):
        return False
    sets = index.get_many("set", saved["sets"])
    if len(sets) != len(saved["sets"]):
        return False
    output_dir = saved["output_dir"]
    checker = DependencyChecker(
        root=root,
        path=probe.import_path(),
        index=index,
        checked=checked,
        output_dir=output_dir,
        cache=saved["cache"],
    )
    checker.prefetch(row for rows in sets.values() for row in rows)
    if any(checker.change_reason(row) for rows in sets.values() for row in rows):
        return False
    return all(current_rows(f"{output_dir}/{job['folder']}", job["files"]) is not None for job in saved["jobs"])


def _report(job: Mapping[str, Any]) -> JobReport:
    stages = {
        name: StageReport(outcome=Outcome(outcome), reason=reason, key=key)
        for name, (outcome, reason, key) in zip(STAGES, job["stages"], strict=True)
    }
    return JobReport(
        name=job["name"],
        entry=job["entry"],
        target=job["target"],
        tags=tuple(job["tags"]),
        ok=True,
        stages=stages,
        outputs=job["outputs"],
        stats=job["stats"],
        warnings=tuple(job["warnings"]),
    )


def save(
    options: RunOptions,
    *,
    index: Index,
    manifest: bytes,
    toolchain: probe.Toolchain,
    cache: Path,
    root: Path,
    output_dir: Path,
    sets: Sequence[str],
    patterns: Iterable[str],
    jobs: Sequence[tuple[JobReport, str, Mapping[str, Sequence[Any]]]],
) -> None:
    """Save a run whose jobs are all up to date: `jobs` are their reports, folder names and rows of output files."""
    rows = [
        {
            "name": report.name,
            "entry": report.entry,
            "target": report.target,
            "tags": list(report.tags),
            "stages": [_cached_stage(name, report.stages[name]) for name in STAGES],
            "outputs": dict(report.outputs),
            "stats": dict(report.stats),
            "warnings": list(report.warnings),
            "folder": folder,
            "files": dict(files),
        }
        for report, folder, files in jobs
    ]
    index.put(
        "conclusion",
        noop_key(options, manifest, toolchain),
        {
            "cache": str(cache),
            "root": str(root),
            "output_dir": str(output_dir),
            "sets": sorted(set(sets)),
            "data": {pattern: data_files(root, [pattern]) for pattern in patterns},
            "jobs": rows,
        },
    )


def _cached_stage(name: str, stage: StageReport) -> list[Any]:
    """Return outcome, reason and key that the next run reports for a stage."""
    if stage.outcome is Outcome.SKIPPED:
        return [str(stage.outcome), stage.reason, stage.key]
    return [str(Outcome.CACHED), UNCHANGED[name], stage.key]
