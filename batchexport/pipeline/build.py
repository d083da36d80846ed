"""Build the model of a spec: import, construct under a seed, set dtype, load weights strictly, set its mode."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import random
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from batchexport.pipeline.failure import Kind, StageFailure, classified, failing_as, of_type
from batchexport.pipeline.library_models import SOURCES, library_model
from batchexport.pipeline.weights import load_weights, plain
from batchexport.pipeline.wrappers import unwrapped

_NEAR = 0.8  # difflib's measure, from 0 to 1, for a name that is taken for a misspelling although it would be accepted


def build(spec: Mapping[str, Any], root: str, entry: str = "") -> nn.Module:
    """Import, construct under the seed, set dtype, load weights, set the mode and what needs gradients.

    `spec` holds imports, model, args, kwargs, weights, weights_key, weights_prefix, seed, method, dtype, mode, ir;
    `root` is the folder that relative paths start from; `entry` names the entry in remedies. Raises StageFailure of
    kind import, build or weights.
    """
    for name in spec["imports"]:
        _import(name)
    final = None if spec["dtype"] == "keep" else dtype_of(spec["dtype"])
    seed_everything(int(spec["seed"]))
    model = unwrapped(_construct(spec, root))  # before weights are loaded, so that these need no wrapper's names
    _refuse_scripted(model)
    if final is not None:
        with failing_as(Kind.BUILD, f"casting the model to {spec['dtype']}"):
            _cast(model, final)
    if spec["weights"]:  # after the cast, so that no value passes through a narrower dtype
        load_weights(model, spec, root, entry)
    if not spec["model"].endswith(".pt2"):  # an exported program has one mode and raises if it is set
        model.train(spec["mode"] == "train")
    for parameter in model.parameters() if spec["mode"] == "eval" and spec["ir"] != "joint" else ():
        if not is_lazy(parameter):  # it gets its shape in its first run
            parameter.requires_grad_(False)
    if spec["method"] != "forward":
        _use_method(model, spec["method"])
    return model


def _refuse_scripted(model: nn.Module) -> None:
    """Raise StageFailure of kind build for a TorchScript module, which torch.export can't capture."""
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            what = f"the module {name!r}" if name else "the model"
            remedy = "build the nn.Module itself, without torch.jit.script or torch.jit.trace"
            raise StageFailure(Kind.BUILD, f"{what} is TorchScript, which torch.export can't capture", remedy)


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast floating-point tensors to `dtype`, and print which; `Module.to` would cast complex ones, too."""
    state = model.state_dict(keep_vars=True)
    cast = [
        f"{name} ({plain(one.dtype)})" for name, one in state.items() if one.is_floating_point() and one.dtype != dtype
    ]
    if cast:
        sys.stdout.write(f"cast to {plain(dtype)}: {', '.join(cast)}\n")
    model._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)  # type: ignore[no-untyped-call]


def seed_everything(seed: int, *, of_torch: int | None = None) -> None:
    """Seed Python's, NumPy's and torch's generators, torch's with `of_torch` if that is given."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    torch.manual_seed(seed if of_torch is None else of_torch)


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype of a name: `torch.float32` for "float32"."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(missing + "."):
            raise StageFailure(
                Kind.IMPORT,
                f"no module named {missing!r}",
                f"is the file beside the manifest, or installed? looked in: {', '.join(sys.path[:1])}, then sys.path",
            ) from error
        raise StageFailure(
            Kind.IMPORT,
            f"importing {module_name}: no module named {missing!r}",
            f"install {missing.partition('.')[0]}",
        ) from error
    except Exception as error:
        raise classified(error, Kind.IMPORT, f"importing {module_name}") from error


