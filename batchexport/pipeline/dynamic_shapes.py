"""Make the dynamic_shapes of torch.export, in the structure of the inputs and with one Dim object per name.

Also tell which of the dims whose range is left to torch it has fixed, and what torch calls the sizes of the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo

from batchexport.core.sizes import Affine, Size, evaluate, parse_size
from batchexport.pipeline.call_form import Call, CallForm
from batchexport.pipeline.constraints import Source

Node = Mapping[str, Any] | None  # a node of the spec's inputs, or None for a field that the manifest does not give
Dims = Mapping[str, Mapping[str, Any]]
VARIES = "*"  # in the place of a size that is another one in additional inputs


def _parsed(size: int | str) -> Size | None:
    """Return a size of a node, None for one of which only torch will know the range."""
    return None if size == VARIES else parse_size(size) if isinstance(size, str) else size


def size_at(size: int | str, values: Mapping[str, int]) -> int:
    """Return a size of the spec where the dims have these values."""
    return evaluate(parse_size(size) if isinstance(size, str) else size, values)


def dynamic_shapes(nodes: Call, example: Call, dims: Dims) -> Call:
    """Return the shapes of all inputs, passed as the inputs are; `nodes` of the spec describe those of `example`."""
    # torch takes no Dim for a number, so the sizes that share a name with one are left to torch too, within its range.
    numbers = {size for node, _ in leaves(nodes, example) if node and "dim" in node for size in node["dim"]}
    bases = {name: None if name in numbers else _base(name, dim) for name, dim in dims.items()}
    made = _Shapes(dims=dims, bases=bases)
    args = tuple(made.tree(*pair) for pair in zip(nodes[0], example[0], strict=True))
    return args, {name: made.tree(node, example[1][name]) for name, node in nodes[1].items()}


def _base(name: str, dim: Mapping[str, Any]) -> Any:
    if dim["auto"]:
        return None
    step = dim["multiple_of"]
    if step == 1:
        return Dim(name, min=dim["min"], max=dim["max"])
    low = -(-dim["min"] // step)
    high = None if dim["max"] is None else dim["max"] // step
    return step * Dim(f"_{name}", min=low, max=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shapes:
    """The dims of a spec, and the Dim object of each; None for what torch has no Dim for."""

    dims: Dims
    bases: Mapping[str, Any]

    def tree(self, node: Node, value: Any) -> Any:
        """Return the shapes in the structure in which torch wants them: a list for a class of the user."""
        children = _children(node, value)
        if children is None:
            if node is not None and "tensor" in node:
                return {index: self._size(size) for index, size in enumerate(node["tensor"]["shape"])}
            return self._number(node["dim"][0]) if node is not None and "dim" in node else None
        shapes = [self.tree(*pair) for pair in children]
        if isinstance(value, dict):
            return dict(zip(value, shapes, strict=True))
        if hasattr(value, "_fields"):
            return type(value)(*shapes)
        return tuple(shapes) if type(value) is tuple else shapes

    def _number(self, size: int | str) -> Any:
        return None if isinstance(size, int) else self._size(size)

    def _size(self, size: int | str) -> Any:
        parsed = _parsed(size)
        if not isinstance(parsed, Affine):
            return Dim.STATIC if parsed is not None else Dim.DYNAMIC
        base = self.bases[parsed.name]
        if base is None:
            return self._hint(parsed)
        scaled = parsed.coefficient * base if parsed.coefficient != 1 else base
        return scaled + parsed.offset if parsed.offset else scaled

    def _hint(self, size: Affine) -> Any:
        dim = self.dims[size.name]
        ends = (None if end is None else evaluate(size, {size.name: end}) for end in (dim["min"], dim["max"]))
        low, high = ends
        if not dim["auto"]:
            return Dim.DYNAMIC(min=low, max=high)
        return Dim.AUTO if dim["min"] == 1 and high is None else Dim.AUTO(min=low, max=high)


def _children(node: Node, value: Any) -> list[tuple[Node, Any]] | None:
    """Return what a container of inputs holds, in torch's order, each with its node; None for what is no container."""
    kind = pytree._get_node_type(value)
    if kind not in pytree.SUPPORTED_NODES:
        return None
    children = pytree.SUPPORTED_NODES[kind].flatten_fn(value)[0]
    nodes: Sequence[Node] = [None] * len(children)
    if node is not None and "object" in node:
        nodes = [node["object"]["fields"].get(name) for name in _fields(value)]
    elif node is not None and "value" not in node:
        (items,) = node.values()
        nodes = list(items.values()) if isinstance(items, Mapping) else items
    return list(zip(nodes, children, strict=True))


