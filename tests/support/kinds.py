"""Modules of the kinds that people write: each is built and called in a way of its own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


class Lists(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ParameterList([nn.Parameter(torch.randn(4)) for _ in range(2)])
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.randn(4)), "b": torch.randn(4)})

    def forward(self, x: Tensor) -> Tensor:
        for parameter in self.all:
            x = x * parameter
        return x + self.named["a"] - self.named["b"]


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def __call__(self, x: Tensor, scale: float = 2.0) -> Any:
        return super().__call__(x * scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.twice = nn.Sequential(self.one, nn.ReLU(), self.one)

    def forward(self, x: Tensor) -> Tensor:
        return self.twice(x)


@dataclasses.dataclass(eq=False)
class Data(nn.Module):
    width: int = 4

    def __post_init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(self.width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.weight = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Any:
        return torch.func.functional_call(self.inner, {"weight": self.weight}, (x,))


class OwnForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.forward = functools.partial(self.run, factor=3)

    def run(self, x: Tensor, factor: int) -> Tensor:
        return self.lin(x) * factor


def hooked() -> nn.Module:
    model = nn.Linear(4, 4)
    model.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    model.register_forward_hook(lambda module, given, found: found + 1)
    return model


def parametrized() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), parametrizations.orthogonal(nn.Linear(4, 4)))


def in_spectral_norm() -> nn.Module:
    return parametrizations.spectral_norm(nn.Linear(4, 4))


def symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))


def on_meta() -> nn.Module:
    return nn.Linear(4, 4, device="meta")


def a_class() -> type:
    return nn.Linear
