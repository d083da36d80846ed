"""Models that torch captures in one mode only, or in none."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Numpy(nn.Module):
    """Only Dynamo can trace NumPy. `last` is what a non-strict capture leaves a tensor without values in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = hidden = self.linear(x)
        self.last = None
        return torch.from_numpy(np.tanh(hidden.detach().numpy())) + 1


class SizeAsKey(nn.Module):
    """A size that varies is no key of a dict in non-strict mode; Dynamo fixes it."""

    def forward(self, x: Tensor) -> Tensor:
        kept = {x.shape[0]: x + 1}
        return kept[x.shape[0]]


class Neither(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1
