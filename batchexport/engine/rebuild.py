"""Check a sample of the stored results by building them again in an empty store.

The day is the seed of the sample, so that a nightly run covers all jobs in time.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from batchexport.core.events import Listener
from batchexport.core.options import RunOptions
from batchexport.core.report import JobReport
from batchexport.engine.runner import run_jobs
from batchexport.planning.session import open_session

# The digests in `job.json` that must be equal. Compilers write their working folder into their output, so compiled code
# is not compared by digest but by its outputs.
_SAME = ("exported.pt2", "program", "state")


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """One job built again; `differences` from the stored result in words, empty where it is the same."""

    name: str
    differences: tuple[str, ...]


def sample(jobs: Sequence[_T], percent: float, *, day: int | None = None) -> list[_T]:
    """Return `percent` of the jobs, at least one, drawn at random; `day` seeds the choice, today by default."""
    count = min(len(jobs), max(1, ceil(len(jobs) * percent / 100)))
    seed = int(time.time() // 86400) if day is None else day
    return random.Random(seed).sample(list(jobs), count)  # noqa: S311 - no secret


def rebuild(options: RunOptions, percent: float, listener: Listener) -> tuple[Rebuilt, ...]:
    """Build a sample of the delivered jobs again in a scratch store and compare.

    Raises as `api.run` does.
    """
    with open_session(options) as session:
        delivered = [job for job in session.jobs if _job_file(session.delivery.folder(job.folder)) is not None]
        if not delivered:
            return ()
        chosen = sample(delivered, percent)
        before = {job.name: _job_file(session.delivery.folder(job.folder)) or {} for job in chosen}
        scratch = session.store.attempt("rebuild")
        try:
            rebuild_options = replace(
                options,
                cache_dir=scratch / "cache",
                output_dir=scratch / "outputs",
                only=tuple(job.name for job in chosen),
                failed=False,
                expression=None,
                tags=(),
                force=(),
            )
            reports = run_jobs(rebuild_options, listener).reports
            after = {job.name: _job_file(f"{scratch}/outputs/{job.folder}") for job in chosen}
        finally:
            session.store.discard(scratch)
    return tuple(_compare(report, before[report.name], after[report.name]) for report in reports)


def _job_file(folder: str) -> dict[str, Any] | None:
    try:
        data = json.loads(Path(folder, "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _compare(report: JobReport, before: Mapping[str, Any], after: Mapping[str, Any] | None) -> Rebuilt:
    if after is None:
        reason = report.error.message if report.error else "it was not delivered"
        return Rebuilt(name=report.name, differences=(f"rebuilding failed: {reason}",))
    old, new = before.get("digests", {}), after.get("digests", {})
    differences = [f"{name} differs" for name in _SAME if old.get(name) != new.get(name)]
    if before.get("verify", {}).get("samples") != after.get("verify", {}).get("samples"):
        differences.append("the compiled outputs differ")
    return Rebuilt(name=report.name, differences=tuple(differences))
