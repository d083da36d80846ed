"""Say how to turn off a key-value cache of transformers that a model returns, which no archive can hold."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from batchexport.pipeline.build import attribute
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.library_models import SOURCES, is_transformer

_OPTION = "use_cache"


def refuse_caches(returned: Iterable[Any], model: nn.Module, spec: Mapping[str, Any]) -> None:
    """Raise StageFailure of kind export if a cache is among the classes that a model has `returned`.

    It tells the line to write where the manifest can turn the cache off: an argument of the factory, else an input.
    """
    found = next((kind.__name__ for kind in returned if _is_cache(kind)), None)
    if found is None:
        return
    message = f"{type(model).__name__} returns a {found}, the cache of keys and values of earlier calls"
    if is_transformer(spec):
        raise _with_line(message, "kwargs", f"write `kwargs.{_OPTION} = false` in the entry, or leave {_OPTION} out")
    if _takes(spec["model"]):
        raise _with_line(message, "kwargs")
    forward = inspect.signature(model.forward).parameters
    if _OPTION in forward and isinstance(spec["inputs"], Mapping):
        raise _with_line(message, "inputs")
    raise StageFailure(Kind.EXPORT, message, f"build the model with `{_OPTION}=False` in its config")


def _is_cache(kind: Any) -> bool:
    bases = getattr(kind, "__mro__", ())
    return any(base.__name__ == "Cache" and base.__module__.startswith("transformers.") for base in bases)


def _with_line(message: str, table: str, remedy: str | None = None) -> StageFailure:
    failure = StageFailure(Kind.EXPORT, message, remedy or f"write `{_OPTION} = false` in [entry.{table}]")
    failure.fix = [{"path": [table, _OPTION], "value": False}]
    return failure


def _takes(reference: str) -> bool:
    """Return True if the factory or class of a model has an argument of this name, as configurations have."""
    if reference.partition(":")[0] in SOURCES:
        return False
    try:
        return _OPTION in inspect.signature(attribute(reference)).parameters
    except Exception:  # an archive, or a callable in C
        return False
