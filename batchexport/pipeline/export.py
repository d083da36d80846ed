"""The export stage: build, capture, lower, check and save, and keep eager's outputs for verify."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from batchexport.core.dims import Dim, corners
from batchexport.pipeline.auto_dims import KeptDims, kept_dims
from batchexport.pipeline.build import build, seed_everything
from batchexport.pipeline.call_form import Call
from batchexport.pipeline.check import check, forget_positions
from batchexport.pipeline.confirm import confirmed_changes, remedy_with
from batchexport.pipeline.dynamic_shapes import auto_spans, fixed_dims
from batchexport.pipeline.export_warnings import random_operators, recorded_warnings
from batchexport.pipeline.failure import Kind, StageFailure, failing_as
from batchexport.pipeline.identity import concrete_program_digest, graph_nodes, program_digest, state_ids
from batchexport.pipeline.inputs import Examples, packed
from batchexport.pipeline.joint import gradient_names, returning_gradients
from batchexport.pipeline.library_models import is_transformer
from batchexport.pipeline.manifest_lines import edits
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.model_structure import first_party_modules, structure_digest
from batchexport.pipeline.needed_modules import container_modules, operator_modules
from batchexport.pipeline.operators import user_rules
from batchexport.pipeline.program import make_program
from batchexport.pipeline.program_calls import ProgramCalls, runs
from batchexport.pipeline.reference import eager_calls
from batchexport.pipeline.transformer_export import export_transformer
from batchexport.pipeline.weight_swap import ARCHIVE, new_ids, swap_weights

REFERENCE = "reference.pt"
_PATIENCE = 60.0  # seconds that an export may take whose remedies are tried
LEAST_CALLS = 2  # of a static shape, as a dim with a range has as many corners


def export_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Leave `exported.pt2` and `reference.pt` in `folder`; return digests, state ids and stats.

    `task` holds spec (the export spec), entry (its name, for remedies), root, samples (`"corners"` or `"example"`) and
    base: None, or the result of an export that differs in its weights only, with its compiled code. New weights are
    then packed around that code too, as `compiled.pt2`, and `packed` holds the seconds it took. Raises StageFailure.
    """
    clock = _Clock()
    model = build(task["spec"], task["root"], task.get("entry", ""))
    clock.lap("build")

    attempt = partial(_try_export, model, task["root"], task["samples"])

    def export(spec: Mapping[str, Any]) -> dict[str, Any]:
        examples = Examples.of(model, spec, task["root"])
        try:
            return _export(model, examples, task, folder, clock)
        except StageFailure as failure:
            is_quick = clock.seconds() < _PATIENCE
            if not is_quick:
                failure.draft = None
            _confirm(failure, examples.spec, attempt if is_quick else None)
            raise

    if is_transformer(task["spec"]):
        return export_transformer(model, task["spec"], task["root"], export, attempt)
    return export(task["spec"])


def _confirm(
    failure: StageFailure, spec: Mapping[str, Any], attempt: Callable[[Mapping[str, Any]], None] | None
) -> None:
    """Complete the remedy of a failure, and add it as data unless it was tried and does not help.

    Without `attempt`, which exports as another spec says, it is not tried; the next run does that.
    """
    changes = failure.changes
    if changes is not None and attempt is not None:
        changes = confirmed_changes(changes, spec, attempt)
    if changes is not None:
        failure.remedy = remedy_with(failure, changes, spec)
        failure.fix = edits(changes, spec)


def _export(
    model: nn.Module, examples: Examples, task: Mapping[str, Any], folder: str, clock: _Clock
) -> dict[str, Any]:
    spec, root = examples.spec, task["root"]
    user_rules(spec)  # so that their modules are among those that the structure digest covers
    dims = _dims(spec)
    base, is_at_corners = task.get("base"), task["samples"] == "corners"
    kept = KeptDims(**base["auto"]) if base and base["auto"] else KeptDims(points=_points(dims, task["samples"]))
    example, nodes = examples.call(kept.points[0]), examples.nodes()
    # Verify makes the same calls of the artifact in this order, from the state that the model has now.
    eager = partial(_eager_calls, model, examples, least=LEAST_CALLS if is_at_corners else 1)
    calls = eager([*kept.points, *examples.additional_points()])
    clock.lap("eager")
    call, archive = examples.form.to_json(), os.path.join(folder, ARCHIVE)
    ids = new_ids(model, base) if base else None
    clock.lap("identity")
    if base and ids is not None and (written := swap_weights(model, base, Path(folder))).archive:
        _save_reference(folder, examples, calls, _refused_call(examples, dims, kept), base["stats"]["dtypes"])
        clock.lap("save")
        same = {name: base[name] for name in ("program", "skeleton", "modules", "likeness", "warnings", "auto")}
        about = {"state": ids, "call": call, "stats": {**base["stats"], "seconds": clock.laps}}
        return {**same, **about, "reweighed": True, "packed": written.packed}
    alike = None if spec["strict"] is True else structure_digest(model, first_party_modules())
    clock.lap("identity")
    seed_everything(int(spec["seed"]))  # whatever the eager calls drew
    has_autos = is_at_corners and any(dim.auto for dim in dims.values())
    # What a capture leaves in a model would be in the way of further eager calls.
    with restored(model) if has_autos else nullcontext():
        with recorded_warnings() as warnings:
            made = make_program(model, examples, example, spec)
        program = made.program
        fixed = fixed_dims(program, nodes, example, spec["dims"]) if nodes else {}
        if nodes and has_autos:
            run, spans = program.module(), auto_spans(program, nodes, example, spec["dims"])
            kept = kept_dims(dims.values(), spans, fixed, lambda point: runs(run, examples.call(point)))
    warnings += [*made.warnings, *random_operators(program)]
    warnings += [
        f"torch has fixed the dim {name} at {size}, and the artifacts hold for that size only: give it a range in "
        "[entry.dims] to learn why"
        for name, size in fixed.items()
    ]
    warnings += kept.notes
    forget_positions(program)
    check(model, program)
    clock.lap("capture")
    _save(program, spec, root, archive)
    clock.lap("save")
    ids, digest = state_ids(program), program_digest(program)
    skeleton = concrete_program_digest(program)
    clock.lap("identity")
    if has_autos:
        calls = eager([*kept.points, *examples.additional_points()])
    clock.lap("eager")
    # Last, as a call changes the buffers that the program shares with the model.
    again = partial(_program, model, examples, example)
    ProgramCalls(program=program, calls=calls, examples=examples, capture_again=again).make()
    clock.lap("run")
    found = {**stats(program), "strict": made.strict, "gradients": gradient_names(program)}
    _save_reference(folder, examples, calls, _refused_call(examples, dims, kept), found["dtypes"])
    clock.lap("save")
    return {
        "program": digest,
        "skeleton": skeleton,
        "state": ids,
        "modules": sorted({*spec["imports"], *container_modules(program), *operator_modules(program, spec["model"])}),
        "call": call,
        # Dynamo may branch on anything in a model, so that no structure digest is enough.
        "likeness": None if made.strict else alike,
        "auto": kept.to_json() if has_autos else None,
        "reweighed": False,
        "packed": None,
        "warnings": warnings,
        "stats": {**found, "seconds": clock.laps},
    }


