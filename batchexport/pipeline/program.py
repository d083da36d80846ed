"""Make the program of a spec: capture the model, and lower what was captured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from batchexport.pipeline.call_form import Call
from batchexport.pipeline.capture import capture
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.inputs import Examples
from batchexport.pipeline.joint import joint_program, prepared_for_joint
from batchexport.pipeline.lower import lower
from batchexport.pipeline.model_state import ModelState


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProgram:
    """A program, whether it was captured in strict mode, and lines for the report about how it was made."""

    program: ExportedProgram
    strict: bool
    warnings: Sequence[str] = ()


def make_program(model: nn.Module, examples: Examples, call: Call, spec: Mapping[str, Any]) -> MadeProgram:
    """Capture `model` with `call` as the example, and lower it. Raises StageFailure of kind shapes, export or lower."""
    if spec["ir"] == "joint":
        with prepared_for_joint(model, call, spec["loss"]):
            captured, strict = _captured(model, examples, call, spec)
            return MadeProgram(program=joint_program(model, captured, spec["loss"]), strict=strict)
    captured, strict = _captured(model, examples, call, spec)
    program, warnings = lower(captured, spec)
    return MadeProgram(program=program, strict=strict, warnings=warnings)


def _captured(
    model: nn.Module, examples: Examples, call: Call, spec: Mapping[str, Any]
) -> tuple[ExportedProgram, bool]:
    """Capture in the mode of the spec, and return the mode too; "auto" is non-strict, and strict where that fails.

    Only a failure of kind export is one that the other mode could mend: both have the same shapes and memory.
    """
    if spec["strict"] != "auto":
        return capture(model, examples, call, spec), spec["strict"]
    before = ModelState(model)
    try:
        return capture(model, examples, call, {**spec, "strict": False}), False
    except StageFailure as failure:
        if failure.kind is not Kind.EXPORT:
            raise
        before.restore()  # a capture that was cut off may leave tensors without values in attributes
        try:
            return capture(model, examples, call, {**spec, "strict": True}), True
        except StageFailure as other:
            failure.message += f"; with strict = true: {other.message}"
            raise failure from other
