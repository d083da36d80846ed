"""Make the calls of the reference of the exported program, and say which bound to write where it refuses its shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from batchexport.pipeline.bounds import Point, narrower_bounds
from batchexport.pipeline.call_form import Call
from batchexport.pipeline.compare import Outcome, make_call
from batchexport.pipeline.failure import Kind, StageFailure, classified
from batchexport.pipeline.inputs import ADDITIONAL, Examples
from batchexport.pipeline.leaves import equal_leaves
from batchexport.pipeline.manifest_lines import what_to_write
from batchexport.pipeline.reference import where


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCalls:
    """The calls of one export. `capture_again` captures the model with other words in the spec's export options."""

    program: ExportedProgram
    calls: Sequence[dict[str, Any]]
    examples: Examples
    capture_again: Callable[[Mapping[str, Any]], ExportedProgram]

    def make(self) -> None:
        """Make all calls, and keep in each, as `exported`, what the program gives where it is not eager's to the bit.

        Verify compares that, as it knows the tolerances. Raises StageFailure of kind shapes or export.
        """
        run = self.program.module()
        for call in self.calls:
            try:
                outcome = make_call(run, call, self.examples.spec["seed"])
            except Exception as error:
                raise self._refusal(call["point"], error) from error
            call["exported"] = None if _is_eager(outcome, call) else _packed(outcome)

    def _refusal(self, point: Point, error: Exception) -> StageFailure:
        first = self.calls[0]["point"]
        if point == first:
            return classified(error, Kind.EXPORT, f"running the exported program at {where(point)}")
        spec = self.examples.spec
        changes = None if ADDITIONAL in point else narrower_bounds(point, first, spec["dims"], self._holds)
        written = None if changes is None else what_to_write(changes, spec)
        remedies = [written] if written else []
        deferred_helps = self._deferred_helps(point)
        if deferred_helps:
            remedies.append("set `prefer_deferred_runtime_asserts = true` in [entry.export]")
        doing = f"the exported program refuses {where(point)}, which the manifest allows"
        failure = classified(error, Kind.SHAPES, doing, ", or ".join(remedies) or self._last_resort(point))
        failure.message = failure.message.replace(".size()[", ".shape[")
        failure.changes = changes if written else None
        if deferred_helps and not written:
            failure.fix = [{"path": ["export", "prefer_deferred_runtime_asserts"], "value": True}]
        return failure

    def _last_resort(self, point: Point) -> str:
        return f"leave {where(point)} out" if ADDITIONAL in point else "narrow the range of a dim"

    def _holds(self, point: Point) -> bool:
        return runs(self.program.module(), self.examples.call(point))

    def _deferred_helps(self, point: Point) -> bool:
        if self.examples.spec["prefer_deferred_runtime_asserts"]:
            return False
        try:
            program = self.capture_again({**self.examples.spec, "prefer_deferred_runtime_asserts": True})
        except Exception:  # the failure that is being explained is the one to tell
            return False
        return runs(program.module(), self.examples.call(point))


def runs(run: Callable[..., Any], call: Call) -> bool:
    """Return whether a program takes these inputs."""
    args, kwargs = call
    try:
        with torch.no_grad():
            run(*args, **kwargs)
    except Exception:
        return False
    return True


def _is_eager(outcome: Outcome, call: Mapping[str, Any]) -> bool:
    after = call["inputs_after"] or call["inputs"]["leaves"]
    pairs = [(outcome.outputs, call["outputs"]), (outcome.inputs, after)]
    pairs.append(([*outcome.buffers.values()], [call["buffers"][name] for name in outcome.buffers]))
    return outcome.structure == call["structure"] and all(
        len(got) == len(want) and all(map(equal_leaves, got, want)) for got, want in pairs
    )


def _packed(outcome: Outcome) -> dict[str, Any]:
    return {
        "outputs": list(outcome.outputs),
        "structure": outcome.structure,
        "inputs": list(outcome.inputs),
        "buffers": dict(outcome.buffers),
    }
