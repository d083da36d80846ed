"""Run a graph of TorchScript in Python, one torch operator after the other, so that torch.export can trace it.

torch's own converter (`torch._export.converter`) takes no loop over a size, no size in a shape that was traced, and few
branches. Run in Python, a graph is captured as the code is that it was made from.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch._export.converter import _TORCH_ENUM_TO_DTYPE, get_op_overload
from torch._higher_order_ops.cond import cond_op
from torch.utils._python_dispatch import _disable_current_modes

from batchexport.pipeline.torchscript_values import ANY, OF_NO_TENSOR

_PLACE = re.compile(r'File "([^"]+)", line (\d+)')
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)
CANT_BE_CAPTURED = "can't be captured from TorchScript"
IS_QUANTIZED = "is quantized, and no exported program can hold that"
Values = dict[str, Any]  # by the names of the graph


class UnsupportedTorchScriptError(Exception):
    """The graph has an operation that can't be run in Python."""


def run_graph(graph: torch._C.Graph, inputs: Sequence[Any]) -> Any:
    """Return what a graph gives for these inputs, for a method `self` first. Raises UnsupportedTorchScriptError."""
    graph = graph.copy()
    torch._C._jit_pass_inline(graph)  # so that it calls no other methods and functions
    values: Values = dict(zip((one.debugName() for one in graph.inputs()), inputs, strict=True))
    outputs = _run_block(graph, values)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _run_block(block: Any, values: Values) -> list[Any]:
    for node in block.nodes():
        _run_node(node, values)
    return [values[one.debugName()] for one in block.outputs()]


def _run_node(node: torch._C.Node, values: Values) -> None:
    given = [values[one.debugName()] for one in node.inputs()]
    kind = node.kind()
    if kind in _STRUCTURE:
        result = _STRUCTURE[kind](node, given, values)
    elif kind in ANY:
        result = ANY[kind](*given)
    else:
        result = _calculated(node, given, values)
    names = [one.debugName() for one in node.outputs()]
    if len(names) == 1:
        values[names[0]] = result
    elif names:
        values.update(zip(names, result, strict=True))


