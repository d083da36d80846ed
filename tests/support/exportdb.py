"""The cases of torch's own exportdb as models and inputs of a manifest: `model_NAME`, `inputs_NAME`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch._export.db.case import SupportLevel
from torch._export.db.examples import all_examples

CASES = all_examples()
SUPPORTED = sorted(name for name, case in CASES.items() if case.support_level is SupportLevel.SUPPORTED)


def __getattr__(name: str) -> Callable[[], Any]:
    what, _, case = name.partition("_")
    if case not in CASES or what not in ("model", "inputs"):
        raise AttributeError(name)
    if what == "model":
        return lambda: copy.deepcopy(CASES[case].model)
    return lambda: _inputs(CASES[case])


def _inputs(case: Any) -> list[Any] | dict[str, Any]:
    """Inputs by position, and where a case has some by name, all by name."""
    if not case.example_kwargs:
        return list(case.example_args)
    signature = inspect.signature(case.model.forward)
    bound = signature.bind(*case.example_args, **case.example_kwargs).arguments
    rest = [name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD]
    return {name: value for name, value in bound.items() if name not in rest} | {
        name: value for one in rest for name, value in bound.get(one, {}).items()
    }
