"""Find the operators that a spec names, and the rules that take them apart."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._ops import OpOverload, OpOverloadPacket

from batchexport.pipeline.build import attribute
from batchexport.pipeline.failure import Kind, StageFailure, of_type


@dataclass(slots=True, kw_only=True)
class Rule:
    """A decomposition that remembers whether torch has called it, and whether it raised an error.

    `operator` is the name in the spec; `reference` that of a function of the user, None for torch's own.
    """

    operator: str
    reference: str | None
    function: Callable[..., Any]
    was_called: bool = field(default=False)
    has_failed: bool = field(default=False)

    @property
    def is_torchs(self) -> bool:
        return self.reference is None

    def __str__(self) -> str:
        return "torch's own rule" if self.reference is None else f"the rule {self.reference}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.was_called = True
        try:
            return self.function(*args, **kwargs)
        except Exception:
            self.has_failed = True
            raise


def overloads(name: str) -> list[OpOverload]:
    """Return the overloads that `aten.silu` or `aten.silu.default` names. Raises StageFailure of kind lower."""
    namespace, base, *overload = name.split(".")
    packet = getattr(getattr(torch.ops, namespace), base, None)
    if isinstance(packet, OpOverloadPacket):
        names: list[str] = packet.overloads()  # type: ignore[no-untyped-call]
        found = [getattr(packet, one) for one in names if not overload or one == overload[0]]
        if found:
            return found
        raise _unknown(name, [f"{namespace}.{base}.{one}" for one in names])
    every = [one.partition(".")[0].replace("::", ".") for one in torch._C._dispatch_get_all_op_names()]
    known = sorted({one for one in every if one.startswith(f"{namespace}.")})
    if not known:
        raise StageFailure(
            Kind.LOWER,
            f"there are no operators of the namespace {namespace!r}",
            "list the module that registers them under `imports` of the entry",
        )
    raise _unknown(name, known)


def _unknown(name: str, known: list[str]) -> StageFailure:
    near = difflib.get_close_matches(name, known, n=1)
    return StageFailure(Kind.LOWER, f"there is no operator {name!r}", f"did you mean {near[0]!r}?" if near else None)


def user_rules(spec: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Import the rules that are functions of the user, by the operator. Raises StageFailure of kind import or lower."""
    found = {}
    for name, reference in spec["decompose"].items():
        if reference is not True:
            found[name] = attribute(reference)
            if not callable(found[name]):
                message = f"{reference}, the rule for {name!r}, is {of_type(found[name])}"
                raise StageFailure(Kind.LOWER, message, "name a function with the parameters of the operator")
    return found


def default_table() -> dict[Any, Callable[..., Any]]:
    """Return the rules with which torch makes core ATen IR."""
    return dict(torch.export.default_decompositions().items())  # type: ignore[no-untyped-call]


def chosen_rules(spec: Mapping[str, Any]) -> dict[OpOverload, Rule]:
    """Return the rules for the operators that a spec decomposes. Raises StageFailure of kind lower.

    A composite operator that torch takes apart in any case needs none.
    """
    users, table = user_rules(spec), default_table()
    rules: dict[OpOverload, Rule] = {}
    for name, source in spec["decompose"].items():
        operators = overloads(name)
        for operator in operators:
            function = users.get(name) or table.get(operator) or decomposition_table.get(operator)
            if function is not None:
                rules[operator] = Rule(operator=name, reference=None if source is True else source, function=function)
        if not any(one in rules or is_composite(one) for one in operators):
            raise StageFailure(
                Kind.LOWER,
                f"torch has no decomposition for {name!r}",
                f'write one as a function of your own: decompose = {{ "{name}" = "module:function" }}',
            )
    return rules


def is_composite(operator: OpOverload) -> bool:
    """Return True if an operator is made of others, by a function that torch has in C++ or Python."""
    key = "CompositeImplicitAutograd"
    name: str = operator.name()  # type: ignore[no-untyped-call]
    has_kernel: bool = torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
    return has_kernel or torch._C.DispatchKey.CompositeImplicitAutograd in operator.py_kernels
