"""The export stage: build, capture, lower, check and save, and keep eager's outputs for verify."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from batchexport.core.dims import Dim, corners
from batchexport.pipeline.build import build, seed_everything
from batchexport.pipeline.call_form import Call
from batchexport.pipeline.confirm import confirmed_remedy
from batchexport.pipeline.dynamic_shapes import fixed_dims
from batchexport.pipeline.export_warnings import random_operators, recorded_warnings
from batchexport.pipeline.failure import Kind, StageFailure, failing_as, of_type
from batchexport.pipeline.identity import concrete_program_digest, graph_nodes, program_digest, state_ids
from batchexport.pipeline.inputs import Examples, packed
from batchexport.pipeline.joint import gradient_names, returning_gradients
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.model_structure import first_party_modules, structure_digest
from batchexport.pipeline.needed_modules import container_modules, operator_modules
from batchexport.pipeline.operators import user_rules
from batchexport.pipeline.program import make_program
from batchexport.pipeline.program_calls import ProgramCalls
from batchexport.pipeline.reference import eager_calls
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
    try:
        return _export(model, task, folder, clock)
    except StageFailure as failure:
        if failure.changes is not None and clock.seconds() < _PATIENCE:
            attempt = partial(_try_export, model, task["root"], task["samples"])
            failure.remedy = confirmed_remedy(failure, task["spec"], attempt)
        raise


def _export(model: nn.Module, task: Mapping[str, Any], folder: str, clock: _Clock) -> dict[str, Any]:
    spec, root = task["spec"], task["root"]
    user_rules(spec)  # so that their modules are among those that the structure digest covers
    dims = _dims(spec)
    points = _points(dims, task["samples"])
    examples = Examples.of(model, spec, root, points[0])
    example, nodes = examples.call(points[0]), examples.nodes()
    # Verify makes the same calls of the artifact in this order, from the state that the model has now.
    with returning_gradients(model, spec["loss"]):
        calls = eager_calls(model, examples, points, least=LEAST_CALLS if task["samples"] == "corners" else 1)
    clock.lap("eager")
    reference = {"seed": spec["seed"], "calls": calls, "refused": _refused_call(examples, dims, points[0])}
    call, archive, base = examples.form.to_json(), os.path.join(folder, ARCHIVE), task.get("base")
    ids = new_ids(model, base) if base else None
    clock.lap("identity")
    if base and ids is not None and (written := swap_weights(model, base, Path(folder))).archive:
        _save_reference({**reference, "dtypes": base["stats"]["dtypes"]}, folder)
        clock.lap("save")
        kept = {name: base[name] for name in ("program", "skeleton", "modules", "likeness", "warnings")}
        about = {"state": ids, "call": call, "stats": {**base["stats"], "seconds": clock.laps}}
        return {**kept, **about, "reweighed": True, "packed": written.packed}
    alike = None if spec["strict"] is True else structure_digest(model, first_party_modules())
    clock.lap("identity")
    seed_everything(int(spec["seed"]))  # whatever the eager calls drew
    with recorded_warnings() as warnings:
        made = make_program(model, examples, example, spec)
    program = made.program
    if made.strict:  # Dynamo may branch on anything in a model, so that no structure digest is enough
        alike = None
    warnings += [*made.warnings, *random_operators(program)]
    warnings += [
        f"torch has fixed the dim {name} at {size}, and the artifacts hold for that size only: give it a range in "
        "[entry.dims] to learn why"
        for name, size in (fixed_dims(program, nodes, example, spec["dims"]) if nodes else {}).items()
    ]
    _forget_positions(program)
    check(model, program)
    clock.lap("capture")
    _save(program, spec, root, archive)
    clock.lap("save")
    ids, digest = state_ids(program), program_digest(program)
    skeleton = concrete_program_digest(program)
    clock.lap("identity")
    # Last, as a call changes the buffers that the program shares with the model.
    again = partial(_program, model, examples, example)
    ProgramCalls(program=program, calls=calls, examples=examples, capture_again=again).make()
    clock.lap("run")
    found = {**stats(program), "strict": made.strict, "gradients": gradient_names(program)}
    _save_reference({**reference, "dtypes": found["dtypes"]}, folder)
    clock.lap("save")
    return {
        "program": digest,
        "skeleton": skeleton,
        "state": ids,
        "modules": sorted({*spec["imports"], *container_modules(program), *operator_modules(program, spec["model"])}),
        "call": call,
        "likeness": alike,
        "reweighed": False,
        "packed": None,
        "warnings": warnings,
        "stats": {**found, "seconds": clock.laps},
    }


def _try_export(model: nn.Module, root: str, samples: str, spec: Mapping[str, Any]) -> None:
    """Call and capture a model that was built already, and leave nothing. Raises StageFailure."""
    points = _points(_dims(spec), samples)
    examples = Examples.of(model, spec, root, points[0])
    with restored(model):
        with returning_gradients(model, spec["loss"]):
            calls = eager_calls(model, examples, points, least=1)
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


def _save_reference(reference: Mapping[str, Any], folder: str) -> None:
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


def _refused_call(examples: Examples, dims: Mapping[str, Dim], point: Mapping[str, int]) -> dict[str, Any] | None:
    """Return a call outside the ranges: the first bounded dim, one step above its maximum."""
    for name, dim in dims.items():
        if not dim.auto and dim.max is not None:
            beyond = dim.max // dim.multiple_of * dim.multiple_of + dim.multiple_of
            moved = {**point, name: beyond}
            return {"point": moved, "inputs": packed(examples.call(moved))}
    return None


def _forget_positions(program: ExportedProgram) -> None:
    """Drop file names, line numbers and addresses, so that equal models give equal archives.

    Strict capture names the modules that a node lies in by their addresses.
    """
    numbers: dict[str, str] = {}
    for node in graph_nodes(program):
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                numbers.setdefault(key, str(len(numbers))) if key.isdecimal() else key: place
                for key, place in stack.items()
            }
        for key in ("stack_trace", "source_fn_stack", "from_node"):
            node.meta.pop(key, None)


def check(model: nn.Module, program: ExportedProgram) -> None:
    """Check that torch's verifier passes, that the state has the model's names, and that keys can cover it.

    Raises StageFailure of kind export.
    """
    with failing_as(Kind.EXPORT, "torch's verifier"):
        program.validate()  # type: ignore[no-untyped-call]
    extra = sorted(set(program.state_dict) - set(model.state_dict(keep_vars=True)))
    named = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    extra = [name for name in extra if name not in named]
    if extra:
        raise StageFailure(Kind.EXPORT, f"the exported program has the tensor {extra[0]!r}, which the model has not")
    for value in program.constants.values():
        if not isinstance(value, torch.Tensor | torch.ScriptObject):
            remedy = "draw from torch's global generator" if isinstance(value, torch.Generator) else None
            message = f"the exported program holds {of_type(value)} of the model, which torch stores in no stable form"
            raise StageFailure(Kind.EXPORT, message, remedy)


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
