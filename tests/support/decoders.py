"""Small decoders of transformers, which keep keys and values of earlier calls unless told otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def with_option(use_cache: bool = True) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50, n_positions=32, use_cache=use_cache)
    )


def without_option() -> nn.Module:
    return with_option()


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = with_option()

    def forward(self, input_ids: Tensor) -> Any:
        return self.inner(input_ids)
