"""Match the sizes of [entry.shapes] with the inputs that a factory or a file gives, and make inputs of other sizes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.core.dims import Dim
from batchexport.core.input_paths import input_path, parse_input_path
from batchexport.core.sizes import Affine, composed, evaluate, parse_size
from batchexport.pipeline.call_form import Call, CallForm
from batchexport.pipeline.failure import Kind, StageFailure, of_type
from batchexport.pipeline.manifest_lines import Sizes

Shapes = Mapping[str, Sequence[int | str] | str]
_SHOWN = 5  # paths in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSize:
    """A size of the inputs: `label` is its name in messages, `size` what the manifest has there, in terms of a dim."""

    label: str
    size: int | Affine
    found: int


def leaf_paths(call: Call, form: CallForm) -> list[str]:
    """Return the path of every leaf of the inputs, in torch's order."""
    roots = [*zip(form.args, call[0], strict=True), *call[1].items()]
    return [
        input_path([*(parse_input_path(root) or (root,)), *map(_part, keys)])
        for root, value in roots
        for keys, _ in pytree.tree_flatten_with_path(value)[0]
    ]


def _part(key: Any) -> Any:
    """Return the field, key or index that a key of torch's pytree holds."""
    return next(getattr(key, name) for name in ("key", "idx", "name") if hasattr(key, name))


def leaf_nodes(call: Call, form: CallForm, shapes: Shapes) -> list[Mapping[str, Any] | None]:
    """Return the node of each leaf of the inputs, None for one that is not in `shapes`.

    Raises StageFailure of kind shapes if a path or the number of sizes does not fit the inputs.
    """
    paths, leaves = leaf_paths(call, form), pytree.tree_leaves(call)
    for path in shapes:
        if path not in paths:
            raise _unknown(path, paths)
    return [
        _node(path, leaf, shapes[path]) if path in shapes else None for path, leaf in zip(paths, leaves, strict=True)
    ]


def _unknown(path: str, paths: Sequence[str]) -> StageFailure:
    inside = [known for known in paths if known.startswith((f"{path}.", f"{path}["))]
    near = difflib.get_close_matches(path, paths, n=1) or [known for known in paths if path.startswith(known)]
    if inside:
        message, hint = (
            f"[entry.shapes] lists {path}, which holds other inputs",
            f"write {' or '.join(inside[:_SHOWN])}",
        )
    else:
        listed = ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
        message = f"[entry.shapes] lists {path}, which is not in the inputs"
        hint = f"did you mean {near[0]!r}?" if near else f"the inputs are {listed}"
    return StageFailure(Kind.SHAPES, message, hint)


def _node(path: str, leaf: Any, sizes: Sequence[int | str] | str) -> Mapping[str, Any]:
    if isinstance(leaf, torch.Tensor):
        if isinstance(sizes, str):
            message = f"{path} is a tensor, and [entry.shapes] has the dim of a number for it"
            raise StageFailure(Kind.SHAPES, message, f"write {path} = {_as_list(leaf)}")
        if len(sizes) != leaf.dim():
            has = f"has {leaf.dim()} sizes {tuple(leaf.shape)}" if leaf.dim() else "is a single number, without sizes"
            message = f"{path} {has}, and [entry.shapes] lists {len(sizes)}"
            hint = f"write one size for each, as in {path} = {_as_list(leaf)}" if leaf.dim() else f"leave {path} out"
            raise StageFailure(Kind.SHAPES, message, hint)
        return {"tensor": {"shape": list(sizes)}}
    if type(leaf) is not int:
        message = f"{path} is {of_type(leaf)}, and [entry.shapes] has sizes for it"
        raise StageFailure(Kind.SHAPES, message, "only tensors and whole numbers may vary")
    if not isinstance(sizes, str):
        message = f"{path} is a whole number, and [entry.shapes] has a list of sizes for it"
        raise StageFailure(Kind.SHAPES, message, f'write the name of a dim: {path} = "n"')
    return {"dim": [sizes]}


