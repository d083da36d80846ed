"""Suggest inputs and dims for a model that has no entry yet: guess inputs, call it, and export it with free sizes."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sympy
import torch
from torch import nn
from torch.export import ExportedProgram

from batchexport.core.dims import Dim, round_up
from batchexport.core.sizes import Affine
from batchexport.pipeline.build import attribute, build
from batchexport.pipeline.capture import capture
from batchexport.pipeline.failure import Kind, StageFailure, one_line
from batchexport.pipeline.function_model import open_parameters
from batchexport.pipeline.inputs import Examples
from batchexport.pipeline.likely_inputs import EXAMPLES, Node, likely_inputs
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.signature_inputs import derived, toml, wants_inputs

_TRIES, _SECONDS = 300, 30.0
_REFUSAL = 160  # characters of what the model says of the likeliest inputs
_ROUNDS = 4  # of captures with narrower dims; the last leaves them to torch
_MAXIMUM = {"batch": 16, "seq": 64}  # verify calls the model there, so it is no size that takes long
_OPEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def suggest_stage(task: Mapping[str, Any], _folder: str) -> dict[str, Any]:
    """Return lines for [entry.inputs] and [entry.dims] with which the model of `spec` can be exported.

    `given` holds the inputs that the user has named. No lines are needed for models of transformers. Raises
    StageFailure; one of kind inputs lists in `findings` the parameters that have to be given.
    """
    root: str = task["root"]
    model, spec = _built(task["spec"], root)
    if wants_inputs(spec):
        return {"inputs": [], "dims": [], "derived": list(derived(model, spec, root).lines)}
    nodes = _accepted(model, spec, root, task["given"])
    free = {
        name: {**node, "shape": [f"{name}_{axis}" for axis in range(len(node["shape"]))]}
        for name, node in nodes.items()
        if "shape" in node
    }
    static = _static(nodes)
    sizes = {f"{name}_{axis}": size for name in free for axis, size in enumerate(static[name]["shape"])}
    every = {name: Dim(name=name, example=size, auto=True) for name, size in sizes.items() if size > 1}
    fixed = _fill(free, {name: size for name, size in sizes.items() if size <= 1})
    try:
        program = _captured(model, _with_inputs(spec, {**nodes, **fixed}, every), root)
    except StageFailure:
        return _lines(static, {})  # what it fails with is told by the run
    found, dims = _kept(program, nodes)
    for _ in range(_ROUNDS):
        try:
            _captured(model, _with_inputs(spec, found, dims), root)
        except StageFailure as failure:
            dims = _narrower(dims, failure)
        else:
            return _lines(found, dims)
    return _lines(static, {})


def _narrower(dims: Mapping[str, Dim], failure: StageFailure) -> dict[str, Dim]:
    """Return the dims with the sizes that a failed capture tells, or else left to torch."""
    changes = failure.changes
    if changes is None or changes.replaced or not changes.sizes.keys() & dims.keys():
        return {name: replace(dim, auto=True, multiple_of=1) for name, dim in dims.items()}
    found = dict(dims)
    for name, sizes in changes.sizes.items():
        if name in dims:
            example = max(round_up(dims[name].example, sizes.step), sizes.first)
            found[name] = replace(
                dims[name],
                min=sizes.first,
                max=sizes.last,
                multiple_of=sizes.step,
                example=min(example, sizes.last or example),
            )
    return found


def _built(spec: Mapping[str, Any], root: str) -> tuple[nn.Module, Mapping[str, Any]]:
    """Return the model, and the spec with inputs for a function that is itself the model."""
    try:
        return build(spec, root), spec
    except StageFailure as failure:
        names = _open_names(spec)
        if failure.kind is not Kind.BUILD or not names:
            raise
        spec = {**spec, "inputs": {name: {"value": None} for name in names}}
        return build(spec, root), spec


def _open_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a function that may be the model; none of anything else."""
    try:
        called = attribute(spec["model"])
    except (StageFailure, ValueError):
        return []
    if not callable(called) or isinstance(called, type | nn.Module):
        return []
    found = open_parameters(called, spec["args"], spec["kwargs"]) or []
    return [one.name for one in found if one.default is one.empty and one.kind in _OPEN]


def _accepted(model: nn.Module, spec: Mapping[str, Any], root: str, given: Mapping[str, Node]) -> dict[str, Node]:
    """Return the first inputs that the model can be called with."""
    parameters = inspect.signature(model.forward).parameters
    taken = [
        one for one in parameters.values() if one.kind in _OPEN and (one.default is one.empty or one.name in given)
    ]
    if unknown := sorted(given.keys() - parameters.keys()):
        remedy = f"it takes {', '.join(parameters)}"
        raise StageFailure(Kind.INPUTS, f"{type(model).__name__} takes no input {unknown[0]}", remedy)
    choices = {one.name: [given[one.name]] if one.name in given else likely_inputs(one, model) for one in taken}
    refusal: Exception | None = None
    ends = time.monotonic() + _SECONDS
    for nodes in itertools.islice(_best_first(choices), _TRIES):
        try:
            with restored(model):
                _call(model, _with_inputs(spec, nodes, _dims(nodes)), root)
        except Exception as error:
            refusal = refusal or error
        else:
            return nodes
        if time.monotonic() > ends:
            break
    if not taken:
        raise StageFailure(
            Kind.INPUTS, f"the parameters of {type(model).__name__} have no names", "write an entry by hand"
        )
    names = [one.name for one in taken]
    why = f"; the likeliest was refused: {one_line(refusal)[:_REFUSAL]}" if refusal else ""
    message = f"{type(model).__name__} takes {', '.join(names)}, and no guess at its inputs fits{why}"
    failure = StageFailure(
        Kind.INPUTS, message, f"name each input: --input {names[0]}=batch,16 or {names[0]}=batch,seq:int64"
    )
    failure.findings = names
    raise failure


