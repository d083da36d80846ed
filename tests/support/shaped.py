"""Models that treat some sizes otherwise than the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InGroups(nn.Module):
    """torch guards against a single group, whatever the smallest size that the manifest allows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 4, x.shape[1]).mean(1)


class OtherAtTheTop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.shape[0] // 16 != 4 else x - 1


class OtherWhereBothAreSmall(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum() + y.sum() if x.shape[0] + y.shape[0] > 2 else x.sum() - y.sum()


class RemembersBySize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        if rows not in self.tables:
            self.tables[rows] = torch.arange(rows)
        return x + self.tables[rows][:, None]


class NotAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 3:
            raise ValueError("a variance needs three rows")
        return x.var(0)


class Tanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x).tanh()
