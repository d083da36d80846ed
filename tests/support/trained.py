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


class Tied(nn.Module):
    """Two names for one weight, used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)
        self.outer.weight = self.inner.weight

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.outer(torch.tanh(self.inner(x))).square().mean()
        return loss


class NoLoss(nn.Module):
    """Returns what can't be a loss, and, as the fifth, what can."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4).requires_grad_(not frozen)

    def forward(self, x: Tensor) -> dict[str, object]:
        y = self.linear(x)
        scores = {"best": y.sum(1).argmax(), "apart": x.mean()}
        return {"y": y, "scores": scores, "rows": 3, "mean": y.mean()}
