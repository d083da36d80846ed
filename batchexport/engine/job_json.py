"""Compose `job.json` from results alone: no times, no paths of this machine, so that equal results give equal files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchexport.engine.job_run import JobRun
from batchexport.store.outputs import SCHEMA
from batchexport.store.store import Record


def job_json(run: JobRun, sources: Mapping[str, tuple[Record, str]]) -> dict[str, Any]:
    """Return the keys, digests, stats and verification evidence of a job; no evidence where `--stage` left it out.

    `sources` maps each delivered file's name to its record and to its name there (`exported`, `compiled`).
    """
    assert run.export is not None
    exported = next(record for record, inner in sources.values() if inner == "exported")
    stats = {name: value for name, value in exported.data.get("stats", {}).items() if name != "seconds"}
    return {
        "schema": SCHEMA,
        "name": run.job.name,
        "entry": run.job.entry,
        "target": run.job.target,
        "outputs": {inner: file for file, (_, inner) in sources.items()},
        "imports": list(run.export.export_facts.modules),
        "call": dict(run.export.export_facts.call),
        "keys": {stage: report.key for stage, report in run.stages.items() if report.key},
        "digests": {
            **{file: record.files[inner].digest for file, (record, inner) in sources.items()},
            "program": run.export.export_facts.program,
            "state": run.export.export_facts.state,
        },
        "stats": stats,
        "verify": {**run.job.verify.to_json(), **run.verified.facts["evidence"]} if run.verified else None,
    }
