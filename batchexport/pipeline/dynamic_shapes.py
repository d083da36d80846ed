"""Make the dynamic_shapes of torch.export, in the structure of the inputs and with one Dim object per name.

Also tell which of the dims whose range is left to torch it has fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.export import Dim, ExportedProgram

from batchexport.core.sizes import Affine, parse_size


def dynamic_shapes(inputs: Mapping[str, Any] | str, dims: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the dynamic_shapes for the inputs of a spec; None if they come from a factory or a file."""
    if isinstance(inputs, str):
        return None
    bases = {name: _base(name, dim) for name, dim in dims.items()}
    return {name: _tree(tree, dims, bases) for name, tree in inputs.items()}


def _base(name: str, dim: Mapping[str, Any]) -> Any:
    if dim["auto"]:
        return Dim.AUTO
    step = dim["multiple_of"]
    if step == 1:
        return Dim(name, min=dim["min"], max=dim["max"])
    low = -(-dim["min"] // step)
    high = None if dim["max"] is None else dim["max"] // step
    return step * Dim(f"_{name}", min=low, max=high)


def _tree(tree: Mapping[str, Any], dims: Mapping[str, Any], bases: Mapping[str, Any]) -> Any:
    if "tensor" in tree:
        return {index: _size(size, bases) for index, size in enumerate(tree["tensor"]["shape"])}
    if "list" in tree:
        return [_tree(item, dims, bases) for item in tree["list"]]
    if "table" in tree:
        return {key: _tree(item, dims, bases) for key, item in tree["table"].items()}
    return None


def _size(size: int | str, bases: Mapping[str, Any]) -> Any:
    parsed = parse_size(size) if isinstance(size, str) else size
    if not isinstance(parsed, Affine):
        return Dim.STATIC
    base = bases[parsed.name]
    if base is Dim.AUTO:
        return base
    scaled = parsed.coefficient * base if parsed.coefficient != 1 else base
    return scaled + parsed.offset if parsed.offset else scaled


def fixed_dims(
    program: ExportedProgram, inputs: Mapping[str, Any] | str, dims: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Return the auto dims that torch has fixed, each with its only size, as torch does so without a word."""
    if isinstance(inputs, str):
        return {}
    order = program.call_spec.in_spec.child(1).context  # the names, as the program takes them
    shapes = [shape for name in order if name in inputs for shape in _shapes(inputs[name])]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    found: dict[str, int] = {}
    for name, shape in zip(program.graph_signature.user_inputs, shapes, strict=False):
        for size, declared in zip(getattr(values.get(str(name)), "shape", ()), shape, strict=False):
            parsed = parse_size(declared) if isinstance(declared, str) else declared
            if isinstance(parsed, Affine) and dims[parsed.name]["auto"] and _is_fixed(size, program):
                found[parsed.name] = dims[parsed.name]["example"]
    return found


def _is_fixed(size: Any, program: ExportedProgram) -> bool:
    if isinstance(size, int) or size.node.expr.is_number:
        return True
    span = program.range_constraints.get(size.node.expr)
    return span is not None and bool(span.lower == span.upper)


def _shapes(tree: Mapping[str, Any]) -> Iterator[list[int | str]]:
    """Yield the shape of each tensor, and an empty one for each other leaf."""
    if "list" in tree or "table" in tree:
        for item in tree["list"] if "list" in tree else tree["table"].values():
            yield from _shapes(item)
    else:
        yield tree["tensor"]["shape"] if "tensor" in tree else []
