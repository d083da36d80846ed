"""Look up the stages of a job in the cache, from keys, traces and results alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core import keys
from batchexport.core.job import Job
from batchexport.core.report import FIRST_TIME, UNCHANGED
from batchexport.dependencies.traces import TraceHit, TraceMiss, Traces
from batchexport.planning.history import History
from batchexport.store.results import Result, Results
from batchexport.toolchain.cuda import Devices
from batchexport.toolchain.probe import Toolchain


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A stage that need not run: its cached result, and the reason for the report."""

    result: Result
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A stage that must run, and the reason; from the start, unless it is of one of the two subclasses.

    `key` is None where it can't be known before the stage has run; `lock` names what must not be built twice at a time.
    """

    key: str | None
    lock: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapWeights(Miss):
    """An export that need not be captured if the model differs from `base` in the values of its weights alone.

    `code`: compiled code of that graph, beside which the new weights are packed in one go; None where that is not
    wanted or not there.
    """

    base: Result
    code: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackWeights(Miss):
    """A compile for which `code` of the same program is there and only needs these weights packed beside it."""

    code: Result


def from_start(miss: Miss, reason: str | None = None) -> Miss:
    """Return the same miss without what could be reused."""
    return Miss(key=miss.key, lock=miss.lock, reason=miss.reason if reason is None else reason)


class CacheLookup:
    """Finds the cached results of a job's stages for one toolchain. Stages in `force` are never found."""

    def __init__(
        self,
        *,
        root: Path,
        toolchain: Toolchain,
        traces: Traces,
        results: Results,
        history: History,
        force: Collection[str] = (),
        devices: Devices | None = None,
    ) -> None:
        self._devices = devices or Devices()
        self._root = root
        self._toolchain = toolchain
        self._history = history
        self._capture = keys.toolchain_key(toolchain.capture)
        self._code: dict[str, str] = {}
        self._traces = traces
        self._results = results
        self._force = force
        self._request_keys: dict[tuple[int, str], str] = {}
        self._keys: dict[tuple[int, str], str] = {}
        self._spent: defaultdict[tuple[str, str], float] = defaultdict(float)

    def spent(self, job: Job, stage: str) -> float:
        """Return the seconds that lookups of a stage of a job have taken."""
        return self._spent[job.name, stage]

    @contextmanager
    def _timed(self, job: Job, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[job.name, stage] += time.perf_counter() - started

    def request_key(self, job: Job) -> str:
        """Return the key of the request to the export stage; all targets of an entry share it."""
        memo = (id(job.export), job.verify.samples)
        known = self._request_keys.get(memo)
        if known is None:
            spec = [job.export.to_json(), job.verify.samples, job.export.data_files(self._root)]
            known = self._request_keys[memo] = keys.request_key(spec, self._capture)
        return known

    def export(self, job: Job, *, swap_weights: bool = True, pack: bool = False) -> Hit | Miss:
        """Look up an earlier export by its traces, without torch.

        `swap_weights` False: its graph is to be captured, even if only the weights are new.
        `pack`: a package with the new weights is wanted too, where it takes no compile.
        """
        with self._timed(job, "export"):
            return self._export(job, swap_weights=swap_weights, pack=pack)

    def _export(self, job: Job, *, swap_weights: bool, pack: bool) -> Hit | Miss:
        request_key = self.request_key(job)
        if "export" in self._force:
            return Miss(key=None, lock=request_key, reason="forced")
        found = self._traces.find(request_key)
        if isinstance(found, TraceMiss):
            reason = (
                found.reason
                if found.known
                else self._history.difference("export", job.name, self.export_components(job))
            )
            base = self._base(found) if swap_weights else None
            if base is None:
                return Miss(key=None, lock=request_key, reason=reason or FIRST_TIME["export"])
            reason = f"{reason}; the stored graph takes them"
            code = self._code_of(job, base) if pack else None
            return SwapWeights(key=None, lock=request_key, reason=reason, base=base, code=code)
        result = self._results.get("export", found.export_key)
        if result is None:
            return Miss(key=None, lock=request_key, reason="its record is missing or damaged")
        return Hit(result=result, reason=UNCHANGED["export"])

    def _base(self, missed: TraceMiss) -> Result | None:
        """Return the export whose graph a model with new weights may have."""
        key = missed.weights_only_base
        base = self._results.get("export", key) if key else None
        return base if base is not None and base.export_facts.structure else None

    def _code_of(self, job: Job, base: Result) -> Result | None:
        """Return the code that a package with new weights can have."""
        if "compile" in self._force:
            return None
        return _with_swappable_weights(self._results.get("code", self.code_key(job, base)))

    def refresh(self, job: Job) -> None:
        """Drop the traces of `job` read so far, so that the next lookup rereads the index."""
        self._traces.refresh(self.request_key(job))

    def compile(self, job: Job, export: Result, *, pack: bool = True) -> Hit | Miss:
        """Look up code for this program, target and toolchain. `pack` False: packing was tried and did not work."""
        with self._timed(job, "compile"):
            return self._compile(job, export, pack=pack)

    def _compile(self, job: Job, export: Result, *, pack: bool) -> Hit | Miss:
        code_key = self.code_key(job, export)
        key = self.compile_key(job, export)
        if "compile" in self._force:
            return Miss(key=key, lock=code_key, reason="forced")
        result = self._results.get("compile", key)
        if result is not None:
            return Hit(result=result, reason=UNCHANGED["compile"])
        code = self._results.get("code", code_key)
        if pack and (usable := _with_swappable_weights(code)) is not None:
            return PackWeights(key=key, lock=code_key, reason="program unchanged, new weights", code=usable)
        reason = (
            self._history.difference("compile", job.name, self.compile_components(job, export)) or FIRST_TIME["compile"]
        )
        if code is not None and (why := code.compile_facts.why_fixed) is not None:
            reason += f"; its weights can't be exchanged: {why}"
        return Miss(key=key, lock=code_key, reason=reason)

    def export_components(self, job: Job) -> dict[str, Any]:
        """Return the labelled components of an export request, to explain a rebuild."""
        return {
            "spec": {**job.export.to_json(), "samples": job.verify.samples},
            "data": dict.fromkeys(job.export.data_files(self._root), "given"),
            "toolchain": dict(self._toolchain.capture),
        }

    def compile_components(self, job: Job, export: Result) -> dict[str, Any]:
        """Return the labelled components that a compile works from, to explain a rebuild."""
        facts = export.export_facts
        form: dict[str, Any] = {
            "program": facts.program,
            "layout of the weights": facts.layout,
            "constants": facts.constants,
            "compile": job.compile.to_json(),
            "env": dict(job.export.env),
            "toolchain": self._for(job.target),
        }
        if self._is_embedded(job):
            form["weights"] = facts.state
        return form

    def _for(self, target: str) -> dict[str, Any]:
        """Return the facts of the toolchain for a target; those of devices count only for device targets."""
        return {**self._toolchain.summary(), **self._devices.facts(target)}

    def _code_toolchain(self, target: str) -> str:
        if target not in self._code:
            self._code[target] = keys.toolchain_key(self._for(target))
        return self._code[target]

    @staticmethod
    def _is_embedded(job: Job) -> bool:
        return job.compile.weights == "embedded" or job.compile.format != "package"

    def code_key(self, job: Job, export: Result) -> str:
        """Return the key of compiled code; weights count only where they end up inside it."""
        memo = (id(job.compile), export.key)
        if memo not in self._keys:
            facts = export.export_facts
            self._keys[memo] = keys.compile_key(
                program=facts.program,
                layout=facts.layout,
                folded=facts.constants,
                spec=[job.compile.to_json(), dict(job.export.env)],
                toolchain=self._code_toolchain(job.target),
                embedded_state=facts.state if self._is_embedded(job) else None,
            )
        return self._keys[memo]

    def compile_key(self, job: Job, export: Result) -> str:
        """Return the key of the compiled artifact, weights included."""
        return keys.package_key(self.code_key(job, export), export.export_facts.state)

    def verify_key(self, job: Job, export: Result, compiled: Result | None) -> str:
        """Return the key of a verification: of the artifact, the reference outputs and the tolerances."""
        artifact = compiled.files["compiled"] if compiled else export.files["exported"]
        return keys.verify_key(
            artifacts=[artifact],
            reference=export.files["reference"],
            spec=[job.target, job.verify.to_json(), dict(job.export.env)],
            toolchain=self._code_toolchain(job.target),
        )

    def verify(self, job: Job, export: Result, compiled: Result | None) -> Hit | Miss:
        """Look up the verification of this artifact against these reference outputs."""
        with self._timed(job, "verify"):
            return self._verify(job, export, compiled)

    def _verify(self, job: Job, export: Result, compiled: Result | None) -> Hit | Miss:
        key = self.verify_key(job, export, compiled)
        if "verify" in self._force:
            return Miss(key=key, lock=key, reason="forced")
        result = self._results.get("verify", key)
        if result is None:
            return Miss(key=key, lock=key, reason=FIRST_TIME["verify"])
        return Hit(result=result, reason=UNCHANGED["verify"])

    def prefetch(self, jobs: Sequence[Job]) -> None:
        """Read everything that the lookups of many jobs need, in a few queries."""
        self._traces.prefetch({self.request_key(job) for job in jobs})
        found = [(job, self._traces.find(self.request_key(job))) for job in jobs]
        hits = [(job, trace.export_key) for job, trace in found if isinstance(trace, TraceHit)]
        self._results.prefetch("export", [key for _, key in hits])
        exports = [(job, result) for job, key in hits if (result := self._results.get("export", key))]
        compiled_jobs = [(job, export) for job, export in exports if job.compile.format != "none"]
        self._results.prefetch("compile", [self.compile_key(job, export) for job, export in compiled_jobs])
        verifies = [self.verify_key(job, export, None) for job, export in exports if job.compile.format == "none"]
        for job, export in compiled_jobs:
            compiled = self._results.get("compile", self.compile_key(job, export))
            if compiled is not None:
                verifies.append(self.verify_key(job, export, compiled))
        self._results.prefetch("verify", verifies)


def _with_swappable_weights(code: Result | None) -> Result | None:
    """Return the compiled code if it takes other weights."""
    return code if code is not None and code.compile_facts.why_fixed is None else None
