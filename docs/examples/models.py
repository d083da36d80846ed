"""The model of the examples."""

import torch
from torch import nn


class MLP(nn.Module):
    """Two layers; `mask` is optional in eager mode and an input of the exported program."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(16, hidden)
        self.second = nn.Linear(hidden, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = self.second(self.first(x).relu())
        return y if mask is None else y * mask