def _best_first(choices: Mapping[str, Sequence[Node]]) -> Iterator[dict[str, Node]]:
    """Yield combinations, those of likely inputs first."""
    ranks = itertools.product(*(range(len(nodes)) for nodes in choices.values()))
    some = itertools.islice(ranks, 20 * _TRIES)
    for picked in sorted(some, key=lambda ranks: (sum(ranks), ranks)):
        yield {name: nodes[rank] for (name, nodes), rank in zip(choices.items(), picked, strict=True)}


def _fill(nodes: Mapping[str, Node], sizes: Mapping[Any, int]) -> dict[str, Node]:
    """Return nodes with numbers in the place of some dims."""
    return {
        name: {**node, "shape": [sizes.get(size, size) for size in node["shape"]]} if "shape" in node else dict(node)
        for name, node in nodes.items()
    }


def _static(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Return nodes without dims, each of its example."""
    return _fill(nodes, {name: dim.example for name, dim in _dims(nodes).items()})


def _dims(nodes: Mapping[str, Node]) -> dict[str, Dim]:
    used = {size for node in nodes.values() for size in node.get("shape", ()) if isinstance(size, str)}
    return {name: Dim(name=name, example=EXAMPLES.get(name, 6)) for name in sorted(used)}


def _with_inputs(spec: Mapping[str, Any], nodes: Mapping[str, Node], dims: Mapping[str, Dim]) -> dict[str, Any]:
    inputs = {name: {"tensor": node} if "shape" in node else {"value": node["value"]} for name, node in nodes.items()}
    return {**spec, "inputs": inputs, "dims": {name: dim.to_json() for name, dim in dims.items()}}


def _examples(model: nn.Module, spec: Mapping[str, Any], root: str) -> tuple[Examples, Any]:
    examples = Examples.of(model, spec, root)
    return examples, examples.call({name: dim["example"] for name, dim in spec["dims"].items()})


def _call(model: nn.Module, spec: Mapping[str, Any], root: str) -> None:
    args, kwargs = _examples(model, spec, root)[1]
    with torch.no_grad():
        model(*args, **kwargs)


def _captured(model: nn.Module, spec: Mapping[str, Any], root: str) -> ExportedProgram:
    with restored(model):
        return capture(model, *_examples(model, spec, root), spec)


def _kept(program: ExportedProgram, nodes: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, Dim]]:
    """Return the inputs with a dim wherever torch has kept a size free, and the dims."""
    values = {one.name: one.meta["val"] for one in program.graph.nodes if one.op == "placeholder"}
    names: dict[sympy.Symbol, str] = {}
    dims: dict[str, Dim] = {}
    found: dict[str, Node] = {}
    for name, node in nodes.items():
        shape = list(_static({name: node})[name].get("shape", ()))
        for axis, size in enumerate(getattr(values.get(name), "shape", ())):
            expression = size.node.expr if isinstance(size, torch.SymInt) else None
            wanted = node["shape"][axis]
            if not isinstance(expression, sympy.Symbol) or not isinstance(wanted, str):
                continue  # a number is the width of a layer, or as good as one
            if expression not in names:
                names[expression] = wanted if wanted not in dims else f"{name}_{axis}"
                dims[names[expression]] = _dim(
                    names[expression], shape[axis], program.range_constraints.get(expression)
                )
            shape[axis] = names[expression]
        found[name] = {**node, "shape": shape} if "shape" in node else dict(node)
    return _with_sizes_of_others(found, nodes, values, names), dims


def _with_sizes_of_others(
    found: Mapping[str, Node], nodes: Mapping[str, Node], values: Mapping[str, Any], names: Mapping[sympy.Symbol, str]
) -> dict[str, Node]:
    """Return inputs whose sizes that follow from a dim are written so: `"2*batch + 1"`."""
    for name, node in found.items():
        for axis, size in enumerate(getattr(values.get(name), "shape", ())):
            expression = size.node.expr if isinstance(size, torch.SymInt) else None
            if expression is None or isinstance(expression, sympy.Symbol) or len(expression.free_symbols) != 1:
                continue
            (symbol,) = expression.free_symbols
            slope = expression.coeff(symbol)
            rest = expression - slope * symbol
            if symbol in names and slope.is_Integer and rest.is_Integer and slope > 0:
                node["shape"][axis] = str(Affine(coefficient=int(slope), name=names[symbol], offset=int(rest)))
    return dict(found)


def _dim(name: str, example: int, span: Any) -> Dim:
    """Return a dim of the sizes that are likely to be wanted, within those that torch keeps."""
    low, high = (span.lower, span.upper) if span is not None else (2, sympy.oo)
    least = int(low) if low > 2 else 1
    most = _MAXIMUM.get(name, max(2 * example, least + 1))
    return Dim(name=name, min=least, max=int(min(most, high)), example=example)


def _lines(nodes: Mapping[str, Node], dims: Mapping[str, Dim]) -> dict[str, Any]:
    inputs = [f"{name} = {toml(node) if 'shape' in node else _scalar(node['value'])}" for name, node in nodes.items()]
    return {"inputs": inputs, "dims": [_range(dim) for dim in dims.values()], "derived": []}


def _range(dim: Dim) -> str:
    """Return a dim as [entry.dims] has it."""
    last = "" if dim.max is None else f", max = {dim.max}"
    steps = f", multiple_of = {dim.multiple_of}" if dim.multiple_of > 1 else ""
    return f"{dim.name} = {{ min = {dim.min}{last}, example = {dim.example}{steps}{', auto = true' * dim.auto} }}"


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
