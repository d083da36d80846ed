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


class Tanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x).tanh()
