"""Lower an exported program to the IR of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from batchexport.pipeline.failure import Kind, StageFailure, classified


def lower(program: ExportedProgram, spec: Mapping[str, Any]) -> ExportedProgram:
    """Decompose the program to the IR of the spec. Raises StageFailure of kind lower."""
    chosen = list(spec["decompositions"])
    if spec["ir"] == "training" and not chosen:
        return program
    try:
        lowered: ExportedProgram = program.run_decompositions(None if spec["ir"] == "core-aten" else _table(chosen))
    except StageFailure:
        raise
    except Exception as error:
        raise classified(error, Kind.LOWER, f"lowering to {spec['ir']} IR") from error
    return lowered


def _table(chosen: list[str]) -> dict[Any, Any]:
    table: dict[Any, Any] = dict(torch.export.default_decompositions())
    found: dict[Any, Any] = {}
    for name in chosen:
        matches = {op: rule for op, rule in table.items() if str(op) == name or str(op).rpartition(".")[0] == name}
        if not matches:
            raise StageFailure(
                Kind.LOWER,
                f"torch has no decomposition for {name!r}",
                'write it as in "aten.silu" or "aten.silu.default"',
            )
        found |= matches
    return found