def _as_list(tensor: torch.Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def nodes_like(call: Call, nodes: Sequence[Mapping[str, Any] | None]) -> Call:
    """Return the nodes of the leaves in the structure of the inputs."""
    left = iter(nodes)

    def tree(spec: pytree.TreeSpec) -> Any:
        return next(left) if spec.is_leaf() else {"list": [tree(child) for child in spec.children()]}

    args = tuple(tree(pytree.tree_structure(value)) for value in call[0])
    return args, {name: tree(pytree.tree_structure(value)) for name, value in call[1].items()}


def named_sizes(call: Call, form: CallForm, shapes: Shapes, named: Mapping[str, Affine]) -> Iterator[NamedSize]:
    """Yield every size of the inputs that `shapes` lists; `named` are the sizes that are derived from dims.

    Raises StageFailure of kind shapes, as `leaf_nodes` does.
    """
    nodes = leaf_nodes(call, form, shapes)
    for path, leaf, node in zip(leaf_paths(call, form), pytree.tree_leaves(call), nodes, strict=True):
        if node is None:
            continue
        is_tensor = "tensor" in node
        sizes = node["tensor"]["shape"] if is_tensor else node["dim"]
        for at, (text, found) in enumerate(zip(sizes, leaf.shape if is_tensor else [leaf], strict=True)):
            size = parse_size(text) if isinstance(text, str) else text
            if isinstance(size, Affine) and size.name in named:
                size = composed(size, named[size.name])
            yield NamedSize(label=f"{path}.shape[{at}]" if is_tensor else path, size=size, found=found)


def resized(call: Call, nodes: Sequence[Mapping[str, Any] | None], values: Mapping[str, int]) -> Call:
    """Return the inputs with every size that a node lists as it is for these values of the dims.

    A tensor is cut off at the end, or its rows come again from the first on. Raises StageFailure of kind shapes.
    """
    leaves, structure = pytree.tree_flatten(call)
    fitted: Call = pytree.tree_unflatten(
        [_fitted(*pair, values) for pair in zip(leaves, nodes, strict=True)], structure
    )
    return fitted


def _fitted(leaf: Any, node: Mapping[str, Any] | None, values: Mapping[str, int]) -> Any:
    if node is None:
        return leaf
    if "dim" in node:
        return values[node["dim"][0]]
    for axis, text in enumerate(node["tensor"]["shape"]):
        wanted = evaluate(parse_size(text), values) if isinstance(text, str) else text
        has = leaf.shape[axis]
        if has == wanted:
            continue
        if not has and wanted:
            message = f"an input has the size 0 where {wanted} is needed, and there is nothing to repeat"
            raise StageFailure(Kind.SHAPES, message, "let the factory take the dim as a parameter")
        leaf = leaf.index_select(axis, torch.arange(wanted, device=leaf.device) % max(has, 1))
    return leaf


def measured_dims(
    sizes: Sequence[NamedSize],
    dims: Mapping[str, Mapping[str, Any]],
    *,
    fixed: Mapping[str, int],
    measured: Sequence[str],
    taken: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Return the dims of a spec with the sizes that the inputs have as the examples of those that are `measured`.

    Of the dims in `taken` the factory was told the size, and those in `fixed` have one. Raises StageFailure of kind
    shapes where a size is not what the manifest says, or two of one dim differ.
    """
    known = {**{name: int(dim["example"]) for name, dim in dims.items()}, **fixed}
    first: dict[str, tuple[int, NamedSize]] = {}
    for one in sizes:
        if isinstance(one.size, int):
            if one.found != one.size:
                raise _differs(one, f"lists {one.size}", f"write {one.found}, or the name of a dim")
            continue
        name = one.size.name
        if name in taken:
            if one.found != (wanted := evaluate(one.size, known)):
                what = f'has "{one.size}" there, {wanted} where {name} is {known[name]}'
                raise _differs(one, what, f"make it of the size that the factory is given as {name}")
            continue
        value, rest = divmod(one.found - one.size.offset, one.size.coefficient)
        if rest or value < 0:
            raise _differs(one, f'has "{one.size}" there', "write the sizes as they depend on one another")
        before, other = first.setdefault(name, (value, one))
        if before != value:
            message = f"{other.label} is {other.found} and {one.label} is {one.found}, and both depend on {name}"
            raise StageFailure(Kind.SHAPES, message, "give inputs whose sizes fit each other, or name two dims")
    found = {name: dict(dim) for name, dim in dims.items()}
    examples = {int(dim["example"]) for name, dim in dims.items() if name not in measured or name in taken}
    for name in measured:
        if name in first and name not in taken:
            value, one = first[name]
            found[name]["example"] = _example(Dim(name=name, **dims[name]), value, one, examples)
            examples.add(found[name]["example"])
    return found


def _differs(one: NamedSize, told: str, hint: str) -> StageFailure:
    return StageFailure(Kind.SHAPES, f"{one.label} is {one.found}, and [entry.shapes] {told}", hint)


def _example(dim: Dim, value: int, one: NamedSize, others: set[int]) -> int:
    """Return the size of the inputs as the example of a dim, or another one where torch would fix that."""
    if not Sizes.of(dim.to_json()).hold(value):
        steps = f" in steps of {dim.multiple_of}" if dim.multiple_of > 1 else ""
        span = f"{dim.lowest} or more" if dim.highest is None else f"{dim.lowest} to {dim.highest}"
        message = f"{one.label} is {one.found}, and {dim.name} is {span}{steps}"
        hint = f"let the range hold {value}, or give {dim.name} an example: the inputs are then made in that size"
        raise StageFailure(Kind.SHAPES, message, hint)
    if value < 2 * dim.multiple_of:
        return dim.example
    # torch takes a dim without a range for one with another dim whose example is equal.
    while dim.auto and value in others:
        value += 1
    return value
