"""Make an nn.Module of TorchScript that torch.export captures: eager calls run the script, a capture runs its graph."""

from __future__ import annotations

import inspect
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from batchexport.pipeline.failure import Kind, StageFailure, classified
from batchexport.pipeline.torchscript import run_graph

Script = torch.jit.ScriptModule
_SCRIPT = "_script"


class ScriptedModel(nn.Module):
    """The same tree as a ScriptModule, with its very parameters and buffers, under their names.

    Attributes and methods of the script are those of the model.
    """

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = (script,)  # no submodule
        self.train(script.training)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            (script,) = self.__dict__[_SCRIPT]
            if script._c._has_method(name):
                return _Method(self, name)
            return getattr(script, name)

    def methods(self) -> list[str]:
        """Return the names of the methods that the script has."""
        return [str(name) for name in self._script[0]._c._method_names()]


class _Method:
    """A method of a script, to be called with its model's tensors."""

    def __init__(self, model: ScriptedModel, name: str) -> None:
        self.__name__ = name
        self._model = model
        self._script: Script = model._script[0]
        self.__signature__ = _signature(self._script._c._get_method(name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_exporting():
            given = self.__signature__.bind(*args, **kwargs)
            given.apply_defaults()
            return run_graph(self._script._c._get_method(self.__name__).graph, [self._model, *given.args])
        self._exchange(take=False)
        try:
            run = self._script if self.__name__ == "forward" else getattr(self._script, self.__name__)
            return run(*args, **kwargs)
        finally:
            self._exchange(take=True)

    def _exchange(self, *, take: bool) -> None:
        """Take the buffers that the script has now, or give it the model's: a call may replace them."""
        for part in self._model.modules():
            if isinstance(part, ScriptedModel):
                (script,) = part._script
                for name, buffer in part._buffers.items():
                    own = getattr(script, name)
                    if own is not buffer and take:
                        part._buffers[name] = own
                    elif own is not buffer:
                        setattr(script, name, buffer)


def _signature(method: Any) -> inspect.Signature:
    return signature(method.schema.arguments[1:])  # without `self`


def signature(arguments: Sequence[Any]) -> inspect.Signature:
    """Return the signature of a method or function in TorchScript with these arguments in its schema."""
    kinds = inspect.Parameter
    return inspect.Signature(
        [
            kinds(
                one.name,
                kinds.KEYWORD_ONLY if one.kwarg_only else kinds.POSITIONAL_OR_KEYWORD,
                default=one.default_value if one.has_default_value() else kinds.empty,
            )
            for one in arguments
        ]
    )


def load_script(path: str, name: str) -> nn.Module:
    """Load a file of `torch.jit.save`; `name` stands for it in messages. Raises StageFailure of kind build."""
    try:
        script: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        if os.path.isfile(path) and not _is_script(path):
            remedy = 'a state_dict goes into weights, and the model is the "module:attribute" that makes it'
            raise StageFailure(Kind.BUILD, f"{name} holds no TorchScript", remedy) from error
        raise classified(error, Kind.BUILD, f"loading {name}") from error
    return script


def _is_script(path: str) -> bool:
    """Return True if a file is an archive with code, as torch.jit.save writes it and torch.save does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2].startswith(("code/", "constants.pkl")) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def scripted(model: nn.Module) -> nn.Module:
    """Return `model` with every ScriptModule in it, or itself, replaced by a ScriptedModel."""
    made: dict[int, ScriptedModel] = {}
    tied: dict[int, nn.Parameter] = {}

    def replaced(part: nn.Module) -> nn.Module:
        if isinstance(part, Script):
            if id(part) not in made:
                made[id(part)] = _mirror(part, tied)
            return made[id(part)]
        for name, child in part._modules.items():
            if child is not None:
                part._modules[name] = replaced(child)
        return part

    return replaced(model) if has_script(model) else model


def has_script(model: nn.Module) -> bool:
    """Return True if `model` is TorchScript, or has a part that is."""
    return any(isinstance(part, Script | ScriptedModel) for part in model.modules())


def _mirror(script: Script, tied: dict[int, nn.Parameter]) -> ScriptedModel:
    kind = type(script.original_name or "ScriptedModel", (ScriptedModel,), {"forward": _forward(script)})
    model: ScriptedModel = kind(script)
    parameters: Mapping[str, Any] = script._parameters
    for name, tensor in parameters.items():
        if id(tensor) not in tied:
            is_one = isinstance(tensor, nn.Parameter)  # as those of a script that was loaded are not
            tied[id(tensor)] = tensor if is_one else nn.Parameter(tensor, requires_grad=False)
        model._parameters[name] = tied[id(tensor)]
    model._buffers.update(script._buffers.items())
    modules: Mapping[str, Any] = script._modules
    model._modules.update({name: _mirror(child, tied) for name, child in modules.items()})
    return model


def _forward(script: Script) -> Callable[..., Any]:
    def forward(model: ScriptedModel, /, *args: Any, **kwargs: Any) -> Any:
        return _Method(model, "forward")(*args, **kwargs)

    if script._c._has_method("forward"):
        own = _signature(script._c._get_method("forward"))
        itself = inspect.Parameter("_model", inspect.Parameter.POSITIONAL_ONLY)
        forward.__signature__ = own.replace(parameters=[itself, *own.parameters.values()])  # type: ignore[attr-defined]
    return forward