def _eager_calls(
    model: nn.Module, examples: Examples, points: Sequence[Mapping[str, int]], least: int
) -> list[dict[str, Any]]:
    with returning_gradients(model, examples.spec["loss"]):
        return eager_calls(model, examples, points, least=least)


def _try_export(model: nn.Module, root: str, samples: str, spec: Mapping[str, Any]) -> None:
    """Call and capture a model that was built already, and leave nothing. Raises StageFailure."""
    points = _points(_dims(spec), samples)
    examples = Examples.of(model, spec, root)
    with restored(model):
        calls = _eager_calls(model, examples, [*points, *examples.additional_points()], least=1)
        seed_everything(int(spec["seed"]))
        again = partial(_program, model, examples, examples.call(points[0]))
        ProgramCalls(program=again(spec), calls=calls, examples=examples, capture_again=again).make()


def _dims(spec: Mapping[str, Any]) -> dict[str, Dim]:
    return {name: Dim(name=name, **dim) for name, dim in spec["dims"].items()}


def _points(dims: Mapping[str, Dim], samples: str) -> Sequence[Mapping[str, int]]:
    """Return the dim values to call at, the example first."""
    points = corners(tuple(dims.values()))
    return points if samples == "corners" else points[:1]


def _program(model: nn.Module, examples: Examples, call: Call, spec: Mapping[str, Any]) -> ExportedProgram:
    return make_program(model, examples, call, spec).program


def _save_reference(
    folder: str,
    examples: Examples,
    calls: Sequence[Mapping[str, Any]],
    refused: Mapping[str, Any] | None,
    dtypes: Any,
) -> None:
    reference = {"seed": examples.spec["seed"], "calls": calls, "refused": refused, "dtypes": dtypes}
    with failing_as(Kind.SAVE, "saving the reference outputs"):
        torch.save(reference, os.path.join(folder, REFERENCE))


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = self._started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 4)
        self._last = now


def _refused_call(examples: Examples, dims: Mapping[str, Dim], kept: KeptDims) -> dict[str, Any] | None:
    """Return a call outside the ranges: the first bounded dim, one step above its maximum."""
    for name, dim in dims.items():
        if dim.max is not None and (not dim.auto or name in kept.bounded):
            beyond = dim.max // dim.multiple_of * dim.multiple_of + dim.multiple_of
            moved = {**kept.points[0], name: beyond}
            return {"point": moved, "inputs": packed(examples.beyond(moved))}
    return None


def _save(program: ExportedProgram, spec: Mapping[str, Any], root: str, path: str) -> None:
    extra: dict[str, Any] = {}
    for name, source in spec["extra_files"].items():
        with (
            failing_as(Kind.SAVE, f"reading the extra file {source}"),
            open(os.path.join(root, source)) as file,
        ):
            extra[name] = file.read()
    with failing_as(Kind.SAVE, "torch.export.save"):  # a full disk has a kind and a remedy of its own
        torch.export.save(program, path, extra_files=extra)


def stats(program: ExportedProgram) -> dict[str, Any]:
    """Return op count and set, floating-point dtypes, and parameter and buffer bytes."""
    ops = Counter(str(node.target) for node in graph_nodes(program) if node.op == "call_function")
    parameters = set(program.graph_signature.parameters)
    sizes = {True: 0, False: 0}
    storages: set[int] = set()
    for name, tensor in program.state_dict.items():
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in storages:
            sizes[name in parameters] += tensor.numel() * tensor.element_size()
        storages.add(pointer)
    values = [leaf for node in graph_nodes(program) for leaf in pytree.tree_leaves(node.meta.get("val"))]
    floats = {leaf.dtype for leaf in values if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()}
    return {
        "op_count": sum(ops.values()),
        "ops": dict(sorted(ops.items())),
        "dtypes": sorted(str(dtype).removeprefix("torch.") for dtype in floats),
        "parameter_bytes": sizes[True],
        "buffer_bytes": sizes[False],
    }
