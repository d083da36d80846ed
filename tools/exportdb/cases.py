"""The cases of torch's own exportdb as models and inputs of a manifest: `model_NAME`, `inputs_NAME`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch._export.db.case import ExportCase, SupportLevel
from torch._export.db.examples import all_examples

CASES: dict[str, ExportCase] = dict(sorted(all_examples().items()))
SUPPORTED = [name for name, case in CASES.items() if case.support_level is SupportLevel.SUPPORTED]
UNSUPPORTED = [name for name in CASES if name not in SUPPORTED]


def __getattr__(name: str) -> Callable[[], Any]:
    what, _, case = name.partition("_")
    if case not in CASES or what not in ("model", "inputs"):
        raise AttributeError(name)
    if what == "model":
        return lambda: copy.deepcopy(CASES[case].model)
    return lambda: _inputs(CASES[case])


def _inputs(case: ExportCase) -> list[Any] | dict[str, Any]:
    """Return inputs by position, and where a case has some by name, all by name."""
    if not case.example_kwargs:
        return list(case.example_args)
    signature = inspect.signature(case.model.forward)
    bound = signature.bind(*case.example_args, **case.example_kwargs).arguments
    rest = [name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD]
    return {name: value for name, value in bound.items() if name not in rest} | {
        name: value for one in rest for name, value in bound.get(one, {}).items()
    }


def entry(name: str, module: str) -> str:
    """Return the lines of an entry for a case, whose model `module` holds.

    Inputs of a case with dynamic shapes are described, as dims need that; all others are those of the case.
    """
    case = CASES[name]
    lines = [f'model = "{module}:model_{name}"']
    if not case.dynamic_shapes:
        return "\n".join([*lines, f'inputs = "{module}:inputs_{name}"', ""])
    shapes: dict[str, list[int | str]] = {}
    dims: dict[str, int] = {}
    for given, value in zip(case.dynamic_shapes, case.example_args, strict=True):
        assert isinstance(value, torch.Tensor) and value.is_floating_point(), f"{name}: {given} is another input"
        shapes[given] = list(value.shape)
        for at, dim in (case.dynamic_shapes[given] or {}).items():
            shapes[given][at] = dim.__name__
            dims[dim.__name__] = value.shape[at]
    lines.append("[entry.inputs]")
    lines += [f"{given} = {{ shape = {str(shape).replace(chr(39), chr(34))} }}" for given, shape in shapes.items()]
    return "\n".join([*lines, "[entry.dims]", *(f"{dim} = {{ example = {size} }}" for dim, size in dims.items()), ""])
