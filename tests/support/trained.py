"""Models as they are trained: with dropout, batch statistics, frozen and unused parameters, and a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """`frozen` needs no gradient of its own."""

    def __init__(self, drop: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.weight.requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.frozen(self.linear(x))))


class Recurrent(nn.Module):
    """Lowered to core ATen, or compiled, it draws in another order than in eager mode."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.lstm(x)[0]
        return hidden


class Loss(Net):
    """The loss, and an output that has a gradient too. `unused` gets none."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__(drop)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        y = super().forward(x)
        return {"y": y, "loss": functional.mse_loss(y, target)}
