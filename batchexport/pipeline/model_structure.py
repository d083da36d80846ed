"""Digest everything that capture could see of a model except the values of its weights.

Capture is a function of the source, the spec and the model. It runs on tensors without values, so two models
that differ only in the values of parameters and buffers have the same graph. But a model may store in plain
attributes what it found in its weights (in a hook of `load_state_dict` or a first run), and branch on that.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from batchexport.core.keys import digest
from batchexport.pipeline.identity import content_digest

STRUCTURE_VERSION = 1
_PLAIN = (bool, int, str, type(None))
_LIMIT = 1_000_000  # objects; BERT has some 20,000


class NotComparable(Exception):
    """The model holds something that can't be compared."""


def structure_digest(model: nn.Module) -> str | None:
    """Return the digest of everything reachable from `model` except the values of its parameters and buffers.

    None if something in it can't be compared; such a model is captured again for new weights.
    """
    try:
        return digest("likeness", STRUCTURE_VERSION, _StructureWalker(model).form(model))
    except (NotComparable, RecursionError):
        return None


class _StructureWalker:
    def __init__(self, model: nn.Module) -> None:
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # kept alive, so that no id is reused
        self._state = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}

    def form(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, float | complex | bytes | slice | range | torch.dtype | torch.device | torch.layout):
            return [type(value).__name__, repr(value)]
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | torch._ops.OpOverload):
            return ["name", getattr(value, "__module__", ""), getattr(value, "__qualname__", str(value))]
        if isinstance(value, enum.Enum):
            return [_name(type(value)), value.name]
        known = self._seen.get(id(value))
        if known is not None:
            return ["seen", known]
        if len(self._seen) > _LIMIT:
            raise NotComparable
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return [_name(type(value)), self._parts(value)]

    def _parts(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, Mapping):
            return [self._items(value), self._items(getattr(value, "__dict__", {}))]
        if isinstance(value, list | tuple):
            return [self.form(item) for item in value]
        if isinstance(value, set | frozenset):
            if not all(type(item) in _PLAIN for item in value):
                raise NotComparable
            return sorted(map(repr, value))
        return self._function(value) or self._object(value)

    def _function(self, value: Any) -> Any:
        if isinstance(value, functools.partial):
            return [self.form(part) for part in (value.func, value.args, value.keywords)]
        if isinstance(value, types.MethodType):
            return [self.form(value.__func__), self.form(value.__self__)]
        if isinstance(value, types.FunctionType):
            cells = [self._cell(cell) for cell in value.__closure__ or ()]
            return [value.__module__, value.__qualname__, self.form(value.__defaults__), cells]
        return None

    def _object(self, value: Any) -> Any:
        # State in slots or in native code can't be inspected.
        slots = any(getattr(kind, "__slots__", ()) for kind in type(value).__mro__)
        if slots or not hasattr(value, "__dict__") or not _is_python(type(value)):
            raise NotComparable
        return self._items(vars(value))

    def _cell(self, cell: Any) -> Any:
        try:
            return self.form(cell.cell_contents)
        except ValueError:  # an empty cell
            return None

    def _items(self, items: Mapping[Any, Any]) -> list[Any]:
        return [[self.form(key), self.form(value)] for key, value in items.items()]

    def _tensor(self, tensor: torch.Tensor) -> Any:
        if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.layout is not torch.strided:
            raise NotComparable
        about = [str(tensor.dtype), str(tensor.device), list(tensor.shape), list(tensor.stride()), tensor.requires_grad]
        if id(tensor) in self._state:
            return about
        return [*about, content_digest(tensor)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_python(kind: type) -> bool:
    """Return True if a class and its bases are written in Python, so that `__dict__` holds all state."""
    heap = 1 << 9  # Py_TPFLAGS_HEAPTYPE
    return all(base is object or base.__flags__ & heap for base in kind.__mro__)