def _fields(value: Any) -> Sequence[str]:
    """Return the fields of an object in torch's order, which leaves out those of a dataclass that are None."""
    if hasattr(value, "_fields"):
        names: Sequence[str] = value._fields
        return names
    flatten = pytree.SUPPORTED_NODES[type(value)].flatten_with_keys_fn
    assert flatten is not None  # see `inputs`
    return [getattr(key, "name", str(key)) for key, _ in flatten(value)[0]]


def leaves(nodes: Call, example: Call) -> Iterator[tuple[Node, Any]]:
    """Yield each leaf of the inputs with its node, in torch's order."""
    pairs = [*zip(nodes[0], example[0], strict=True), *((node, example[1][name]) for name, node in nodes[1].items())]
    while pairs:
        node, value = pairs.pop(0)
        children = _children(node, value)
        if children is None:
            yield node, value
        else:
            pairs = [*children, *pairs]


def fixed_dims(program: ExportedProgram, nodes: Call, example: Call, dims: Dims) -> dict[str, int]:
    """Return the auto dims that torch has fixed, each with its only size, as torch does so without a word."""
    return {
        declared.name: dims[declared.name]["example"]
        for declared, size in _program_sizes(program, nodes, example)
        if dims[declared.name]["auto"] and _is_fixed(size, program)
    }


def auto_spans(program: ExportedProgram, nodes: Call, example: Call, dims: Dims) -> dict[str, tuple[int, int | None]]:
    """Return the ranges of the auto dims in the program: the first and the last size, None where there is no end."""
    found: dict[str, tuple[int, int | None]] = {}
    for declared, size in _program_sizes(program, nodes, example):
        span = None if _is_fixed(size, program) else program.range_constraints.get(size.node.expr)
        if span is not None and dims[declared.name]["auto"] and declared == Affine(name=declared.name):
            found[declared.name] = int(span.lower), None if span.upper == int_oo else int(span.upper)
    return found


def _program_sizes(program: ExportedProgram, nodes: Call, example: Call) -> Iterator[tuple[Affine, Any]]:
    """Yield the sizes of the inputs that depend on a dim, each with the size that the program has there."""
    order = program.call_spec.in_spec.child(1).context  # the names, as the program takes them
    taken = nodes[0], {name: nodes[1][name] for name in order}
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    for name, (node, _) in zip(program.graph_signature.user_inputs, leaves(taken, example), strict=False):
        value = values.get(str(name))
        for size, declared in zip(getattr(value, "shape", (value,)), _declared(node), strict=False):
            parsed = _parsed(declared)
            if isinstance(parsed, Affine):
                yield parsed, size


def size_sources(nodes: Call, example: Call, names: Sequence[str], form: CallForm) -> dict[str, Source]:
    """Return torch's name of every size that depends on a dim, with what the manifest has there.

    `names` are those that a capture gives to the inputs by position.
    """
    given = [*zip(names, form.args, example[0], strict=True)]
    given += [(name, name, example[1][name]) for name in nodes[1]]
    paths = [
        (f"L[{name!r}]{pytree.keystr(path)}", f"{label}{pytree.keystr(path)}")
        for name, label, value in given
        for path, _ in pytree.tree_flatten_with_path(value)[0]
    ]
    found: dict[str, Source] = {}
    for (source, label), (node, _) in zip(paths, leaves(nodes, example), strict=True):
        is_number = node is not None and "dim" in node
        for at, declared in enumerate(_declared(node)):
            size = _parsed(declared)
            if not isinstance(size, int):
                name = source if is_number else f"{source}.size()[{at}]"
                found[name] = Source(label=label if is_number else f"{label}.shape[{at}]", size=size)
    return found


def _declared(node: Node) -> Sequence[int | str]:
    if node is None or "value" in node:
        return ()
    sizes: Sequence[int | str] = node["tensor"]["shape"] if "tensor" in node else node["dim"]
    return sizes


def _is_fixed(size: Any, program: ExportedProgram) -> bool:
    if not hasattr(size, "node") or size.node.expr.is_number:
        return True
    span = program.range_constraints.get(size.node.expr)
    return span is not None and bool(span.lower == span.upper)
