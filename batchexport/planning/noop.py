"""A run that found everything in place concludes so; while nothing it looked at changes, neither does that.

A conclusion is the memo of one whole no-op run: under the bytes of the manifest, what was selected and the
toolchain, it keeps the sets of dependencies that were looked at, the stats of all outputs, and the report.
Any difference, however small, and the long way decides. It saves reading, resolving and hashing thousands
of jobs to learn that nothing is to be done.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core import keys
from batchexport.core.digests import bytes_digest
from batchexport.core.options import RunOptions
from batchexport.core.report import STAGES, UNCHANGED, JobReport, Outcome, StageReport
from batchexport.dependencies.checker import CheckedFiles, DependencyChecker
from batchexport.manifest.document import deep_line
from batchexport.manifest.patterns import matches
from batchexport.store import gc_roots
from batchexport.store.index import Index
from batchexport.store.layout import Layout
from batchexport.store.outputs import current_rows
from batchexport.toolchain import probe
from batchexport.version import __version__

_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NoopRun:
    """Everything is in place. Folders are absolute."""

    root: Path
    output_dir: Path
    jobs: tuple[JobReport, ...]


def noop_key(options: RunOptions, manifest: bytes, toolchain: probe.Toolchain) -> str:
    """What a conclusion is about."""
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

    `checked` gets the digests of the files that had to be hashed, so that the rest of the command need not hash them.
    """
    if options.force or options.stage or options.in_process or options.paranoid:
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
        if not gc_roots.mark_used(layout, options.manifest):
            return None  # gc would not know what the outputs need: the long way writes it down
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
    """Where the conclusion is looked for. A wrong guess finds none: a conclusion knows its cache folder."""
    if options.cache_dir is not None:
        return options.cache_dir
    if os.environ.get("BATCHEXPORT_CACHE_DIR"):
        return Path(os.environ["BATCHEXPORT_CACHE_DIR"])
    head = manifest.partition(b"\n[[entry]]")[0]
    try:
        text = head.decode("utf-8-sig") if len(head) <= _HEAD_BYTES else ""
        named = tomllib.loads("" if deep_line(text) else text).get("cache", {}).get("dir")
    except (ValueError, AttributeError, RecursionError):
        named = None
    return (
        Path(os.path.normpath(options.manifest.absolute().parent / named)) if isinstance(named, str) else Path("cache")
    )


def _is_current(row: Mapping[str, Any], index: Index, checked: CheckedFiles | None) -> bool:
    root = row["root"]
    if any(matches(Path(root), [pattern]) != found for pattern, found in row["data"].items()):
        return False
    sets = index.get_many("set", row["sets"])
    if len(sets) != len(row["sets"]):
        return False
    checker = DependencyChecker(root=root, path=probe.import_path(), index=index, checked=checked)
    if any(checker.change_reason(dependency) for dependencies in sets.values() for dependency in dependencies):
        return False
    output_dir = row["output_dir"]
    return all(current_rows(f"{output_dir}/{job['folder']}", job["files"]) is not None for job in row["jobs"])


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
    data: Mapping[str, Sequence[str]],
    jobs: Sequence[tuple[JobReport, str, Mapping[str, Sequence[Any]]]],
) -> None:
    """Remember that all is in place: `jobs` are reports, folder names and the rows of their files."""
    rows = [
        {
            "name": report.name,
            "entry": report.entry,
            "target": report.target,
            "tags": list(report.tags),
            "stages": [_standing(name, report.stages[name]) for name in STAGES],
            "outputs": dict(report.outputs),
            "stats": dict(report.stats),
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
            "data": {pattern: list(found) for pattern, found in data.items()},
            "jobs": rows,
        },
    )


def _standing(name: str, stage: StageReport) -> list[Any]:
    """What the next run says of a stage that stands."""
    if stage.outcome is Outcome.SKIPPED:
        return [str(stage.outcome), stage.reason, stage.key]
    return [str(Outcome.CACHED), UNCHANGED[name], stage.key]
