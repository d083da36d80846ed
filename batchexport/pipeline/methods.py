"""Let a call of a model run another method than `forward`: its own, that of a submodule, a static or a class method."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from batchexport.pipeline.failure import Kind, StageFailure, of_type
from batchexport.pipeline.scripted import ScriptedModel


def owner_of(called: Any) -> nn.Module | None:
    """Return the module whose bound method `called` is; None for anything else."""
    owner = called.__self__ if inspect.ismethod(called) else None
    return owner if isinstance(owner, nn.Module) else None


def use_method(model: nn.Module, path: str) -> None:
    """Make the method at `path`, such as `encode` or `decoder.step`, what a call of `model` runs.

    State keeps the names that it has in `model`. Raises StageFailure of kind build.
    """
    *parts, name = path.split(".")
    owner = model
    for part in parts:
        inner = getattr(owner, part, None)
        if not isinstance(inner, nn.Module):
            near = difflib.get_close_matches(part, [child for child, _ in owner.named_children()], n=1)
            raise StageFailure(
                Kind.BUILD,
                f"{type(owner).__name__} has no submodule {part!r}, whose method {name!r} the manifest names",
                f"did you mean {near[0]!r}?" if near else None,
            )
        owner = inner
    run(model, _method(owner, name, path))


def run(model: nn.Module, chosen: Callable[..., Any]) -> None:
    """Make `chosen` what a call of `model` runs; where that calls the model, that runs the model's own `forward`."""
    own = model.forward
    inside: list[bool] = []

    @functools.wraps(chosen)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if inside:
            return own(*args, **kwargs)
        inside.append(True)
        try:
            return chosen(*args, **kwargs)
        finally:
            inside.pop()

    model.forward = forward


def _method(owner: nn.Module, name: str, path: str) -> Callable[..., Any]:
    static = inspect.getattr_static(owner, name, None)
    if isinstance(static, property):
        raise _no_method(owner, name, "a property")
    found = getattr(owner, name, None)
    if found is None:
        methods = [key for key, _ in inspect.getmembers(type(owner), inspect.isroutine) if key[0] != "_"]
        own = [key for key in methods if getattr(nn.Module, key, None) is not getattr(type(owner), key)]
        own += owner.methods() if isinstance(owner, ScriptedModel) else ()
        near = difflib.get_close_matches(name, own, n=1)
        raise StageFailure(
            Kind.BUILD,
            f"{type(owner).__name__} has no method {name!r}",
            f"did you mean {near[0]!r}?" if near else None,
        )
    if isinstance(found, nn.Module):
        failure = _no_method(owner, name, "a submodule")
        failure.remedy = f'write method = "{path}.forward"'
        raise failure
    if not callable(found) or isinstance(found, type):
        raise _no_method(owner, name, of_type(found))
    method: Callable[..., Any] = found
    return method


def _no_method(owner: nn.Module, name: str, what: str) -> StageFailure:
    message = f"{name!r} of {type(owner).__name__} is {what}, and no method"
    return StageFailure(Kind.BUILD, message, f"write it as a method: def {name}(self, …)")
