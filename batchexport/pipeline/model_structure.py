"""Digest everything that capture could see of a model except the values of its weights.

Capture is a function of the source, the spec and the model. It runs on tensors without values, so two models
that differ only in the values of parameters and buffers have the same graph. But a model may store what it found in
its weights (in a hook of `load_state_dict` or a first run) and branch on that: in plain attributes, in globals of its
modules, in attributes of classes or functions. So all of these are in the digest.
"""

from __future__ import annotations

import enum
import functools
import logging
import os
import re
import sys
import sysconfig
import threading
import types
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from batchexport.core.keys import digest
from batchexport.pipeline.identity import content_digest

STRUCTURE_VERSION = 2
_PLAIN = (bool, int, str, type(None))
_LIMIT = 1_000_000  # objects; BERT has some 20,000


class NotComparable(Exception):
    """The model holds something that can't be compared."""


# Objects that hold nothing a model could have stored, each with the text that stands for it.
_BY_TEXT = (re.Pattern, PurePath, np.dtype, np.generic, torch.Size)
_STATELESS = (logging.Logger, logging.LoggerAdapter, type(threading.Lock()), type(threading.RLock()))
_NAMED = (types.ModuleType, types.BuiltinFunctionType, types.GenericAlias, types.UnionType, types.MemberDescriptorType,
          types.GetSetDescriptorType, torch._ops.OpOverload, torch._ops.OpOverloadPacket)  # fmt: skip


def structure_digest(model: nn.Module, modules: Iterable[types.ModuleType] = ()) -> str | None:
    """Return the digest of everything reachable from `model` except the values of its parameters and buffers.

    So is what is reachable from the globals of `modules`, and from the classes and functions in them. None if something
    in it can't be compared, or if code of `modules` runs when weights are loaded; such a model is captured again for
    new weights.
    """
    found = {module.__name__: module for module in modules}
    if any(_reacts_to_weights(part, found) for part in model.modules()):
        return None
    walker = _StructureWalker(model, frozenset(found))
    try:
        form = walker.form(model)
        return digest(
            "likeness", STRUCTURE_VERSION, form, [[name, walker.globals(found[name])] for name in sorted(found)]
        )
    except (NotComparable, RecursionError):
        return None


# Loaded modules that were found to be others' before, in the fork server for all its children.
_foreign: dict[str, types.ModuleType] = {}


def first_party_modules() -> list[types.ModuleType]:
    """Return the loaded modules that belong neither to Python nor to an installed distribution nor to batchexport."""
    paths = sysconfig.get_paths()
    foreign = {os.path.dirname(os.path.dirname(__file__)), *(paths[name] for name in ("stdlib", "platstdlib"))}
    foreign |= {os.path.realpath(folder) for folder in foreign}
    found = []
    prefixes = tuple(f"{folder}/" for folder in foreign)
    for name, module in list(sys.modules.items()):
        if _foreign.get(name) is module:
            continue
        path = getattr(module, "__dict__", {}).get("__file__")
        if not isinstance(path, str) or not os.path.isabs(path) or module.__name__ == "__main__":
            continue
        if path.startswith(prefixes) or _INSTALLED.search(path):
            _foreign[name] = module
        else:
            found.append(module)
    return found


def _reacts_to_weights(part: nn.Module, modules: Collection[str]) -> bool:
    """Return True if code of these modules runs when weights are loaded: nothing tells where it stores what it sees."""
    hooks = [*part._load_state_dict_pre_hooks.values(), *part._load_state_dict_post_hooks.values()]
    functions = [getattr(hook, "hook", hook) for hook in hooks]
    functions += [getattr(type(part), name) for name in ("load_state_dict", "_load_from_state_dict", "set_extra_state")]
    return any(getattr(function, "__module__", None) in modules for function in functions)


_INSTALLED = re.compile(r"/(site|dist)-packages/")


class _StructureWalker:
    def __init__(self, model: nn.Module, modules: frozenset[str]) -> None:
        self._modules = modules
        self._in_model = True
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # kept alive, so that no id is reused
        self._state = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}

    def form(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, float | complex | bytes | slice | range | torch.dtype | torch.device | torch.layout):
            return [type(value).__name__, repr(value)]
        if isinstance(value, _BY_TEXT) or type(value).__module__ == "typing":
            return [type(value).__name__, repr(value)]
        if isinstance(value, _STATELESS):
            return ["stateless", type(value).__name__]
        if self._is_named(value):
            return ["name", getattr(value, "__module__", ""), getattr(value, "__qualname__", str(value))]
        if isinstance(value, enum.Enum):
            return [_name(type(value)), value.name]
        if not self._in_model and id(value) in self._state:  # capture may take it for a constant
            raise NotComparable
        known = self._seen.get(id(value))
        if known is not None:
            return ["seen", known]
        if len(self._seen) > _LIMIT:
            raise NotComparable
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return [_name(type(value)), self._parts(value)]

    def _is_named(self, value: Any) -> bool:
        """Return True if a name stands for `value`: for what is not first-party, and for modules, which are walked."""
        if isinstance(value, type):
            return value.__module__ not in self._modules or issubclass(value, enum.Enum)
        return isinstance(value, _NAMED)

    def globals(self, module: types.ModuleType) -> Any:
        """Return the form of the globals of a module; call it after that of the model."""
        self._in_model = False
        return [[name, self._global(value)] for name, value in sorted(vars(module).items()) if not _is_dunder(name)]

    def _global(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType) and value.__module__ not in self._modules:
            return ["name", value.__module__, value.__qualname__]
        return self.form(value)

    def _class(self, kind: type) -> Any:
        """Return the form of what a class stores, without what every class has."""
        about = []
        for name, value in sorted(vars(kind).items()):
            if isinstance(value, staticmethod | classmethod):
                about.append([name, self._global(value.__func__)])
            elif isinstance(value, property):
                about.append([name, [self._global(part) for part in (value.fget, value.fset, value.fdel)]])
            elif isinstance(value, types.FunctionType):
                about.append([name, self._global(value)])
            elif not _is_dunder(name) and name != "_abc_impl":
                about.append([name, self.form(value)])
        return about

    def _parts(self, value: Any) -> Any:
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
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
            rest = [self.form(part) for part in (value.__defaults__, value.__kwdefaults__, value.__dict__)]
            return [value.__module__, value.__qualname__, *rest, cells]
        if isinstance(value, functools._lru_cache_wrapper):
            if value.cache_info().currsize:  # nothing tells what is in it
                raise NotComparable
            return [self.form(value.__wrapped__)]
        return None

    def _array(self, array: np.ndarray[Any, Any]) -> Any:
        try:
            return self._tensor(torch.from_numpy(np.array(array)))
        except TypeError:  # of objects or text
            raise NotComparable from None

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


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_python(kind: type) -> bool:
    """Return True if a class and its bases are written in Python, so that `__dict__` holds all state."""
    heap = 1 << 9  # Py_TPFLAGS_HEAPTYPE
    return all(base is object or base.__flags__ & heap for base in kind.__mro__)