def _calculated(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    kind = node.kind()
    if "quantize" in kind:
        raise UnsupportedTorchScriptError(f"{kind}{_place(node)} {IS_QUANTIZED}")
    if kind in OF_NO_TENSOR:
        if any(isinstance(one, _NUMBERS) for one in given[:2]):  # a traced size among constants
            plain = [_number(one, value) for one, value in zip(node.inputs(), given, strict=True)]
            given = plain if not any(isinstance(one, torch.Tensor) for one in plain) else given
        if not any(isinstance(one, torch.Tensor) for one in given):
            return OF_NO_TENSOR[kind](*given)
    if kind == "aten::to":
        return _to(node, given)
    if kind in _SPECIAL:
        return _SPECIAL[kind](*given)
    try:
        operator = get_op_overload(node)
    except Exception as error:
        raise _unsupported(kind, node) from error
    return _call(operator, given)


def _number(value: torch._C.Value, given: Any) -> Any:
    """Return a constant without dims as a number."""
    is_constant = isinstance(given, torch.Tensor) and value.node().kind() == "prim::Constant" and not given.ndim
    if not is_constant:
        return given
    with _disable_current_modes():
        return given.item()


def _call(operator: Any, given: Sequence[Any]) -> Any:
    args, kwargs = [], {}
    for argument, value in zip(operator._schema.arguments, given, strict=False):
        if isinstance(value, _NUMBERS) and str(argument.type) in ("Tensor", "Optional[Tensor]"):
            is_whole = isinstance(value, int | torch.SymInt)
            value = torch.ops.aten.scalar_tensor(value, dtype=torch.int64 if is_whole else torch.float64)
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return operator(*args, **kwargs)


def _unsupported(what: str, node: torch._C.Node) -> UnsupportedTorchScriptError:
    return UnsupportedTorchScriptError(f"{what}{_place(node)} {CANT_BE_CAPTURED}")


def _place(node: torch._C.Node) -> str:
    """Return where a node comes from, in the form " (models.py, line 7)", as far as the graph tells."""
    found = _PLACE.findall(str(node.sourceRange()))
    return f" ({found[-1][0].rpartition('/')[2]}, line {found[-1][1]})" if found else ""


# ── operations with a meaning of their own ───────────────────────────────────────────────────────


def _constant(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    return node.output().toIValue()


def _attribute(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    return getattr(given[0], node.s("name"))


def _set_attribute(node: torch._C.Node, given: list[Any], values: Values) -> None:
    setattr(given[0], node.s("name"), given[1])


def _unpacked(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    items = list(given[0])
    return items if node.outputsSize() != 1 else items[0]


def _list(node: torch._C.Node, given: list[Any], values: Values) -> list[Any]:
    return list(given)


def _tuple(node: torch._C.Node, given: list[Any], values: Values) -> tuple[Any, ...]:
    return tuple(given)


def _dict(node: torch._C.Node, given: list[Any], values: Values) -> dict[Any, Any]:
    return dict(zip(given[::2], given[1::2], strict=True))


def _raised(node: torch._C.Node, given: list[Any], values: Values) -> None:
    raise RuntimeError(f"{given[0]}{_place(node)}")


def _loop(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    (block,) = node.blocks()
    names = [one.debugName() for one in block.inputs()]
    most, goes_on, *carried = given
    turn = 0
    while goes_on and turn < most:
        values.update(zip(names, (turn, *carried), strict=True))
        goes_on, *carried = _run_block(block, values)
        turn += 1
    return carried[0] if node.outputsSize() == 1 else carried


def _branch(node: torch._C.Node, given: list[Any], values: Values) -> Any:
    first, second = node.blocks()
    if isinstance(given[0], torch.Tensor):
        return _cond(node, given[0], (first, second), values)
    outputs = _run_block(first if given[0] else second, values)
    return outputs[0] if node.outputsSize() == 1 else outputs


def _cond(node: torch._C.Node, predicate: torch.Tensor, blocks: Sequence[Any], values: Values) -> Any:
    """Return what `torch.cond` gives, where a branch depends on the values of a tensor."""
    seen = dict(values)
    for block in blocks:
        for inner in _nodes(block):
            if inner.kind() == "prim::GetAttr":
                seen[inner.output().debugName()] = getattr(seen[inner.input().debugName()], inner.s("name"))
    used = {one.debugName() for block in blocks for inner in _nodes(block) for one in inner.inputs()}
    used |= {one.debugName() for block in blocks for one in block.outputs()}
    names = sorted(name for name in used if isinstance(seen.get(name), torch.Tensor))

    def run(block: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inside = {**values, **dict(zip(names, tensors, strict=True))}
        for inner in block.nodes():
            if not (inner.kind() == "prim::GetAttr" and inner.output().debugName() in names):
                _run_node(inner, inside)
        outputs = [inside[one.debugName()] for one in block.outputs()]
        if not outputs or not all(isinstance(one, torch.Tensor) for one in outputs):
            raise _unsupported("a branch on the values of a tensor that gives no tensor", node)
        return tuple(one.clone() if any(one is tensor for tensor in tensors) else one for one in outputs)

    chosen = [functools.partial(run, block) for block in blocks]
    cond: Callable[..., Any] = cond_op
    outputs = cond(predicate.reshape(()).to(torch.bool), *chosen, tuple(seen[name] for name in names))
    return outputs[0] if node.outputsSize() == 1 else outputs


def _nodes(block: Any) -> Iterator[torch._C.Node]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _convolution(*given: Any) -> Any:
    return torch.ops.aten.convolution.default(*given[:9])  # what `_convolution` has behind that chooses a kernel


def _to(node: torch._C.Node, given: Sequence[Any]) -> Any:
    """Return a tensor in another dtype or on another device, whichever form of `to` names them."""
    names = [one.name for one in torch._C.parse_schema(node.schema()).arguments]
    told = dict(zip(names, given, strict=True))
    tensor, other = given[0], told.get("other")
    if other is not None:
        return tensor.to(other.dtype)
    dtype = tensor.dtype if told.get("dtype") is None else _dtype(told["dtype"])
    return tensor.to(told.get("device") or tensor.device, dtype, copy=bool(told.get("copy")))


def _dtype(number: int) -> torch.dtype:
    return _TORCH_ENUM_TO_DTYPE[number]


def _tensor(data: Any, dtype: int | None = None, device: Any = None, requires_grad: bool = False) -> torch.Tensor:
    made = torch.tensor(data, dtype=None if dtype is None else _dtype(dtype), device=device)
    return made.requires_grad_() if requires_grad else made


_STRUCTURE: Mapping[str, Callable[[torch._C.Node, list[Any], Values], Any]] = {
    "prim::Constant": _constant,
    "prim::GetAttr": _attribute,
    "prim::SetAttr": _set_attribute,
    "prim::ListConstruct": _list,
    "prim::TupleConstruct": _tuple,
    "prim::DictConstruct": _dict,
    "prim::ListUnpack": _unpacked,
    "prim::TupleUnpack": _unpacked,
    "prim::If": _branch,
    "prim::Loop": _loop,
    "prim::RaiseException": _raised,
}
_SPECIAL: Mapping[str, Callable[..., Any]] = {
    "aten::_convolution": _convolution,
    "aten::tensor": _tensor,
    "aten::as_tensor": _tensor,
}
