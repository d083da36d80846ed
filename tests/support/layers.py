"""Models of single layers whose programs torch changes when it loads their archives."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Split(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, _ = x.split(2, dim=1)
        return first.topk(1, dim=1).values


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.arange(4.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table + torch.tensor([1.0, 2.0, 3.0, 4.0])


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.layers(x)
        return normalized


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        pooled, _ = nn.functional.max_pool1d(self.norm(x.unsqueeze(2)), 1, return_indices=True)
        return pooled.squeeze(2)


class Larger(nn.Module):
    """Takes the larger of two sizes, by a function of torch's that is no operator."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0, keepdim=True).expand(torch.sym_max(x.shape[0], 3), 4) + 1


class Deferred(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.reshape(-1) + y


class EvenColumns(nn.Module):
    def forward(self, x: Tensor, factor: int) -> Tensor:
        y = (x * factor).to(torch.float64).to(torch.float32).clone()
        y[..., ::2] = y[..., :1]
        return y


class BranchesOnTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] == 2 else x - 1
