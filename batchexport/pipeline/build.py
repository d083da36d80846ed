"""Build the model of a spec: import, construct under a seed, set dtype, load weights strictly, set its mode."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from batchexport.pipeline.exported_model import load_exported
from batchexport.pipeline.failure import Kind, StageFailure, classified, failing_as, of_type
from batchexport.pipeline.function_model import function_model, missing_arguments, takes_inputs
from batchexport.pipeline.library_models import SOURCES, library_model
from batchexport.pipeline.methods import owner_of, run, use_method
from batchexport.pipeline.quantized import refuse_quantized, unwrap_subclasses
from batchexport.pipeline.scripted import has_script, load_script, scripted
from batchexport.pipeline.weights import load_weights, plain
from batchexport.pipeline.wrappers import unwrapped

ARCHIVES = (".pt2", ".pt")  # of torch.export and of TorchScript, by the ends of their names
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
    made = _construct(spec, root)
    owner = owner_of(made)  # as of `models:NET.encode`
    model = unwrapped(owner or made)  # before weights are loaded, so that these need no wrapper's names
    refuse_quantized(model)
    _refuse_valueless(model)
    if spec["strict"] is True and has_script(model):
        remedy = "leave strict out of [entry.export], or build the nn.Module itself"
        raise StageFailure(Kind.EXPORT, "strict capture takes no TorchScript", remedy)
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
    unwrap_subclasses(model)
    model = scripted(model)
    if owner is not None:
        run(model, made)
    elif spec["method"] != "forward":
        use_method(model, spec["method"])
    return model


def _refuse_valueless(model: nn.Module) -> None:
    """Raise StageFailure of kind build for a tensor on the device meta; weights would be loaded into nothing."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta and not is_lazy(tensor):
            message = f"the tensor {name!r} is on the device meta, and has no values"
            raise StageFailure(Kind.BUILD, message, "build the model on the CPU")


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
    of_torch = seed if of_torch is None else of_torch
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        # `torch.manual_seed` reads the source lines of all its callers each time, for devices that are not there.
        torch.default_generator.manual_seed(of_torch)
    else:
        torch.manual_seed(of_torch)


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
    except (Exception, SystemExit) as error:
        raise classified(error, Kind.IMPORT, f"importing {module_name}", _unset_variable(error)) from error


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


def _construct(spec: Mapping[str, Any], root: str) -> Any:
    """Return the module that the spec names, or the bound method of one."""
    reference: str = spec["model"]
    source = reference.partition(":")[0]
    if reference.endswith(ARCHIVES):
        return _loaded(spec, os.path.join(root, reference))
    make = library_model(reference, spec.get("head")) if source in SOURCES else attribute(reference)
    if isinstance(make, nn.Module):
        return make
    if not callable(make):
        raise StageFailure(
            Kind.BUILD,
            f"{reference} is {of_type(make)}, not a callable",
            "name a function or an nn.Module",
        )
    if owner_of(make) is not None:
        if spec["method"] != "forward":
            message = f"the method {spec['method']!r} is named beside the model {reference}, which is a method itself"
            raise StageFailure(Kind.BUILD, message, "leave method out")
        return make
    swallowed = misspelt_keyword(make, spec["kwargs"])
    if swallowed is not None:
        raise StageFailure(Kind.BUILD, f"{reference} would ignore the argument {swallowed[0]!r}", swallowed[1])
    _refuse_unusable(make, reference)
    if takes_inputs(make, spec):
        return function_model(make, spec["args"], spec["kwargs"])
    try:
        model = make(*spec["args"], **spec["kwargs"])
    except StageFailure:
        raise
    except (Exception, SystemExit) as error:
        remedy = _unknown_argument(make, spec["kwargs"]) or missing_arguments(make, spec) or _unset_variable(error)
        raise classified(error, Kind.BUILD, f"building {reference}", remedy) from error
    if isinstance(model, nn.Module) or owner_of(model) is not None:
        return model
    if not callable(model) or isinstance(model, type):
        remedy = "return the model; a function that is itself the model needs a parameter without a default"
        what = f"the class {model.__name__}" if isinstance(model, type) else of_type(model)
        raise StageFailure(Kind.BUILD, f"{reference} returned {what}, not a model", remedy)
    return function_model(model)


def _loaded(spec: Mapping[str, Any], path: str) -> nn.Module:
    """Load an exported program, or TorchScript."""
    reference = spec["model"]
    if spec["args"] or spec["kwargs"]:
        raise StageFailure(Kind.BUILD, f"{reference} is a model, which args and kwargs can't change", "leave them out")
    if reference.endswith(".pt"):
        return load_script(path, reference)
    if spec["method"] != "forward":
        message = f"{reference} is an exported program, which has no method {spec['method']!r}"
        raise StageFailure(Kind.BUILD, message, "leave method out")
    with failing_as(Kind.BUILD, f"loading {reference}"):
        return load_exported(path)


def _refuse_unusable(make: Callable[..., Any], reference: str) -> None:
    """Raise StageFailure of kind build for what can't be called here: coroutines, and methods without an object."""
    if inspect.iscoroutinefunction(make) or inspect.isasyncgenfunction(make):
        raise StageFailure(Kind.BUILD, f"{reference} is async", "write it with def, without async")
    outer, _, name = reference.rpartition(".")
    is_attribute = reference.partition(":")[0] not in SOURCES  # a library's names of models may have dots, too
    if not (is_attribute and inspect.isfunction(make) and ":" in outer):
        return
    owner = attribute(outer)
    if isinstance(owner, type) and not isinstance(inspect.getattr_static(owner, name), staticmethod):
        remedy = f'write model = "{outer}" and method = "{name}"' if issubclass(owner, nn.Module) else None
        raise StageFailure(Kind.BUILD, f"{reference} is a method of a class, and of no object", remedy)


def _unset_variable(error: BaseException) -> str | None:
    """Return what to write where model code asked for an environment variable that is not set, or None."""
    if not isinstance(error, KeyError) or not any(
        frame.f_code is type(os.environ).__getitem__.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)
    ):
        return None
    return f'write `env = {{ {error.args[0]} = "…" }}` in the entry, or set it before the run'


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
