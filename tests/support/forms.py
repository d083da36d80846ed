"""Models that take their inputs in every form that Python has for them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


class Weighted(nn.Module):
    """The base of the rest: a parameter, a buffer and a constant, whose names an export has to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("shift", torch.arange(3.0))
        self.constant = torch.full((3,), 0.5)

    def weigh(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.constant + self.shift


class Two(Weighted):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weigh(x) - y


class Star(Weighted):
    def forward(self, *xs: Tensor) -> Tensor:
        total = torch.zeros(3)
        for at, x in enumerate(xs, 1):
            total = total + x * at
        return self.weigh(total)


class Keywords(Weighted):
    def forward(self, **kwargs: Tensor) -> Tensor:
        return self.weigh(kwargs["a"]) - kwargs["b"]


class Wraps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Two()

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        return self.inner(*args, **kwargs)


class Everything(Weighted):
    def forward(
        self, first: Tensor, /, second: Tensor, scale: float = 2.0, *rest: Tensor, bias: Tensor, gain: float = 1.0,
        **more: Tensor,
    ) -> Tensor:  # fmt: skip
        total = self.weigh(first) + second * scale + bias * gain
        for at, one in enumerate([*rest, *more.values()], 2):
            total = total + one * at
        return total


class PositionalOnly(Weighted):
    def forward(self, x: Tensor, y: Tensor | None = None, /, z: Tensor | None = None) -> Tensor:
        found = self.weigh(x)
        return found + (0 if y is None else y * 2) + (0 if z is None else z * 3)


class KeywordsOnly(Weighted):
    def forward(self, *, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.weigh(x) if y is None else self.weigh(x) - y


class Shadows(Weighted):
    """The names of its inputs are those that wrappers use themselves."""

    def forward(self_, args: Tensor, kwargs: Tensor, self: Tensor, xs_0: Tensor, *xs: Tensor) -> Tensor:  # noqa: N805
        return self_.weigh(args) + kwargs * 2 + self * 3 + xs_0 * 4 + xs[0] * 5


class ShadowsByName(Weighted):
    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        return self.weigh(args[0]) + kwargs["kwargs_0"] * 2 + kwargs["args_0"] * 3 + kwargs["forward"] * 4


def partial() -> nn.Module:
    """A model whose forward is bound in part."""
    model = Two()
    model.forward = functools.partial(model.forward, y=torch.ones(3))  # type: ignore[method-assign]
    return model


def partial_star() -> nn.Module:
    model = Star()
    model.forward = functools.partial(model.forward, torch.ones(3))  # type: ignore[method-assign]
    return model


def compiled() -> nn.Module:
    return torch.compile(Two())  # type: ignore[return-value]


def compiled_in_place() -> nn.Module:
    model = Two()
    model.compile()
    return model


def parallel() -> nn.Module:
    return nn.DataParallel(Two())


def compiled_parallel() -> nn.Module:
    return torch.compile(nn.DataParallel(Two()))  # type: ignore[return-value]


def parallel_with_a_hook() -> nn.Module:
    model = nn.DataParallel(Two())
    model.register_forward_hook(lambda _module, _given, output: output * 2)
    return model


@dataclass
class State:
    """`cell` comes last for torch where it is given, and is left out where it is None."""

    h: Tensor
    cell: Tensor | None = None
    steps: int = 1
    extra: list[Tensor] = field(default_factory=list)


torch.export.register_dataclass(State, serialized_type_name="support.forms.State")


@dataclass(kw_only=True)
class Outer:
    """Holds another dataclass, and what the manifest does not give."""

    inner: State
    table: dict[str, Any]
    scale: Tensor = field(default_factory=lambda: torch.full((3,), 2.0))
    rest: State = field(default_factory=lambda: State(h=torch.ones(3), steps=4))


torch.export.register_dataclass(Outer, serialized_type_name="support.forms.Outer")


class Pair(NamedTuple):
    left: Any
    right: Any


pytree._register_namedtuple(Pair, serialized_type_name="support.forms.Pair")


@dataclass
class Unregistered:
    h: Tensor


class Plain:
    pass


class Recurrent(Weighted):
    def forward(self, state: State) -> tuple[Tensor, Tensor]:
        cell = state.h if state.cell is None else state.cell
        return self.weigh(state.h) * state.steps, cell + sum(state.extra)


class Outermost(Weighted):
    def forward(self, outer: Outer) -> Tensor:
        rest = outer.rest
        return self.weigh(outer.inner.h) * outer.scale + outer.table["x"][0] * rest.steps + rest.h


class Fills(Weighted):
    def forward(self, state: State) -> Tensor:
        state.cell = self.weigh(state.h)
        return state.cell


class Encodes(Weighted):
    def encode(self, x: Tensor, /, *rest: Tensor, **more: Tensor) -> Tensor:
        return self.weigh(x) + rest[0] * more["factor"]


class Deep(Weighted):
    """A tuple in a table in a tuple, a named tuple in a list, a dataclass in a named tuple."""

    def forward(self, tree: Any, pairs: list[Pair]) -> Tensor:
        (table, scale) = tree
        inner, flag = table["pair"]
        found = self.weigh(inner) * scale + pairs[0].left.h + pairs[0].right[0]
        return found if flag else -found


class Steps(Weighted):
    def forward(self, x: Tensor, n: int, m: int = 2) -> Tensor:
        return self.weigh(x)[:, :1].expand(-1, n + 1) * m


class SizeAndNumber(Weighted):
    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.reshape(n, 3) * n


class Factor(Weighted):
    """torch fixes a number that a branch looks at."""

    def forward(self, x: Tensor, n: int) -> Tensor:
        return self.weigh(x) if n == 2 or n == 7 else x


def twice() -> dict[str, Tensor]:
    """One tensor under two names."""
    x = torch.arange(6.0).reshape(2, 3)
    return {"x": x, "y": x}


def listed() -> list[Tensor]:
    return [torch.ones(2, 3), torch.arange(3.0)]
