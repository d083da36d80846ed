"""`job.json` is a function of the results alone: no times, no paths of this machine (DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchexport.jobrun import JobRun
from batchexport.store.outputs import SCHEMA
from batchexport.store.store import Record


def job_file(run: JobRun, sources: Mapping[str, tuple[Record, str]]) -> dict[str, Any]:
    """Keys, digests, stats and verification evidence of a job whose stages all stand.

    `sources` maps each delivered file's name to its record and its name there (`exported`, `compiled`).
    """
    assert run.export is not None and run.verified is not None
    exported = next(record for record, inner in sources.values() if inner == "exported")
    stats = {name: value for name, value in exported.data.get("stats", {}).items() if name != "seconds"}
    return {
        "schema": SCHEMA,
        "name": run.job.name,
        "entry": run.job.entry,
        "target": run.job.target,
        "outputs": {inner: file for file, (_, inner) in sources.items()},
        "keys": {stage: report.key for stage, report in run.stages.items() if report.key},
        "digests": {
            **{file: record.files[inner].digest for file, (record, inner) in sources.items()},
            "program": run.export.facts["program"],
            "state": run.export.facts["state"],
        },
        "stats": stats,
        "verify": {**run.job.verify.to_json(), **run.verified.facts["evidence"]},
    }
