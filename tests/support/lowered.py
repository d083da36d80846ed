"""Models with operators of every kind that lowering treats in its own way, and rules for some of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Operators(nn.Module):
    """Plain operators (silu, gelu), composite ones (linear, dropout), one that changes its input, a sub-graph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        hidden = self.drop(functional.gelu(self.linear(functional.silu(x))))
        return torch.cond(x.sum() > 0, lambda y: functional.silu(y) + 1, lambda y: y.sin(), (hidden,)) + self.calls


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = torch.ops.lowered.twice(x)
        return doubled + 1


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x + 1, inplace=True)


@torch.library.custom_op("lowered::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def silu(x: Tensor) -> Tensor:
    """silu, by tanh in place of sigmoid, so that it can be told from torch's rule."""
    return x * (torch.tanh(x / 2) + 1) / 2


def sums(x: Tensor) -> Tensor:
    return x + x


def wrong(x: Tensor) -> Tensor:
    return x * 0.5


def raises(x: Tensor) -> Tensor:
    raise ValueError(f"no rule for {x.dim()} dims")


def declines(x: Tensor) -> Tensor:
    return NotImplemented


def drops(x: Tensor, probability: float, train: bool) -> Tensor:
    return x


NUMBER = 3
