"""Models that take their inputs in every form that Python has for them."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass
class State:
    """What a recurrent model carries on."""

    hidden: Tensor
    cell: Tensor


class Pair(typing.NamedTuple):
    left: Tensor
    right: Tensor


torch.export.register_dataclass(State, serialized_type_name="features.calls.State")
pytree._register_namedtuple(Pair, serialized_type_name="features.calls.Pair")  # noqa: SLF001


class Positions(nn.Module):
    """Positional-only, by name or position, `*rest`, keyword-only and `**more`."""

    def forward(self, x: Tensor, /, y: Tensor, *rest: Tensor, scale: float = 2.0, **more: Tensor) -> Tensor:
        found = x - y * scale
        for at, one in enumerate([*rest, *more.values()], 3):
            found = found + one * at
        return found


class Nested(nn.Module):
    """A table, a list, a tuple and instances of classes."""

    def forward(self, table: dict, pair: Pair, state: State, both: tuple[Tensor, Tensor]) -> State:
        hidden = table["a"] + table["more"][0] + pair.left - pair.right
        return State(hidden=hidden + both[0], cell=state.cell * state.hidden + both[1])


class Values(nn.Module):
    """Numbers, text, booleans and None."""

    def forward(self, x: Tensor, power: int, mode: str, flip: bool, bias: Tensor | None) -> Tensor:
        found = x**power if mode == "power" else x
        found = -found if flip else found
        return found if bias is None else found + bias


class Repeat(nn.Module):
    """A whole number that varies."""

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.expand(n, x.shape[0]) * 2


class Twice(nn.Module):
    """Two sizes, one always twice the other."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y[:, ::2]


class Total(nn.Module):
    """Any batch and any length."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(1)


def batches() -> dict[str, Tensor]:
    """Return the inputs of `Total`: sequences of vectors, (batch, length, 16)."""
    return {"x": torch.randn(2, 6, 16)}


def sequences(batch: int = 2, length: int = 6) -> list[Tensor]:
    """Return the same by position, of any size."""
    return [torch.randn(batch, length, 16)]
