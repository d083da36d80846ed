"""Call the model in eager mode as its users will, and keep what verify compares the artifacts with."""

from __future__ import annotations

import copy
import pickle
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.pipeline.bounds import narrower_bounds
from batchexport.pipeline.build import seed_everything
from batchexport.pipeline.caches import refuse_caches
from batchexport.pipeline.call_form import Call
from batchexport.pipeline.divergence import Step, first_difference, recorded
from batchexport.pipeline.failure import Kind, StageFailure, classified, failing_as, one_line
from batchexport.pipeline.inputs import ADDITIONAL, Examples, packed
from batchexport.pipeline.leaves import alike, equal_leaves, kept, unvaried_outputs
from batchexport.pipeline.load import leaf_names
from batchexport.pipeline.manifest_lines import what_to_write
from batchexport.pipeline.model_state import ModelState, restored
from batchexport.pipeline.refused_call import refused_example
from batchexport.pipeline.unknown_classes import refuse_unknown, refuse_unregistered, specs

# A call may change what the next one gives. AOTInductor goes wrong in the second to fourth call where it does.
CALLS = 4
# Factors for normally distributed inputs, tried where an output is the same at every call.
_FACTORS = (10.0, 100.0)


def eager_calls(
    model: nn.Module, examples: Examples, points: Sequence[Mapping[str, int]], *, least: int
) -> list[dict[str, Any]]:
    """Call `model` at each of these dim values in turn, and return the calls; the model is as it was afterwards.

    They are at least `least`, and four where a call changes tensors of the model or its inputs, with other inputs where
    a point comes again. A call is {point, inputs, outputs (leaves), structure (text), names (of the leaves),
    inputs_after (leaves, or None if they are unchanged), buffers (changed ones by name), loose (names of other tensors
    in attributes that changed), draws (whether torch's generator was used), exported (see `ProgramCalls.make`)}; for
    inputs see `inputs.packed`.

    Raises:
        StageFailure: of kind build or shapes if a call fails, export if the model keeps state that an export loses.
    """
    with restored(model) as state:
        eager = _Eager(model=model, examples=examples, points=points, state=state)
        calls = eager.calls(least)
        eager.refuse_hidden_state(calls[0])
        for factor in _FACTORS if unvaried_outputs(calls) else ():
            state.restore()
            with suppress(StageFailure):  # the model must work with the ordinary inputs only
                larger = eager.calls(least, factor)
                if len(unvaried_outputs(larger)) < len(unvaried_outputs(calls)):
                    calls = larger
    return calls


