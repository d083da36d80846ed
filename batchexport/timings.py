"""Expected seconds and memory of a stage: learned from earlier runs, by job and stage, else a cautious guess."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from batchexport.report import STAGES
from batchexport.specs import Job
from batchexport.store.index import Index

_GUESS_SECONDS = {"export": 5.0, "compile": 25.0, "verify": 2.0}
_GUESS_BYTES = 1 << 30


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

    def prefetch(self, jobs: Iterable[Job]) -> None:
        """Read the history of many jobs at once."""
        self._rows.update(self._index.get_many("timing", [_name(job, stage) for job in jobs for stage in STAGES]))

    def expected(self, job: Job, stage: str) -> Expected:
        """The last time's figures, or a guess."""
        name = _name(job, stage)
        row = self._rows[name] if name in self._rows else self._index.get("timing", name)
        if isinstance(row, list) and len(row) == 2:
            return Expected(seconds=row[0], memory=row[1] or _GUESS_BYTES, known=True)
        return Expected(seconds=_GUESS_SECONDS[stage], memory=_GUESS_BYTES, known=False)

    def learn(self, job: Job, stage: str, seconds: float, peak: int | None) -> None:
        """Remember what a stage took: seconds, and bytes at its peak."""
        row = [round(seconds, 3), peak]
        self._rows[_name(job, stage)] = row
        self._index.put("timing", _name(job, stage), row)


def _name(job: Job, stage: str) -> str:
    return f"{job.name}|{stage}"