def attribute(reference: str) -> Any:
    """Return the object that `module:attribute` names. Raises StageFailure of kind import."""
    module_name, _, path = reference.partition(":")
    found = _import(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            raise StageFailure(
                Kind.IMPORT,
                f"module {module_name!r} has no attribute {path!r}",
                f"did you mean {near[0]!r}?" if near else None,
            )
        found = getattr(found, part)
    return found


def _construct(spec: Mapping[str, Any], root: str) -> nn.Module:
    reference: str = spec["model"]
    source = reference.partition(":")[0]
    if reference.endswith(".pt2"):
        with failing_as(Kind.BUILD, f"loading {reference}"):
            return torch.export.load(os.path.join(root, reference)).module()
    make = library_model(reference) if source in SOURCES else attribute(reference)
    if isinstance(make, nn.Module):
        return make
    if not callable(make):
        raise StageFailure(
            Kind.BUILD,
            f"{reference} is {of_type(make)}, not a callable",
            "name a function or an nn.Module",
        )
    swallowed = misspelt_keyword(make, spec["kwargs"])
    if swallowed is not None:
        raise StageFailure(Kind.BUILD, f"{reference} would ignore the argument {swallowed[0]!r}", swallowed[1])
    try:
        model = make(*spec["args"], **spec["kwargs"])
    except StageFailure:
        raise
    except Exception as error:
        raise classified(error, Kind.BUILD, f"building {reference}", _unknown_argument(make, spec["kwargs"])) from error
    if not isinstance(model, nn.Module):
        raise StageFailure(Kind.BUILD, f"{reference} returned {of_type(model)}, not an nn.Module")
    return model


def _parameters(called: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of a callable by name; None for those in C that tell none."""
    try:
        return inspect.signature(called).parameters
    except (TypeError, ValueError):
        return None


def _unknown_argument(called: Callable[..., Any], given: Iterable[str]) -> str | None:
    """Return what to write for the first name in `given` that a callable does not take, or None."""
    parameters = _parameters(called)
    if parameters is None:
        return None
    unknown = [name for name in given if name not in parameters]
    if not unknown or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    near = difflib.get_close_matches(unknown[0], parameters, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(parameters) or 'no arguments'}"


def misspelt_keyword(called: Callable[..., Any], given: Iterable[str]) -> tuple[str, str] | None:
    """Return a name in `given` that `**kwargs` of a callable would take though it means a parameter, and a remedy.

    It means the parameter that it resembles, if that is not given too, or one that is taken by position only.
    """
    found, kinds = _parameters(called), inspect.Parameter
    parameters = () if found is None else found.values()
    if not any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters):
        return None
    named = {one.name for one in parameters if one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    positional = {one.name for one in parameters if one.kind in (kinds.VAR_POSITIONAL, kinds.POSITIONAL_ONLY)}
    for name in given:
        if name in positional:
            return name, f"{name} is taken by position only"
        near = difflib.get_close_matches(name, named - set(given), n=1, cutoff=_NEAR)
        if name not in named and near:
            return name, f"did you mean {near[0]!r}?"
    return None


def _use_method(model: nn.Module, name: str) -> None:
    """Make `name` what a call of the model runs; where the method calls the model, that runs its own `forward`."""
    method = getattr(model, name, None)
    if not inspect.ismethod(method):
        if method is not None:
            message = f"{name!r} of {type(model).__name__} is {of_type(method)}, and no method of an instance"
            raise StageFailure(Kind.BUILD, message, f"write it as a method: def {name}(self, …)")
        methods = [key for key, value in inspect.getmembers(type(model), inspect.isfunction) if key[0] != "_"]
        methods = [key for key in methods if not isinstance(inspect.getattr_static(model, key), staticmethod)]
        near = difflib.get_close_matches(name, methods, n=1)
        raise StageFailure(
            Kind.BUILD,
            f"{type(model).__name__} has no method {name!r}",
            f"did you mean {near[0]!r}?" if near else None,
        )
    chosen, own = method.__func__, model.forward
    inside: list[bool] = []

    @functools.wraps(chosen)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if inside:
            return own(*args, **kwargs)
        inside.append(True)
        try:
            return chosen(self, *args, **kwargs)
        finally:
            inside.pop()

    model.forward = types.MethodType(forward, model)