def _mutates(calls: Sequence[Mapping[str, Any]], state: ModelState) -> bool:
    return any(call["inputs_after"] is not None for call in calls) or bool(state.changed_tensors())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Eager:
    """A model that is called in eager mode at `points`; `state` is that in which it was built."""

    model: nn.Module
    examples: Examples
    points: Sequence[Mapping[str, int]]
    state: ModelState

    def calls(self, least: int, factor: float = 1.0) -> list[dict[str, Any]]:
        """Make the calls that `eager_calls` returns, with normally distributed inputs multiplied by `factor`."""
        calls: list[dict[str, Any]] = []
        while len(calls) < max(len(self.points), least):
            draw, at = divmod(len(calls), len(self.points))
            calls.append(self._call(self.points[at], Kind.SHAPES if at else Kind.BUILD, draw, factor))
            if len(calls) == len(self.points) and _mutates(calls, self.state):
                least = max(least, CALLS)
        return calls

    def _call(self, point: Mapping[str, int], kind: Kind, draw: int, factor: float) -> dict[str, Any]:
        """Make one call; a model that fails at the example is broken (`kind`), else it does not support its shapes."""
        given = self.examples.call(point, draw, factor)
        refuse_unregistered(pytree.tree_structure(given), Kind.INPUTS, "the inputs hold")
        used = copy.deepcopy(given)
        outputs = self._run(point, used, kind)
        leaves, structure = pytree.tree_flatten(outputs)
        refuse_caches([*map(type, leaves), *(spec.type for spec in specs(structure))], self.model, self.examples.spec)
        refuse_unknown(leaves, self._name)
        refuse_unregistered(structure, Kind.EXPORT, f"{self._name} returns")
        after = pytree.tree_leaves(used)
        if pytree.tree_structure(used) != pytree.tree_structure(given):
            message = f"{self._name} adds to its inputs or takes from them, and an exported program does not"
            raise StageFailure(Kind.EXPORT, message, "change a copy, or return what is new")
        changed = any(not equal_leaves(one, other) for one, other in zip(after, pytree.tree_leaves(given), strict=True))
        with failing_as(Kind.INPUTS, "keeping the inputs"):
            return {
                "point": dict(point),
                "inputs": packed(given),
                "outputs": [kept(leaf) for leaf in leaves],
                "structure": str(structure),
                "names": leaf_names(outputs),
                "inputs_after": [kept(leaf) for leaf in after] if changed else None,
                "buffers": {name: kept(tensor) for name, tensor in self.state.changed_buffers().items()},
                "draws": not torch.equal(torch.get_rng_state(), _state_after_seeding(self.examples.spec["seed"])),
                "exported": None,
                "loose": sorted(self.state.changed_loose_tensors()),
            }

    def refuse_hidden_state(self, first: Mapping[str, Any]) -> None:
        """Repeat the first call with the tensors that it had: whatever differs then is kept elsewhere.

        Raises StageFailure of kind export.
        """
        point = self.points[0]
        attributes = self.state.changed_attributes()
        self.state.restore_tensors()
        outputs = pytree.tree_leaves(self._run(point, self.examples.call(point), Kind.BUILD))
        if len(outputs) == len(first["outputs"]) and all(map(alike, outputs, first["outputs"])):
            return
        given = self.examples.call(point)
        place = self._first_difference(given, self.state.restore_tensors)
        if not attributes:
            raise StageFailure(
                Kind.EXPORT,
                f"{self._name} gives other outputs when it is called again with the same inputs and seed{place}",
                "take randomness from torch's global generator, and keep state in buffers",
            )
        raise self._kept_in(attributes, f"called again with the same inputs, it gives other outputs{place}")

    @property
    def _name(self) -> str:
        return type(self.model).__name__

    def _run(self, point: Mapping[str, int], given: Call, kind: Kind) -> Any:
        """Call the model with these inputs under the seed. Raises StageFailure of `kind`."""
        seed = int(self.examples.spec["seed"])
        seed_everything(seed)
        before = _generators()
        try:
            with torch.no_grad():
                outputs = _called(self.model, given)
        except StageFailure:
            raise
        except (Exception, SystemExit) as error:
            if kind is Kind.SHAPES:
                raise self._refused_point(point, error) from error
            raise refused_example(
                error,
                f"running the model in eager mode at {where(point)}",
                model=self.model,
                call=given,
                point=point,
                spec=self.examples.spec,
                holds=self._holds,
            ) from error
        for name, state in _generators().items():
            if state != before.get(name, state):
                place = self._first_difference(given, partial(seed_everything, seed + 1, of_torch=seed))
                raise StageFailure(
                    Kind.EXPORT,
                    f"{self._name} draws from {name} when it is called, and an exported program would hold one draw "
                    f"for good{place}",
                    "draw with torch.rand and the like, or take the number as an input",
                )
        return outputs

    def _holds(self, point: Mapping[str, int]) -> bool:
        """Return whether the model as it was built takes the sizes of a point."""
        self.state.restore()
        try:
            with torch.no_grad():
                _called(self.model, self.examples.call(point))
        except (Exception, SystemExit):
            return False
        return True

    def _refused_point(self, point: Mapping[str, int], error: BaseException) -> StageFailure:
        """Return why a call failed after that of the example: the state that earlier calls left, or its sizes."""
        attributes, tensors = self.state.changed_attributes(), sorted(self.state.changed_tensors())
        doing = f"running the model in eager mode at {where(point)}"
        if ADDITIONAL in point and not self._holds(point):
            return classified(error, Kind.SHAPES, doing)
        if not self._holds(point):
            changes = narrower_bounds(point, self.points[0], self.examples.spec["dims"], self._holds)
            failure = classified(error, Kind.SHAPES, doing, what_to_write(changes, self.examples.spec))
            failure.changes = changes
            return failure
        after = f"a call at {where(point)} fails after one at {where(self.points[0])}, and not as the first one"
        if attributes:
            return self._kept_in(attributes, f"{after} ({one_line(error)})")
        remedy = f"let {' and '.join(tensors)} fit all sizes" if tensors else "keep no state between calls"
        return classified(error, Kind.SHAPES, f"{after}: {doing}", remedy)

    def _kept_in(self, attributes: Sequence[str], sign: str) -> StageFailure:
        more = f" (and {len(attributes) - 1} more)" if len(attributes) > 1 else ""
        return StageFailure(
            Kind.EXPORT,
            f"{self._name} keeps state in the attribute {attributes[0]!r}{more}, which an exported program does not "
            f"have: {sign}",
            "keep it in a buffer (self.register_buffer, then change it in place), or take it as an input and return it",
        )

    def _first_difference(self, given: Call, between: Callable[[], Any]) -> str:
        """Call the model twice, after `between` the second time; say which operator gives another result first."""
        seed = int(self.examples.spec["seed"])

        def steps(prepare: Callable[[], Any]) -> list[Step]:
            seed_everything(seed)
            prepare()
            used = copy.deepcopy(given)
            with torch.no_grad():
                return recorded(lambda: _called(self.model, used))

        try:
            found = first_difference(steps(self.state.restore), steps(between))
        except Exception:  # the failure that is being explained is the one to tell
            return ""
        return f"; {found} is the first operator to give another result" if found else ""


def _called(model: nn.Module, call: Call) -> Any:
    """Call the model as it is written: what `torch.compile` made of a function would take minutes to compile."""
    args, kwargs = call
    with torch.compiler.set_stance("force_eager"):
        return model(*args, **kwargs)


def _state_after_seeding(seed: int) -> torch.Tensor:
    return torch.Generator().manual_seed(int(seed)).get_state()


def _generators() -> dict[str, object]:
    """Return the states of the global generators that torch.export does not know, by name."""
    states: dict[str, object] = {"Python's random": random.getstate()}
    if "numpy" in sys.modules:  # as bytes: printing the array takes longer than a small model
        states["numpy.random"] = pickle.dumps(sys.modules["numpy"].random.get_state(legacy=False)["state"])
    return states


def where(point: Mapping[str, int]) -> str:
    """Return dim values as text."""
    if ADDITIONAL in point:
        return f"{ADDITIONAL}[{point[ADDITIONAL]}]"
    return ", ".join(f"{name}={value}" for name, value in point.items()) or "the example"
