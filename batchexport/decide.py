"""What stands of a job is decided from keys, traces and results alone, stage by stage, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchexport import keys
from batchexport.probe import Toolchain
from batchexport.results import Result, Results
from batchexport.specs import Job
from batchexport.traces import Fallen, Standing, Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A stage whose result stands, and why."""

    result: Result
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A stage that must run, and why. `key` is None where it can't be known before the stage has run."""

    key: str | None
    reason: str


class Decider:
    """Answers, for one toolchain, which stages of a job stand. `force` says that none do."""

    def __init__(self, *, toolchain: Toolchain, traces: Traces, results: Results, force: bool = False) -> None:
        self._capture = keys.toolchain_key(toolchain.capture)
        self._code = keys.toolchain_key(toolchain.summary())
        self._traces = traces
        self._results = results
        self._force = force
        self._asks: dict[int, str] = {}
        self._keys: dict[tuple[int, str], str] = {}

    def ask(self, job: Job) -> str:
        """The key of what is asked of the export stage; equal for all targets of an entry."""
        known = self._asks.get(id(job.export))
        if known is None:
            samples = job.verify.samples
            known = self._asks[id(job.export)] = keys.ask_key([job.export.to_json(), samples], self._capture)
        return known

    def export(self, job: Job) -> Hit | Miss:
        """Whether an earlier export stands: the trace hit, which needs no torch."""
        if self._force:
            return Miss(key=None, reason="forced")
        found = self._traces.find(self.ask(job))
        if isinstance(found, Fallen):
            return Miss(key=None, reason=found.reason)
        result = self._results.get("export", found.export_key)
        if result is None:
            return Miss(key=None, reason="its record is missing or damaged")
        return Hit(result=result, reason="inputs unchanged")

    def again(self, job: Job) -> None:
        """What stood a moment ago may have changed: forget what was read of a job's traces."""
        self._traces.refresh(self.ask(job))

    def compile(self, job: Job, export: Result) -> Hit | Miss:
        """Whether code for this program, target and toolchain is there."""
        key = self.compile_key(job, export)
        if self._force:
            return Miss(key=key, reason="forced")
        result = self._results.get("compile", key)
        if result is None:
            return Miss(key=key, reason="no compiled code for this program, weights, options and toolchain")
        return Hit(result=result, reason="program unchanged")

    def compile_key(self, job: Job, export: Result) -> str:
        """The key of the compiled artifact, weights included."""
        memo = (id(job.compile), export.key)
        if memo not in self._keys:
            facts = export.facts
            embedded = job.compile.weights == "embedded" or job.compile.format != "package"
            code = keys.compile_key(
                program=facts["program"],
                layout=facts["layout"],
                folded=facts["folded"],
                spec=[job.compile.to_json(), dict(job.export.env)],
                toolchain=self._code,
                embedded_state=facts["state"] if embedded else None,
            )
            self._keys[memo] = keys.package_key(code, facts["state"])
        return self._keys[memo]

    def verify_key(self, job: Job, export: Result, compiled: Result | None) -> str:
        """The key of the evidence: these bytes, held against these numbers, in this way."""
        artifact = compiled.files["compiled"] if compiled else export.files["exported"]
        return keys.verify_key(
            artifacts=[artifact],
            reference=export.files["reference"],
            spec=[job.verify.to_json(), dict(job.export.env)],
            toolchain=self._code,
        )

    def verify(self, job: Job, export: Result, compiled: Result | None) -> Hit | Miss:
        """Whether these very bytes were held against these very numbers before."""
        key = self.verify_key(job, export, compiled)
        if self._force:
            return Miss(key=key, reason="forced")
        result = self._results.get("verify", key)
        if result is None:
            return Miss(key=key, reason="this artifact was not verified yet")
        return Hit(result=result, reason="artifact unchanged")

    def prefetch(self, jobs: Sequence[Job]) -> None:
        """Read all that the decisions about many jobs need, in a few queries."""
        self._traces.prefetch({self.ask(job) for job in jobs})
        found = [(job, self._traces.find(self.ask(job))) for job in jobs]
        standing = [(job, trace.export_key) for job, trace in found if isinstance(trace, Standing)]
        self._results.prefetch("export", [key for _, key in standing])
        exports = [(job, result) for job, key in standing if (result := self._results.get("export", key))]
        coded = [(job, export) for job, export in exports if job.compile.format != "none"]
        self._results.prefetch("compile", [self.compile_key(job, export) for job, export in coded])
        verifies = [self.verify_key(job, export, None) for job, export in exports if job.compile.format == "none"]
        for job, export in coded:
            compiled = self._results.get("compile", self.compile_key(job, export))
            if compiled is not None:
                verifies.append(self.verify_key(job, export, compiled))
        self._results.prefetch("verify", verifies)
