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


class KeepsHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 3, batch_first=True)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.hidden = self.gru(x[:, None], self.hidden)
        return y


class SameSizes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class WritesData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.memory.data.mul_(0.5)
        self.memory.data.add_(x.mean(0))
        return x + self.memory


class FixesItsSteps(nn.Module):
    """A GRU loops over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 4)

    def forward(self, x: Tensor, table: dict[str, Tensor], flag: bool) -> tuple[Tensor, Tensor]:
        return self.gru(x)[0], table["ids"] + flag


class NotAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 3:
            raise ValueError("a variance needs three rows")
        return x.var(0)


class Tanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x).tanh()
