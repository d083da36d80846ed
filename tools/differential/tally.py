"""The tally counts, by kind of edit, what was asked for and what was done; every finding keeps its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from differential.verdicts import Need, Verdict

# Column → what it counts.
COLUMNS = {
    "edits": "edits of this kind",
    "wrong": "jobs that are not as in a clean build",
    "failed": "runs that failed",
    "exports": "needless exports",
    "compiles": "needless compiles",
    "verifies": "needless verifications and packings",
    "idle": "stages that were expected to work and found a result",
    "allowed": "stages that worked and were allowed to",
    "restless": "jobs with work in a second run over the same tree",
    "stale": "keys in job.json that a clean build does not have",
}
_NEEDLESS = {"export": "exports", "compile": "compiles", "verify": "verifies"}


@dataclass(slots=True)
class Tally:
    """Counts by kind and column, findings, and the runs that were made. `say` takes each finding at once."""

    say: Callable[[str], None]
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, column: str, finding: str | None = None) -> None:
        """Count one more, and keep the words for it."""
        assert column in COLUMNS
        self.counts.setdefault(kind, Counter())[column] += 1
        if finding is not None:
            self.findings.append(f"{column}: {kind}: {finding}")
            self.say(f"  {self.findings[-1]}")

    def judge(self, kind: str, stage: str, verdict: Verdict, work: str, finding: str) -> None:
        """Hold what was done for one stage ("built", "packed", "cached") against what was expected."""
        need = verdict.stage(stage)
        if work == "packed":
            if need is Need.NEVER:
                self.add(kind, "verifies", finding)
            elif need is Need.MUST:
                self.add(kind, "idle", finding)
        elif work == "built":
            if need in (Need.NEVER, Need.PACK):
                self.add(kind, _NEEDLESS[stage], finding)
            elif need is Need.MAY:
                self.add(kind, "allowed")
        elif need in (Need.MUST, Need.PACK):
            self.add(kind, "idle", finding)

    def total(self, column: str) -> int:
        """A column's sum."""
        return sum(counts[column] for counts in self.counts.values())

    def lines(self) -> Iterator[str]:
        """The table."""
        width = max((len(name) for name in self.counts), default=4)
        yield " ".join(["kind".ljust(width), *(name.rjust(8) for name in COLUMNS)])
        for name in sorted(self.counts):
            row = self.counts[name]
            yield " ".join([name.ljust(width), *(_cell(row[column]).rjust(8) for column in COLUMNS)])
        yield " ".join(["all".ljust(width), *(str(self.total(column)).rjust(8) for column in COLUMNS)])

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "totals": {column: self.total(column) for column in COLUMNS},
            "kinds": {name: dict(row) for name, row in self.counts.items()},
            "findings": self.findings,
            "runs": dict(self.runs),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def _cell(count: int) -> str:
    return str(count) if count else "."
