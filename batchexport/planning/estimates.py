"""Expected seconds and memory of a stage: learned from earlier runs, by job, else by entry, else a cautious guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from batchexport.core.job import Job
from batchexport.core.report import STAGES
from batchexport.store.index import Index

_GUESS_SECONDS = {"export": 5.0, "compile": 25.0, "verify": 2.0}
_GUESS_BYTES = 1 << 30
# A stage holds the weights about three times over: the model's, the archive's, and what is made of them.
_COPIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a stage should take. `known` is False for a guess."""

    seconds: float
    memory: int
    known: bool


class Timings:
    """History in the index. Losing it costs a worse order, nothing else."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._rows: dict[str, Any] = {}
        self._read: set[str] = set()

    def prefetch(self, jobs: Iterable[Job]) -> None:
        """Read the history of many jobs at once."""
        names = {name for job in jobs for stage in STAGES for name in _names(job, stage)}
        self._rows.update(self._index.get_many("timing", sorted(names)))
        self._read |= names

    def expected(self, job: Job, stage: str, *, parameter_bytes: int = 0) -> Expected:
        """The last time's figures; else, not `known`, those of another job of the entry, or a guess."""
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
        # The stages of one job run one after the other, so no number of workers beats the longest job.
        return max(sum(totals) / workers, *totals) if totals else None

    def learn(self, job: Job, stage: str, seconds: float, peak: int | None) -> None:
        """Remember what a stage took: seconds, and bytes at its peak."""
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
    """Rows of the index: of the job itself, and of its entry, of which matrix and targets make several."""
    return f"{job.name}|{stage}", f"{job.entry}|{job.target}|*|{stage}"
