"""An export is published under spec, toolchain, source and state ids, and its trace after it."""

from __future__ import annotations

import uuid
from pathlib import Path

from batchexport import keys
from batchexport.dependencies import relative_to, source_digest
from batchexport.results import Result, Results
from batchexport.specs import Job
from batchexport.traces import Traces
from batchexport.verdict import Success

_SLIM = ("op_count", "parameter_bytes", "buffer_bytes")


def publish_export(
    *, results: Results, traces: Traces, job: Job, ask: str, root: str, folder: Path, outcome: Success
) -> tuple[Result, str]:
    """Keep the export that a child left in `folder`; returns it, and what to add to the stage's reason.

    Raises DiskFull, StoreError.
    """
    output = outcome.output
    dependencies = relative_to(root, outcome.dependencies)
    ids = output["state"]
    state = keys.digest("state", keys.STATE_VERSION, ids)
    key = keys.export_key(ask, source_digest(dependencies), state)
    unseen = ""
    if outcome.uncacheable:
        # Later stages need its files, and no later run may find it.
        key = keys.digest("uncacheable", 1, uuid.uuid4().hex)
        unseen = f"; uncacheable: {', '.join(outcome.uncacheable)}"
    result = results.publish(
        "export",
        key,
        files={"exported": folder / "exported.pt2", "reference": folder / "reference.pt"},
        facts={
            "program": output["program"],
            "state": state,
            "layout": keys.digest("layout", keys.STATE_VERSION, [row[:-1] for row in ids]),
            "folded": keys.digest("folded", keys.STATE_VERSION, [row for row in ids if row[1] == "constant"]),
            "modules": output["modules"],
            "stats": {name: output["stats"][name] for name in _SLIM},
        },
        more={
            "job": job.name,
            **({} if outcome.uncacheable else {"ask": ask}),
            "dependencies": dependencies,
            "state": ids,
            "stats": output["stats"],
        },
    )
    if not outcome.uncacheable:
        traces.add(ask, dependencies, key)
    return result, unseen
