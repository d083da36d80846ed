"""Find the sizes and numbers in which the calls of a model differ, which torch.export is to keep dynamic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.pipeline.call_form import Call
from batchexport.pipeline.dynamic_shapes import VARIES
from batchexport.pipeline.failure import Kind, StageFailure, of_type

LeafNode = Mapping[str, Any] | None


def varying_nodes(
    call: Call, others: Sequence[Call], nodes: Sequence[LeafNode], paths: Sequence[str]
) -> list[LeafNode]:
    """Return the nodes of the leaves of `call`, with `VARIES` for each size that is another one in `others`.

    A size that depends on a dim stays as it is. Raises StageFailure of kind inputs if the calls differ in anything but
    sizes and whole numbers, shapes if torch would fix a size that differs.
    """
    structure = pytree.tree_structure(call)
    for index, other in enumerate(others):
        if pytree.tree_structure(other) != structure:
            message = f"additional_inputs[{index}] does not hold the same inputs as inputs, in the same order"
            raise StageFailure(Kind.INPUTS, message, "give every call the same inputs")
    rows = zip(pytree.tree_leaves(call), *map(pytree.tree_leaves, others), strict=True)
    return [_node(path, *row, node=node) for path, row, node in zip(paths, rows, nodes, strict=True)]


def _node(path: str, leaf: Any, *others: Any, node: LeafNode) -> LeafNode:
    for index, other in enumerate(others):
        _check_alike(path, leaf, other, index)
    if isinstance(leaf, torch.Tensor):
        known = node["tensor"]["shape"] if node is not None and "tensor" in node else list(leaf.shape)
        sizes = [
            _size(f"{path}.shape[{at}]", size, leaf.shape[at], [other.shape[at] for other in others])
            for at, size in enumerate(known)
        ]
        return {"tensor": {"shape": sizes}} if VARIES in sizes else node
    if type(leaf) is int and (node is None or "dim" not in node):
        return {"dim": [VARIES]} if any(other != leaf for other in others) else node
    return node


def _size(label: str, size: int | str, found: int, others: Sequence[int]) -> int | str:
    if isinstance(size, str) or all(other == found for other in others):
        return size
    if found < 2:
        message = f"{label} is {found} in inputs, and torch would fix it though it differs in additional_inputs"
        raise StageFailure(Kind.SHAPES, message, f"let it be 2 or more in inputs; {found} may stand in a further call")
    return VARIES


def _check_alike(path: str, leaf: Any, other: Any, index: int) -> None:
    place = f"{path} in additional_inputs[{index}]"
    if isinstance(leaf, torch.Tensor) and isinstance(other, torch.Tensor):
        here, there = (f"{one.dim()}-dimensional {str(one.dtype).removeprefix('torch.')}" for one in (other, leaf))
        is_alike = here == there
    else:
        here, there = (of_type(one) if type(leaf) is not type(other) else repr(one) for one in (other, leaf))
        is_alike = type(leaf) is type(other) and (type(leaf) is int or bool(leaf == other))
    if not is_alike:
        message = f"{place} is {here}, and {there} in inputs"
        raise StageFailure(Kind.INPUTS, message, "only sizes and whole numbers may differ between calls")
