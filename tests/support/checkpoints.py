"""Models whose weights are stored in the many ways that people have, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

State = Mapping[str, Tensor]


class Net(nn.Module):
    """With buffers that a batch norm of old did not store."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.bn = nn.BatchNorm1d(8)
        self.b = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.bn(self.a(x)))


class Normed(nn.Module):
    """Whose weight had other names once."""

    def __init__(self) -> None:
        super().__init__()
        self.c = weight_norm(nn.Conv1d(3, 5, 3, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.emb(ids))


class Views(nn.Module):
    """A buffer that is the first row of another."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("whole", torch.zeros(3, 4))
        self.register_buffer("first", self.whole[0])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.LazyLinear(2)


def weights(factor: float = 1.0) -> dict[str, Tensor]:
    """Weights of Plain."""
    return {"linear.weight": torch.full((2, 4), factor), "linear.bias": torch.arange(2.0)}


def net_state(seed: int = 8) -> dict[str, Tensor]:
    """Weights of Net, with statistics that are not those of a new one."""
    torch.manual_seed(seed)
    net = Net()
    net.bn.running_mean.normal_()
    net.bn.running_var.uniform_(0.5, 2)
    return dict(net.state_dict())


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def write_shards(folder: Path, parts: Mapping[str, State], *, listed: Mapping[str, str] | None = None) -> Path:
    """Write shards, by file name, and their index; `listed` takes the place of what the index would say."""
    folder.mkdir(exist_ok=True)
    for file, state in parts.items():
        if file.endswith(".safetensors"):
            save_file(dict(state), folder / file)
        else:
            torch.save(dict(state), folder / file)
    places: dict[str, Any] = {name: file for file, state in parts.items() for name in state}
    suffix = "safetensors" if any(file.endswith(".safetensors") for file in parts) else "bin"
    index = folder / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places if listed is None else listed}))
    return index
