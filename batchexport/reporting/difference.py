"""Compare two runs or two output folders: which jobs fail or pass now, and what changed in what was delivered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

_SLOWER = 1.2  # a time that differs by less says nothing
_LEAST_SECONDS = 1.0
_CLOSER = 1e-12  # differences from eager that differ by less are the same number

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What one side tells of a job; None and empty is what it does not tell.

    `state` is ok, failed or skipped. `seconds` is the time of each stage that ran. `sizes` are bytes by name.
    `difference` is the largest difference from eager that verification saw.
    """

    state: str = "ok"
    kind: str | None = None
    message: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    ops: Mapping[str, int] | None = None
    op_count: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    difference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """How a job differs, as pairs of before and after. `ops` has the operators whose number of calls changed."""

    name: str
    kind: tuple[str | None, str | None] | None = None
    ops: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    op_count: tuple[int, int] | None = None
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    difference: tuple[float, float] | None = None

    @property
    def matters(self) -> bool:
        """Return True if more than times differ."""
        return bool(self.kind or self.ops or self.op_count or self.sizes or self.difference)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "ops": dict(self.ops),
            "op_count": self.op_count,
            "sizes": dict(self.sizes),
            "seconds": dict(self.seconds),
            "max_abs_diff": self.difference,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How two sides differ. `failing` are jobs that fail on both; `same` counts those without anything to tell."""

    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    newly_failing: tuple[tuple[str, JobFacts], ...] = ()
    fixed: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    changed: tuple[JobChange, ...] = ()
    same: int = 0

    @property
    def jobs(self) -> int:
        """Return how many jobs there are on either side."""
        told = {*self.fixed, *self.failing, *(name for name, _ in self.newly_failing)}
        told |= {change.name for change in self.changed}
        return len(self.new) + len(self.gone) + len(told) + self.same

    @property
    def differs(self) -> bool:
        """Return True if more than times differ."""
        jobs = self.new or self.gone or self.newly_failing or self.fixed
        return bool(jobs) or any(change.matters for change in self.changed)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "differs": self.differs,
            "new": list(self.new),
            "gone": list(self.gone),
            "newly_failing": [
                {"name": name, "kind": facts.kind, "message": facts.message} for name, facts in self.newly_failing
            ],
            "fixed": list(self.fixed),
            "failing": list(self.failing),
            "changed": [change.to_json() for change in self.changed],
            "same": self.same,
        }


def compare(before: Mapping[str, JobFacts], after: Mapping[str, JobFacts]) -> Difference:
    """Return how the jobs of two sides differ, each in the order of `after`, then of `before`."""
    both = [name for name in after if name in before]
    failing = [name for name in both if after[name].state == "failed"]
    changes = [(name, job_change(name, before[name], after[name])) for name in both]
    changed = tuple(change for _, change in changes if change is not None)
    broken = tuple((name, after[name]) for name in failing if before[name].state != "failed")
    fixed = tuple(name for name in both if before[name].state == "failed" and after[name].state == "ok")
    still = tuple(name for name in failing if before[name].state == "failed")
    told = {*(change.name for change in changed), *fixed, *still, *(name for name, _ in broken)}
    return Difference(
        new=tuple(name for name in after if name not in before),
        gone=tuple(name for name in before if name not in after),
        newly_failing=broken,
        fixed=fixed,
        failing=still,
        changed=changed,
        same=sum(name not in told for name in both),
    )


def job_change(name: str, before: JobFacts, after: JobFacts) -> JobChange | None:
    """Return how a job differs in what both sides tell; None if it does not."""
    both_fail = before.state == after.state == "failed"
    change = JobChange(
        name=name,
        kind=(before.kind, after.kind) if both_fail and before.kind != after.kind else None,
        ops={} if before.ops is None or after.ops is None else _pairs(before.ops, after.ops, {*before.ops, *after.ops}),
        op_count=_other(before.op_count, after.op_count),
        sizes=_pairs(before.sizes, after.sizes, before.sizes.keys() & after.sizes.keys()),
        seconds=_pairs(before.seconds, after.seconds, before.seconds.keys() & after.seconds.keys(), _is_other_time),
        difference=_other(before.difference, after.difference),
    )
    return change if change.matters or change.seconds else None


def report_facts(report: Mapping[str, Any]) -> dict[str, JobFacts]:
    """Return what a JSON report tells of its jobs. Raises KeyError, TypeError, AttributeError for another form."""
    return {job["name"]: _reported(job) for job in report["jobs"]}


def job_json_facts(form: Mapping[str, Any], sizes: Mapping[str, int]) -> JobFacts:
    """Return what a `job.json` tells, beside files of these bytes. Raises KeyError, TypeError, AttributeError."""
    stats, verify = form.get("stats") or {}, form.get("verify") or {}
    seen = [abs(sample["max_abs_diff"]) for sample in verify.get("samples", ())]
    return JobFacts(
        ops=stats.get("ops"),
        op_count=stats.get("op_count"),
        sizes=sizes,
        difference=max(seen, default=None),
    )


def _reported(job: Mapping[str, Any]) -> JobFacts:
    error, stats = job.get("error"), job.get("stats") or {}
    sizes = {name: stats[name] for name in ("parameter_bytes", "buffer_bytes") if name in stats}
    ran = {name: stage["seconds"] for name, stage in job["stages"].items() if stage.get("outcome") == "built"}
    return JobFacts(
        state="ok" if job["ok"] or job.get("expected") else "failed" if error else "skipped",
        kind=error["kind"] if error else None,
        message=error["message"] if error else None,
        seconds=ran,
        ops=stats.get("ops"),
        op_count=stats.get("op_count"),
        sizes=sizes,
    )


def _is_other_time(before: float, after: float) -> bool:
    low, high = sorted((before, after))
    return high > low * _SLOWER and high - low > _LEAST_SECONDS


def _pairs(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    names: Iterable[str],
    differ: Callable[[Any, Any], bool] = lambda one, other: one != other,
) -> dict[str, Any]:
    pairs = {name: (before.get(name, 0), after.get(name, 0)) for name in sorted(names)}
    return {name: pair for name, pair in pairs.items() if differ(*pair)}


def _other(before: Number | None, after: Number | None) -> tuple[Number, Number] | None:
    return None if before is None or after is None or abs(before - after) <= _CLOSER else (before, after)
