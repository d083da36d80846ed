"""Make the program of a spec: capture the model, and lower what was captured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from batchexport.pipeline.call_form import Call
from batchexport.pipeline.capture import capture
from batchexport.pipeline.inputs import Examples
from batchexport.pipeline.lower import lower


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProgram:
    """A program, and lines for the report about how it was made."""

    program: ExportedProgram
    warnings: Sequence[str] = ()


def make_program(model: nn.Module, examples: Examples, call: Call, spec: Mapping[str, Any]) -> MadeProgram:
    """Capture `model` with `call` as the example, and lower it. Raises StageFailure of kind shapes, export or lower."""
    program, warnings = lower(capture(model, examples, call, spec), spec)
    return MadeProgram(program=program, warnings=warnings)
