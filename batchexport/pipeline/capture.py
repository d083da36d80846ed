"""Capture a built model as an ExportedProgram, and explain failures in the terms of the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from batchexport.pipeline.dynamic_shapes import dynamic_shapes
from batchexport.pipeline.failure import Kind, StageFailure, classified, one_line, text_of

# What to do about an error, by a part of its text.
_REMEDIES = {
    "no fake impl registered": "register a fake kernel with torch.library.register_fake",
    "fake tensor in the exported program constant": (
        "a call writes through `.data`, or keeps a new tensor: change buffers in place, under torch.no_grad()"
    ),
    "unhashable type: non-nested Sym": "don't use a size as the key of a dict or set",
    "__obj_flatten__": (
        "its class needs __obj_flatten__; modules of torch.ao.quantization have none: take the float model"
    ),
}


def capture(model: nn.Module, inputs: dict[str, Any], spec: Mapping[str, Any]) -> ExportedProgram:
    """Call `torch.export.export` as the spec asks. Raises StageFailure of kind shapes or export."""
    try:
        program = torch.export.export(
            model,
            (),
            inputs,
            dynamic_shapes=dynamic_shapes(spec["inputs"], spec["dims"]),
            strict=spec["strict"],
            preserve_module_call_signature=tuple(spec["preserve_module_call_signature"]),
            prefer_deferred_runtime_asserts_over_guards=spec["prefer_deferred_runtime_asserts"],
        )
    except Exception as error:
        raise _explained(error) from error
    return program


def _explained(error: Exception) -> StageFailure:
    text = text_of(error)
    kind = getattr(getattr(error, "error_type", None), "name", "")
    name = type(error).__name__
    if kind == "CONSTRAINT_VIOLATION" or name == "ConstraintViolationError" or "Constraints violated" in text:
        fixes = re.findall(r"^\s*(\w+\s*=\s*.+)$", text.partition("Suggested fixes:")[2], re.MULTILINE)
        remedy = "torch suggests for [entry.dims]: " + "; ".join(fix.strip() for fix in fixes) if fixes else None
        reasons = [line.strip(" -") for line in text.splitlines() if line.strip().startswith("- ")]
        return StageFailure(Kind.SHAPES, reasons[0] if reasons else one_line(error), remedy)
    if "top-level keys must be the arg names" in text:
        remedy = "forward takes inputs with dims as **kwargs, for which torch has no dynamic shapes: name them there"
        return StageFailure(Kind.SHAPES, one_line(error), remedy)
    if kind == "INVALID_INPUT" or "dynamic_shapes" in text:
        return StageFailure(Kind.SHAPES, one_line(error))
    if name.startswith("GuardOnDataDependent") or kind in ("ANTI_PATTERN", "DYNAMIC_CONTROL_FLOW"):
        return classified(
            error,
            Kind.EXPORT,
            "torch.export",
            "the control flow depends on tensor values; rewrite it with torch.cond or torch._check",
        )
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in text), None)
    return classified(error, Kind.EXPORT, "torch.export", remedy)


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
