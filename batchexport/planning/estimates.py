"""Estimate the seconds and memory of a stage from earlier runs of its job or entry, or else by a cautious guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from batchexport.core.job import Job
from batchexport.core.plan import wall_seconds
from batchexport.core.report import STAGES
from batchexport.store.index import Index

_GUESS_SECONDS = {"export": 5.0, "compile": 25.0, "verify": 2.0}
_GUESS_BYTES = 1 << 30
# A stage holds about three copies of the weights: in the model, in the archive, and in the result.
_COPIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The expected seconds and bytes of a stage. `known` is False unless this job has run the stage before."""

    seconds: float
    memory: int
    known: bool


class Timings:
    """The durations and memory peaks in the index. Without them jobs run in a worse order; nothing else changes."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._rows: dict[str, Any] = {}
        self._read: set[str] = set()

    def prefetch(self, jobs: Iterable[Job]) -> None:
        """Read the rows of many jobs at once."""
        names = {name for job in jobs for stage in STAGES for name in _names(job, stage)}
        self._rows.update(self._index.get_many("timing", sorted(names)))
        self._read |= names

    def expected(self, job: Job, stage: str, *, parameter_bytes: int = 0) -> Expected:
        """Return the last figures of the job, else those of another job of its entry, else a guess."""
        own, entry = (self._row(name) for name in _names(job, stage))
        guess = max(_GUESS_BYTES, _GUESS_BYTES // 2 + _COPIES * parameter_bytes)
        if own is not None:
            return Expected(seconds=own[0], memory=own[1] or guess, known=True)
        if entry is not None:
            return Expected(seconds=entry[0], memory=max(entry[1] or 0, guess), known=False)
        return Expected(seconds=_GUESS_SECONDS[stage], memory=guess, known=False)

    def wall_seconds(self, stages: Iterable[tuple[Job, Sequence[str]]], *, workers: int) -> float | None:
        """Estimate how long `workers` children take for these stages of jobs; None without full history."""
        totals = []
        for job, names in stages:
            expected = [self.expected(job, name) for name in names]
            if not all(one.known for one in expected):
                return None
            totals.append(sum(one.seconds for one in expected))
        return wall_seconds(totals, workers) if totals else None

    def learn(self, job: Job, stage: str, seconds: float, peak: int | None) -> None:
        """Store how long a stage took and its peak memory in bytes."""
        row = [round(seconds, 3), peak]
        for name in _names(job, stage):
            self._rows[name] = row
            self._index.put("timing", name, row)

    def _row(self, name: str) -> list[Any] | None:
        if name not in self._rows and name not in self._read:
            self._read.add(name)
            self._rows[name] = self._index.get("timing", name)
        row = self._rows.get(name)
        return row if isinstance(row, list) and len(row) == 2 else None


def _names(job: Job, stage: str) -> tuple[str, str]:
    """Return the index keys of the job's row and of the row that the jobs of an entry share on one target."""
    return f"{job.name}|{stage}", f"{job.entry}|{job.target}|*|{stage}"
