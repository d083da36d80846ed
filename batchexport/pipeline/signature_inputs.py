"""Derive example inputs for a model of transformers from its own signature and configuration."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from batchexport.core.dims import Dim
from batchexport.pipeline.config_facts import ConfigFacts
from batchexport.pipeline.failure import Kind, StageFailure, one_line
from batchexport.pipeline.inputs import Examples
from batchexport.pipeline.library_models import is_transformer
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.signature_shapes import Node, known_inputs, likely_shape

BATCH, SEQ = "batch", "seq"
_EXAMPLES = {BATCH: 2, SEQ: 8}  # two equal ones could be taken for one dim
_TRIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """An export spec whose inputs were derived, and the lines of [entry.inputs] and [entry.dims] that give them."""

    spec: Mapping[str, Any]
    lines: tuple[str, ...]


def wants_inputs(spec: Mapping[str, Any]) -> bool:
    """Return whether the inputs of an export spec are to be derived: a model of transformers without any."""
    return is_transformer(spec) and not spec["inputs"]


def derived(model: nn.Module, spec: Mapping[str, Any], root: str) -> Derived:
    """Return the spec with the first inputs that the model takes; the dims that it does not bound are left to torch.

    A dim of one size in the spec is that number in the shapes. Raises StageFailure of kind inputs where no inputs can
    be derived.
    """
    parameters = inspect.signature(model.forward).parameters
    if _has_no_forward(model):
        own = [name for name, one in vars(type(model)).items() if name[0] != "_" and inspect.isfunction(one)]
        called = "generate" if hasattr(model, "generate") else next(iter(own), None)
        remedy = f'name what to call: write `method = "{called}"` in the entry' if called else None
        raise StageFailure(Kind.BUILD, f"{type(model).__name__} has no forward, so it can't be called", remedy)
    facts = ConfigFacts(config=model.config, positions=_EXAMPLES[SEQ])
    refusal: Exception | None = None
    for nodes in itertools.islice(_candidates(model, parameters, facts), _TRIES):
        found = _with_inputs(spec, nodes)
        try:
            with restored(model):
                _call(model, found, root)
        except Exception as error:
            refusal = refusal or error
            continue
        # Not a failure: [defaults.dims] is for every entry, whatever its inputs turn out to be.
        for name in spec["dims"]:
            if not _uses(nodes, name):
                sys.stdout.write(f"the dim {name} of the manifest is not in the inputs, {', '.join(nodes)}\n")
        lines = tuple(f"{name} = {toml(node)}" for name, node in nodes.items())
        sys.stdout.write(
            "inputs from the signature of the model:\n[entry.inputs]\n" + "".join(f"{one}\n" for one in lines)
        )
        return Derived(spec=found, lines=lines)
    raise _underivable(model, parameters, facts, refusal)


def _has_no_forward(model: nn.Module) -> bool:
    return getattr(model.forward, "__func__", None) is nn.Module.forward


def _candidates(
    model: nn.Module, parameters: Mapping[str, inspect.Parameter], facts: ConfigFacts
) -> Iterator[dict[str, Node]]:
    """Yield inputs that the model may take, the most complete first."""
    main = _main_input(model)
    choices = known_inputs(main, parameters, type(model).__name__, facts)
    for names in _selections(list(choices), main, parameters):
        for nodes in itertools.product(*(choices[name] for name in names)):
            yield dict(zip(names, nodes, strict=True))


def _selections(
    names: Sequence[str], main: str, parameters: Mapping[str, inspect.Parameter]
) -> Iterator[Sequence[str]]:
    """Yield all names, those without masks, and those that the model can't do without."""
    masks = [name for name in names if name.endswith("mask")]
    needed = [name for name in names if name == main or parameters[name].default is inspect.Parameter.empty]
    selections = [list(names), [name for name in names if name not in masks], needed]
    yield from (list(one) for one in dict.fromkeys(map(tuple, selections)) if one)


def _with_inputs(spec: Mapping[str, Any], nodes: Mapping[str, Node]) -> dict[str, Any]:
    """Return the spec with these inputs, and with a dim for each of their names."""
    fixed = {name: dim["min"] for name, dim in spec["dims"].items() if dim["min"] == dim["max"]}
    inputs = {
        name: {"tensor": {**node, "shape": [fixed.get(size, size) for size in node["shape"]]}}
        for name, node in nodes.items()
    }
    dims = {
        name: spec["dims"].get(name) or Dim(name=name, example=example, auto=True).to_json()
        for name, example in _EXAMPLES.items()
        if name not in fixed and _uses(nodes, name)
    }
    return {**spec, "inputs": inputs, "dims": dims}


def _uses(nodes: Mapping[str, Node], dim: str) -> bool:
    return any(dim in node["shape"] for node in nodes.values())


def _call(model: nn.Module, spec: Mapping[str, Any], root: str) -> None:
    values = {name: dim["example"] for name, dim in spec["dims"].items()}
    args, kwargs = Examples.of(model, spec, root).call(values)
    with torch.no_grad():
        model(*args, **kwargs)


def toml(node: Node) -> str:
    """Return a tensor as [entry.inputs] has it."""
    shape = ", ".join(f'"{size}"' if isinstance(size, str) else str(size) for size in node["shape"])
    parts = [f"shape = [{shape}]", f'dtype = "{node["dtype"]}"']
    if node["range"] is not None:
        parts.append(f"range = [{node['range'][0]}, {node['range'][1]}]")
    if node["value"] is not None:
        parts.append(f"value = {str(node['value']).lower()}")
    return f"{{ {', '.join(parts)} }}"


def _underivable(
    model: nn.Module, parameters: Mapping[str, inspect.Parameter], facts: ConfigFacts, refusal: Exception | None
) -> StageFailure:
    named = [one for one in parameters.values() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    main = _main_input(model)
    known = known_inputs(main, parameters, type(model).__name__, facts)
    needed = [one.name for one in named if one.default is one.empty or one.name == main]
    needed = needed or [one.name for one in named][:1]
    why = f" ({one_line(refusal)})" if refusal else ""
    message = f"no inputs are given, and {type(model).__name__} takes none of those that its signature suggests{why}"
    first = next((name for name in needed if name not in known), needed[0] if needed else "input_ids")
    line = f"inputs.{first} = {toml(likely_shape(first, facts))}"
    remedy = f"give it {', '.join(needed)} as it takes them: write `{line}` in the entry, and a line for each other"
    return StageFailure(Kind.INPUTS, message, remedy)


def _main_input(model: nn.Module) -> str:
    name = getattr(model, "main_input_name", "")
    return name if isinstance(name, str) else ""
