"""Make a model of a callable that takes the inputs itself: a function, a closure, a partial, an object with `__call__`.

A factory is told from it by its parameters: nothing is called to find out.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from batchexport.pipeline.scripted import signature
from batchexport.pipeline.torchscript import run_graph

_Parameter = inspect.Parameter
_ONE = (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD, _Parameter.KEYWORD_ONLY)
_BY_POSITION = (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD, _Parameter.VAR_POSITIONAL)


def takes_inputs(called: Callable[..., Any], spec: Mapping[str, Any]) -> bool:
    """Return True if `called` is itself the model, and no factory of it.

    It is one if `args` and `kwargs` of the spec leave parameters without a default open, and `inputs` give any of them.
    """
    needed = [one for one in open_parameters(called, spec["args"], spec["kwargs"]) or () if _is_needed(one)]
    if isinstance(called, type) or not needed:
        return False
    inputs = spec["inputs"]
    if isinstance(inputs, str):  # they are not made before there is a model
        return True
    if isinstance(inputs, Mapping):
        return any(one.name in inputs for one in needed)
    return bool(inputs) and any(one.kind in _BY_POSITION for one in needed)


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is _Parameter.empty and parameter.kind in _ONE


def open_parameters(
    called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[inspect.Parameter] | None:
    """Return the parameters that these arguments leave to be given; None if they do not fit, or nothing tells them."""
    if isinstance(called, torch.jit.ScriptFunction):
        called = _with_signature(called)
    try:
        rest = inspect.signature(functools.partial(called, *args, **kwargs)).parameters
    except (TypeError, ValueError):
        return None
    return [one for one in rest.values() if one.name not in kwargs]


def missing_arguments(called: Callable[..., Any], spec: Mapping[str, Any]) -> str | None:
    """Return what to write where a factory is not given all it needs; None if it is."""
    try:
        inspect.signature(called)
    except (TypeError, ValueError):
        return "nothing tells its parameters: if it is itself the model, write a function that calls it"
    needed = [one.name for one in open_parameters(called, spec["args"], spec["kwargs"]) or () if _is_needed(one)]
    if not needed:
        return None
    names = ", ".join(needed)
    give = f"give {names} in args or kwargs"
    return give if isinstance(called, type) else f"{give}; if it is itself the model, give {names} in [entry.inputs]"


def function_model(
    called: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Any:
    """Return an nn.Module that calls `called` with these arguments and what it is called with.

    Its class has the name of the callable. Modules that the callable names, closes over or keeps in attributes are its
    submodules, so that they have state, mode and dtype as those of any model.
    """
    kwargs = kwargs or {}
    parameters = open_parameters(called, args, kwargs)
    if isinstance(called, torch.jit.ScriptFunction):
        called = _with_signature(called)
    if args or kwargs:
        called = functools.partial(called, *args, **kwargs)

    def forward(model: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return model.function(*args, **kwargs)  # type: ignore[operator]

    if parameters is not None:
        taken = {one.name for one in parameters}
        itself = next(name for name in ("self", "model", "module_") if name not in taken)
        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [_Parameter(itself, _Parameter.POSITIONAL_ONLY), *parameters]
        )
    inner = _inner(called)
    model = type(_name(inner), (nn.Module,), {"forward": forward, "__module__": inner.__module__})()
    for name, part in _parts(called):
        if not any(part is known for known in model.children()):
            while hasattr(model, name):
                name += "_"
            model.add_module(name, part)
    model.function = called
    return model


def _with_signature(script: Any) -> Callable[..., Any]:
    """Return a function that runs a script, and its graph in a capture."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_exporting():
            return script(*args, **kwargs)
        given = run.__signature__.bind(*args, **kwargs)  # type: ignore[attr-defined]
        given.apply_defaults()
        return run_graph(script.graph, given.args)

    run.__signature__ = signature(script.schema.arguments)  # type: ignore[attr-defined]
    run.__name__ = script.name
    return run


def _inner(called: Callable[..., Any]) -> Any:
    """Return what partials are partial of."""
    while isinstance(called, functools.partial):
        called = called.func
    return called if hasattr(called, "__name__") else type(called)


def _name(called: Any) -> str:
    name: str = called.__name__
    return name if name.isidentifier() else name.strip("<>")  # <lambda>


def _parts(called: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that a callable reaches without calling anything, each with the name that it has there."""
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [("", called)]
    while pending:
        name, value = pending.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield name, value
        elif isinstance(value, functools.partial):
            pending += [("", value.func), *((f"arg{at}", one) for at, one in enumerate(value.args))]
            pending += value.keywords.items()
        elif isinstance(value, types.MethodType):
            pending += [("", value.__func__), ("", value.__self__)]
        elif isinstance(value, types.FunctionType):
            pending += _named_in(value, called)
        elif value is called or not name:  # an object with `__call__`, or one whose method is called
            method = inspect.getattr_static(type(value), "__call__", None)
            pending += [("", method), *getattr(value, "__dict__", {}).items()]


def _named_in(function: types.FunctionType, called: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a function closes over, and the globals of its module that it names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # an empty cell
            continue
    for code in _codes(function.__code__):
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, nn.Module | functools.partial) or (
                isinstance(value, types.FunctionType) and value.__module__ == function.__module__
            ):
                yield name, value


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
