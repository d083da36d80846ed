"""Say what TorchScript's operators on numbers, texts and containers do; those on tensors are torch's own."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._export.converter import get_dtype_as_int

_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def whole(value: Any) -> Any:
    """Return a number or tensor of one element as a whole number, symbols as they are."""
    value = value.item() if isinstance(value, torch.Tensor) else value
    return value if isinstance(value, int | torch.SymInt) else torch.sym_int(value)  # type: ignore[no-untyped-call]


def real(value: Any) -> Any:
    """Return a number or tensor of one element as a real number."""
    if isinstance(value, str):
        return float(value)
    value = value.item() if isinstance(value, torch.Tensor) else value
    return torch.sym_float(value)  # type: ignore[no-untyped-call]


def _truth(value: Any) -> Any:
    return value if isinstance(value, torch.Tensor | torch.SymBool) else value != 0


def _not(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.logical_not(value)
    return torch.sym_not(value)  # type: ignore[no-untyped-call]


def _divided(one: Any, other: Any, mode: str | None = None) -> Any:
    return one / other if mode is None else one // other  # sizes, which are never negative


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _extend(items: list[Any], more: list[Any]) -> list[Any]:
    items.extend(more)
    return items


def _sliced(items: Any, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    return items[start:end:step]


def _derived_index(index: Any, start: Any, step: Any) -> Any:
    return start + index * step


def _range_length(start: Any, end: Any, step: Any) -> Any:
    if all(isinstance(one, int) for one in (start, end, step)):
        return len(range(start, end, step))
    return max((end - start + step - 1) // step, 0)


def _range(*bounds: Any) -> list[int]:
    return list(range(*bounds))


def _copied(items: Any) -> Any:
    return dict(items) if isinstance(items, Mapping) else list(items)


def _as_dict(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _nothing(*_: Any) -> None:
    return None


def _same(value: Any, *_: Any) -> Any:
    return value


def _size(tensor: torch.Tensor, dim: int | None = None) -> Any:
    return list(tensor.shape) if dim is None else tensor.shape[dim]


def _smallest(*values: Any) -> Any:
    if all(isinstance(one, _NUMBERS) for one in values):
        return torch.sym_min(*values)  # type: ignore[no-untyped-call]
    return min(*values)


def _largest(*values: Any) -> Any:
    if all(isinstance(one, _NUMBERS) for one in values):
        return torch.sym_max(*values)  # type: ignore[no-untyped-call]
    return max(*values)


# Called whatever their inputs are.
ANY: Mapping[str, Callable[..., Any]] = {
    "prim::NumToTensor": _same,  # a traced size: a number stands for the tensor, so that shapes stay symbols
    "prim::unchecked_cast": _same,
    "prim::unchecked_unwrap_optional": _same,
    "aten::_unwrap_optional": _same,
    "prim::Uninitialized": _nothing,
    "prim::Print": _nothing,
    "prim::Enter": _nothing,  # of torch.no_grad(); what is exported holds no gradients
    "prim::Exit": _nothing,
    "aten::warn": _nothing,
    "profiler::_record_function_enter_new": _nothing,
    "profiler::_record_function_exit": _nothing,
    "prim::TupleIndex": operator.getitem,
    "prim::StringIndex": operator.getitem,
    "prim::dtype": get_dtype_as_int,
    "prim::device": operator.attrgetter("device"),
    "prim::layout": operator.attrgetter("layout"),
    "prim::is_cuda": operator.attrgetter("is_cuda"),
    "prim::is_quantized": operator.attrgetter("is_quantized"),
    "prim::requires_grad": operator.attrgetter("requires_grad"),
    "prim::data": operator.attrgetter("data"),
    "prim::shape": _size,
    "prim::rangelist": _range,
    "prim::min": _smallest,
    "prim::max": _largest,
    "aten::size": _size,
    "aten::dim": operator.attrgetter("ndim"),
    "aten::numel": torch.Tensor.numel,
    "aten::stride": torch.Tensor.stride,
    "aten::is_floating_point": torch.is_floating_point,
    "aten::is_grad_enabled": lambda: False,
    "aten::is_scripting": lambda: True,
    "aten::is_autocast_enabled": lambda *_: False,
    "aten::is_autocast_cpu_enabled": lambda: False,
    "aten::device": torch.device,
    "aten::Int": whole,
    "aten::IntImplicit": whole,
    "aten::Float": real,
    "aten::FloatImplicit": real,
    "aten::ScalarImplicit": lambda value: value.item() if isinstance(value, torch.Tensor) else value,
    "aten::Bool": _truth,
    "aten::len": lambda value: value.shape[0] if isinstance(value, torch.Tensor) else len(value),
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": _not,
    "aten::__range_length": _range_length,
    "aten::__derive_index": _derived_index,
    "aten::append": _append,
    "aten::extend": _extend,
    "aten::insert": list.insert,
    "aten::pop": lambda items, *key: items.pop(*key),
    "aten::clear": lambda items: items.clear(),
    "aten::reverse": list.reverse,
    "aten::list": list,
    "aten::dict": _as_dict,
    "aten::keys": lambda items: list(items.keys()),
    "aten::values": lambda items: list(items.values()),
    "aten::items": lambda items: list(items.items()),
    "aten::get": lambda items, *rest: items.get(*rest),
    "aten::update": lambda items, more: items.update(more),
    "aten::_set_item": operator.setitem,
    "aten::Delete": operator.delitem,
    "aten::format": lambda text, *values: text.format(*values),
    "aten::str": str,
    "aten::join": lambda joint, texts: joint.join(texts),
}
# Called where no input is a tensor; a list of tensors is none.
OF_NO_TENSOR: Mapping[str, Callable[..., Any]] = {
    "aten::add": lambda one, other, alpha=None: one + (other if alpha is None else other * alpha),
    "aten::add_": operator.iadd,
    "aten::sub": lambda one, other, alpha=1: one - other * alpha,
    "aten::rsub": lambda one, other, alpha=1: other - one * alpha,
    "aten::mul": operator.mul,
    "aten::div": _divided,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::pow": operator.pow,
    "aten::neg": operator.neg,
    "aten::abs": abs,
    "prim::abs": abs,
    "aten::ceil": math.ceil,
    "aten::floor": math.floor,
    "aten::round": round,
    "aten::sqrt": torch.sym_sqrt,
    "aten::log": math.log,
    "aten::exp": math.exp,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::__xor__": operator.xor,
    "aten::__contains__": operator.contains,
    "aten::__getitem__": operator.getitem,
    "aten::slice": _sliced,
    "aten::copy": _copied,
    "aten::index": list.index,
    "aten::count": list.count,
    "aten::to": _same,  # of a traced size
    "aten::detach": _same,
}
