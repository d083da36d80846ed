"""Publish what a child left in its folder: files to the store first, then records, and traces last.

In this order an interrupted publish leaves at most files that no record names, never a trace without its result.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core import keys
from batchexport.core.digests import file_digest
from batchexport.core.job import Job
from batchexport.dependencies.checker import relative_to
from batchexport.dependencies.dependency import Dependency, canonical_order, source_digest
from batchexport.dependencies.merge import StaleGraph, merge_dependencies
from batchexport.dependencies.traces import Traces
from batchexport.engine.job_run import JobRun
from batchexport.planning.history import History
from batchexport.planning.lookup import CacheLookup, Miss, SwapWeights
from batchexport.store.outputs import FILES
from batchexport.store.results import ExportFacts, Result, Results
from batchexport.toolchain.probe import import_path
from batchexport.workers.exit_status import Success

_SLIM = ("op_count", "parameter_bytes", "buffer_bytes", "strict")


def fingerprint(folder: Path, outcome: Success) -> str:
    """Return the digest of what two builds of one export must share: program, weights, archive and eager outputs."""
    files = [file_digest(str(folder / name)) for name in ("exported.pt2", "reference.pt")]
    return keys.digest("twin", 1, outcome.output["program"], outcome.output["state"], files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published result, and the reason of its stage, extended by what publishing found."""

    result: Result
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publish the results of one run. `root` is the manifest's folder. The methods raise DiskFull, StoreError."""

    results: Results
    traces: Traces
    lookup: CacheLookup
    history: History
    root: str

    def publish(self, run: JobRun, stage: str, miss: Miss, folder: Path, outcome: Success, *, reason: str) -> Published:
        """Publish what `stage` left in `folder`. Raises StaleGraph where the swapped graph's sources have changed."""
        if stage == "export":
            return self._export(run, miss, folder, outcome, reason)
        if stage == "compile":
            return Published(result=self._compile(run, miss, folder, outcome.output), reason=reason)
        assert miss.key is not None
        facts = {"evidence": dict(outcome.output)}
        result = self.results.publish("verify", miss.key, files={}, facts=facts, more={"job": run.job.name})
        return Published(result=result, reason=reason)

    def mark_nondeterministic(self, job: Job) -> None:
        """Let no later run reuse an export of `job`, as two builds of it differed."""
        reason = "two builds in a row gave different results (unseeded randomness, or a clock?)"
        request_key = self.lookup.request_key(job)
        self.results.publish("distrust", request_key, files={}, facts={"reason": reason}, more={})
        self.traces.drop(request_key)

    def clear_nondeterministic(self, job: Job) -> None:
        """Allow reuse again, as two builds agreed."""
        self.results.remove("distrust", self.lookup.request_key(job))

    def _export(self, run: JobRun, miss: Miss, folder: Path, outcome: Success, reason: str) -> Published:
        job, output = run.job, outcome.output
        request_key = self.lookup.request_key(job)
        uncacheable = list(outcome.uncacheable)
        nondeterministic = self.results.get("distrust", request_key)
        if nondeterministic is not None:
            uncacheable.append(nondeterministic.facts["reason"])
        dependencies = relative_to(self.root, outcome.dependencies, import_path())
        if output["reweighed"] and isinstance(miss, SwapWeights):
            record = self.results.record("export", miss.base.key)
            if record is None:
                raise StaleGraph(miss.base.key)
            known = [Dependency.from_row(row) for row in record.data["dependencies"]]
            dependencies = canonical_order(merge_dependencies(known, dependencies))
        elif isinstance(miss, SwapWeights):
            reason += "; exported again because the model differs in more than its weights' values"
        ids = output["state"]
        state = keys.digest("state", keys.STATE_VERSION, ids)
        key = keys.export_key(request_key, source_digest(dependencies), state)
        if uncacheable:
            # This run's later stages need the files, but no later run may find them.
            key = keys.digest("uncacheable", 1, uuid.uuid4().hex)
            reason += f"; uncacheable: {', '.join(uncacheable)}"
        facts = ExportFacts(
            program=output["program"],
            concrete_program=output["skeleton"],
            state=state,
            layout=keys.digest("layout", keys.STATE_VERSION, [row[:-1] for row in ids]),
            constants=keys.digest("folded", keys.STATE_VERSION, [row for row in ids if row[1] == "constant"]),
            modules=output["modules"],
            structure=output["likeness"],
            weights_swapped=output["reweighed"],
            stats={name: output["stats"][name] for name in _SLIM},
            warnings=output["warnings"],
            call=output["call"],
            auto=output["auto"],
        )
        result = self.results.publish(
            "export",
            key,
            files={"exported": folder / "exported.pt2", "reference": folder / "reference.pt"},
            facts=facts.to_json(),
            more={
                "job": job.name,
                **({} if uncacheable else {"ask": request_key}),
                "dependencies": [dependency.to_row() for dependency in dependencies],
                "state": ids,
                "stats": output["stats"],
            },
        )
        if not uncacheable:
            self.traces.add(request_key, dependencies, key)
        self.history.remember("export", job.name, self.lookup.export_components(job))
        return Published(result=result, reason=reason)

    def package(self, run: JobRun, miss: Miss, folder: Path) -> Result:
        """Publish the package that an export stage left as the result of the compile that `miss` describes."""
        return self._compile(run, miss, folder, {"compiled": FILES["package"], "code": None})

    def _compile(self, run: JobRun, miss: Miss, folder: Path, output: Mapping[str, Any]) -> Result:
        assert miss.key is not None
        assert run.export is not None
        artifact = folder / output["compiled"]
        if output["code"] is not None:
            self._code(run.job, miss.lock, folder, output["code"])
        result = self.results.publish(
            "compile", miss.key, files={"compiled": artifact}, facts={}, more={"job": run.job.name}
        )
        self.history.remember("compile", run.job.name, self.lookup.compile_components(run.job, run.export))
        return result

    def _code(self, job: Job, key: str, folder: Path, code: Mapping[str, Any]) -> None:
        """Publish the code without its weights, or the reason why it can't take other weights."""
        files = {}
        if "why" not in code:
            files = {name: folder / "code" / name for name in code["files"] if name != code["blob"]}
            files["frozen.bin"] = folder / "frozen.bin"
        self.results.publish("code", key, files=files, facts=code, more={"job": job.name})
