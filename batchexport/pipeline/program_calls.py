"""Make the calls of the reference of the exported program, and say which bound to write where it refuses its shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from batchexport.core.dims import Dim
from batchexport.pipeline import inputs as example
from batchexport.pipeline.compare import Outcome, make_call
from batchexport.pipeline.failure import Kind, StageFailure, classified
from batchexport.pipeline.reference import equal_leaves, where

Point = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCalls:
    """The calls of one export. `capture_again` captures the model with other words in the spec's export options."""

    program: ExportedProgram
    calls: Sequence[dict[str, Any]]
    spec: Mapping[str, Any]
    root: str
    capture_again: Callable[[Mapping[str, Any]], ExportedProgram]

    def make(self) -> None:
        """Make all calls, and keep in each, as `exported`, what the program gives where it is not eager's to the bit.

        Verify compares that, as it knows the tolerances. Raises StageFailure of kind shapes or export.
        """
        run = self.program.module()
        for call in self.calls:
            try:
                outcome = make_call(run, call, self.spec["seed"])
            except Exception as error:
                raise self._refusal(call["point"], error) from error
            call["exported"] = None if _is_eager(outcome, call) else _packed(outcome)

    def _refusal(self, point: Point, error: Exception) -> StageFailure:
        first = self.calls[0]["point"]
        if point == first:
            return classified(error, Kind.EXPORT, f"running the exported program at {where(point)}")
        bounds = [bound for name in point if (bound := self._bound(name, point, first)) is not None]
        remedies = [f"write {' and '.join(bounds)} in [entry.dims]"] if bounds else []
        if self._deferred_helps(point):
            remedies.append("set `prefer_deferred_runtime_asserts = true` in [entry.export]")
        doing = f"the exported program refuses {where(point)}, which the manifest allows"
        return classified(error, Kind.SHAPES, doing, ", or ".join(remedies) or "narrow the range of a dim")

    def _bound(self, name: str, point: Point, first: Point) -> str | None:
        """Return the bound of a dim that must move, where that dim alone makes the program refuse `point`."""
        value, good = point[name], first[name]
        if value == good or self._holds({**first, name: value}):
            return None
        step = Dim(name=name, **self.spec["dims"][name]).multiple_of
        refused, held = value, good
        while abs(held - refused) > step:  # the range that holds is taken to be without gaps
            middle = refused + (held - refused) // (2 * step) * step
            if middle == refused:
                break
            refused, held = (refused, middle) if self._holds({**first, name: middle}) else (middle, held)
        return f"`{'min' if value < good else 'max'} = {held}` for {name}"

    def _holds(self, point: Point) -> bool:
        return _runs(self.program, example.make(self.spec, point, self.root))

    def _deferred_helps(self, point: Point) -> bool:
        if self.spec["prefer_deferred_runtime_asserts"]:
            return False
        try:
            program = self.capture_again({**self.spec, "prefer_deferred_runtime_asserts": True})
        except Exception:  # the failure that is being explained is the one to tell
            return False
        return _runs(program, example.make(self.spec, point, self.root))


def _runs(program: ExportedProgram, given: Mapping[str, Any]) -> bool:
    try:
        with torch.no_grad():
            program.module()(**given)
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
