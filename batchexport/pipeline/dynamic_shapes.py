"""Make the dynamic_shapes of torch.export, in the structure of the inputs and with one Dim object per name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.export import Dim

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
