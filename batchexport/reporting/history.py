"""Keep what the last runs of a manifest gave, in a compressed file, and say what is new, flaky or slower."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from batchexport.core.files import atomic_write_sibling
from batchexport.core.keys import digest
from batchexport.core.report import JobReport, Outcome, RunReport

KEPT = 60
_SLOWER = 1.5  # times the median of earlier runs
_NOTICED_SECONDS = 1.0
_FLAKY_CHANGES = 3  # from ok to failed or back, with unchanged keys

Run = Mapping[
    str, Any
]  # {started, seconds, ok, failed, skipped, whole, jobs: {name: [status, keys, {stage: seconds}]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slower:
    """A stage that took longer than it used to; `usual` is the median of its earlier runs, in seconds."""

    stage: str
    seconds: float
    usual: float


def history_file(folder: Path, manifest: Path) -> Path:
    """Return the file that the runs of a manifest are kept in."""
    return folder / f"{digest('history', 1, str(manifest.absolute()))[:16]}.json.gz"


def load(path: Path) -> list[Run]:
    """Return the runs that a file holds, the oldest first; none if it can't be read."""
    try:
        kept = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return []
    return [run for run in kept if _is_run(run)] if isinstance(kept, list) else []


def _is_run(run: Any) -> bool:
    """Return whether this is what `run_of` gives: another version of batchexport may have written it."""
    if not isinstance(run, dict) or not isinstance(run.get("jobs"), dict) or not isinstance(run.get("started"), str):
        return False
    numbers = all(isinstance(run.get(name), int | float) for name in ("seconds", "ok", "failed", "skipped", "whole"))
    return numbers and all(_is_row(row) for row in run["jobs"].values())


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or [type(part) for part in row] != [str, str, dict]:
        return False
    return all(isinstance(seconds, int | float) for seconds in row[2].values())


def save(path: Path, runs: Sequence[Run]) -> None:
    """Keep the last runs. Raises OSError."""
    text = json.dumps(list(runs)[-KEPT:], separators=(",", ":"))
    atomic_write_sibling(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))


def run_of(report: RunReport, *, whole: bool = True) -> Run:
    """Return what is kept of a run; `whole` is False where only some jobs of the manifest were selected."""
    return {
        "started": report.started,
        "seconds": round(report.seconds, 1),
        "ok": report.ok,
        "failed": report.failed,
        "skipped": report.skipped,
        "whole": whole,
        "jobs": {job.name: [status(job), _keys(job), _built_seconds(job)] for job in report.jobs},
    }


def status(job: JobReport) -> str:
    """Return the state of a job in one word: failed, expected, skipped, built or cached."""
    if job.error is not None:
        return "expected" if job.expected else "failed"
    if not job.ok:
        return "skipped"
    return "built" if job.built else "cached"


def _keys(job: JobReport) -> str:
    return digest("keys", 1, [stage.key for stage in job.stages.values()])[:12]


def _built_seconds(job: JobReport) -> dict[str, float]:
    built = {name: stage.seconds for name, stage in job.stages.items() if stage.outcome is Outcome.BUILT}
    return {name: round(seconds, 2) for name, seconds in built.items()}


def failing_since(runs: Sequence[Run], name: str) -> str | None:
    """Return when the first of the latest runs in a row started in which a job failed; None if it did not fail last."""
    since = None
    for run in reversed(runs):
        found = run["jobs"].get(name)
        if found is None:
            continue
        if found[0] != "failed":
            break
        since = run["started"]
    return since


def is_flaky(runs: Sequence[Run], name: str) -> bool:
    """Return whether a job went from passing to failing and back although its keys did not change."""
    rows = [run["jobs"][name] for run in runs if name in run["jobs"]]
    states = [(row[0] == "failed", row[1]) for row in rows if row[0] != "skipped"]
    changes = [one[1] for one, other in pairwise(states) if one[0] != other[0]]
    kept = {keys for failed, keys in states if not failed}
    return len(changes) >= _FLAKY_CHANGES and len(kept) == 1


def slower(runs: Sequence[Run], job: JobReport) -> list[Slower]:
    """Return the stages of a job that took much longer than in the median of the runs before."""
    found = []
    for stage, seconds in _built_seconds(job).items():
        earlier = [row[2][stage] for run in runs if (row := run["jobs"].get(job.name)) and stage in row[2]]
        usual = median(earlier) if earlier else seconds
        if seconds > _SLOWER * usual and seconds - usual > _NOTICED_SECONDS:
            found.append(Slower(stage=stage, seconds=seconds, usual=usual))
    return found
