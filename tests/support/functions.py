"""Models that are no nn.Module: functions, closures, partials and objects that are called with the inputs."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

TABLE = torch.arange(12.0).reshape(4, 3)
NET = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))


def looked_up(x: Tensor, y: Tensor) -> Tensor:
    return x @ TABLE - y


def scaled(x: Tensor, scale: float, *, bias: float = 1.0) -> Tensor:
    return x * scale + bias


def helped(x: Tensor) -> Tensor:
    return _helper(x).softmax(-1)


def _helper(x: Tensor) -> Tensor:
    found: Tensor = NET(x)
    return found


def closure(width: int = 4, value: float = 2.0) -> Callable[..., Tensor]:
    net, scale = nn.Linear(width, 3), torch.full((3,), value)

    def run(x: Tensor, /, *, times: int = 1) -> Tensor:
        found: Tensor = net(x) * scale * times
        return found

    return run


class Scorer:
    def __init__(self, width: int = 4) -> None:
        self.net, self.training, self.shift = nn.Linear(width, 3), nn.Dropout(0.5), torch.ones(3)

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = self.training(self.net(x)) + self.shift
        return found


SCORER = Scorer()
TRIPLED = functools.partial(scaled, scale=3.0)


@torch.compile
def compiled(x: Tensor) -> Tensor:
    return x.sin() @ TABLE


@functools.lru_cache
def remembered(width: int = 4) -> nn.Module:
    return nn.Linear(width, 3)


def factory(width: int, bias: bool = True) -> nn.Module:
    return nn.Linear(width, 3, bias=bias)


def nothing(x: Any = None) -> Any:
    return x


async def later(x: Tensor) -> Tensor:
    return x


def drawn(x: Tensor) -> Tensor:
    return x * random.random()


class Parts(nn.Module):
    """A model with methods of every kind."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(4, width), Head(width)
        self.table = nn.ModuleDict({"a": nn.Linear(4, 2)})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    @torch.no_grad()
    def quiet(self, x: Tensor) -> Tensor:
        return self(x) + self.forward(x)

    @torch.inference_mode()
    def inferred(self, x: Tensor) -> Tensor:
        return self(x) + 1

    @torch.autocast("cpu", dtype=torch.bfloat16)
    def half(self, x: Tensor) -> Tensor:
        return self(x)

    @torch.compile
    def fast(self, x: Tensor) -> Tensor:
        return self(x) - 1

    @staticmethod
    def double(x: Tensor) -> Tensor:
        return x * 2

    @classmethod
    def named(cls, x: Tensor) -> Tensor:
        return x * len(cls.__name__)

    @classmethod
    def wide(cls, width: int = 5) -> Parts:
        return cls(width)

    @property
    def settled(self) -> bool:
        return True


class Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def step(self, h: Tensor) -> Tensor:
        return self(h).tanh()


PARTS = Parts()


def method() -> Callable[..., Tensor]:
    return Parts().head.step
