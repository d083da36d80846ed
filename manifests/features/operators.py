"""A custom operator, and a decomposition of one's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.library.custom_op("features::triple", mutates_args=())
def triple(x: Tensor) -> Tensor:
    return x * 3


@triple.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Triples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.features.triple(x) + 1


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Decompose GELU into the tanh form, which differs from the exact one by less than 0.001."""
    return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
