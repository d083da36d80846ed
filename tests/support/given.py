"""Models whose inputs come from a factory or a file, and factories that make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class State:
    h: Tensor
    steps: int


torch.export.register_dataclass(State, serialized_type_name="support.given.State")


class Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum(0) + y.sum(0)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class InGroups(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 4, x.shape[1]).mean(1)


class SameSizes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Holds(nn.Module):
    """Takes tensors in containers."""

    def forward(self, state: State, table: dict[str, Tensor], *xs: Tensor) -> Tensor:
        return state.h * state.steps + table["scale"] + table["a b"] + sum(x.sum() for x in xs)


class Power(nn.Module):
    def forward(self, x: Tensor, n: int) -> Tensor:
        return x * n


def random() -> dict[str, Tensor]:
    return {"x": torch.randn(4, 3)}


def one_row() -> dict[str, Tensor]:
    return {"x": torch.ones(1, 3)}


def two() -> dict[str, Tensor]:
    return {"x": torch.randn(4, 3), "y": torch.randn(4, 3)}


def as_list() -> list[Tensor]:
    return [torch.randn(4, 3), torch.randn(4, 3)]


def different() -> dict[str, Tensor]:
    return {"x": torch.ones(4, 3), "y": torch.ones(5, 3)}


def nested() -> dict[str, Any]:
    rows = torch.randn(4, 3)
    return {
        "state": State(h=rows, steps=2),
        "table": {"scale": rows, "a b": torch.ones(1)},
        "xs": [rows, torch.ones(3)],
    }


def number() -> dict[str, Any]:
    return {"x": torch.ones(3), "n": 5}


def scalar() -> dict[str, Tensor]:
    return {"x": torch.tensor(1.0)}


def sized(rows: int, columns: int = 3, *, scale: float = 1.0) -> dict[str, Tensor]:
    return {"x": torch.full((rows, columns), scale * rows)}


def limited(rows: int) -> dict[str, Tensor]:
    if rows > 6:
        raise ValueError("no more than six rows")
    return {"x": torch.ones(rows, 3)}


def needs_more(row: int) -> dict[str, Tensor]:
    return {"x": torch.ones(row, 3)}


def of_another_size(rows: int) -> dict[str, Tensor]:
    return {"x": torch.ones(rows + 1, 3)}


class UpTo100(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] <= 100 else x * 3


class Above4(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] > 4 else x * 3


class Of16Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(16, 3) * 2


class Repeats(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.repeat(2, 1) + y


class Flat16(nn.Module):
    """Takes any number of columns in eager mode, and is traced for one."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(int(x.shape[1]) % 3 == 0) if x.shape[1] in (3, 6) else x[:, :0]
