"""Models of every form, with state of every kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TABLE = torch.linspace(0.0, 1.0, 16)


class Net(nn.Module):
    """Two linear layers with an encoder of their own, and methods beside `forward`."""

    def __init__(self, width: int = 16, hidden: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, hidden), nn.SiLU())
        self.head = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def logits(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self(x), -1)


def net(width: int = 16, *, hidden: int = 8) -> nn.Module:
    return Net(width, hidden)


NET = Net()


class Pipeline(nn.Module):
    """A network within a model, with a method of its own, and a static method."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    @staticmethod
    def scale(x: Tensor) -> Tensor:
        return x * 2


def scaled(x: Tensor, factor: float = 1.0) -> Tensor:
    """A function that is the model; the network that it names is its state."""
    return NET(x) * factor


class Scriptable(nn.Module):
    """A loop and a branch on the values of a tensor, which a script keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x: Tensor, steps: int = 2) -> Tensor:
        for _ in range(steps):
            x = torch.relu(self.linear(x))
        return x


def scripted() -> torch.jit.ScriptModule:
    return torch.jit.script(Scriptable())


def traced() -> torch.jit.ScriptModule:
    return torch.jit.trace(Scriptable(), torch.zeros(2, 16))


class Gate(nn.Module):
    """SiLU and GELU, the operators that entries keep and decompose."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(nn.functional.silu(self.linear(x)))


class Tied(nn.Module):
    """An embedding that is also the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 16)
        self.out = nn.Linear(16, 32, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embed(tokens))


class Buffers(nn.Module):
    """A persistent buffer, one that is not, and a tensor that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.arange(16.0))
        self.register_buffer("dropped", torch.arange(16.0) / 2, persistent=False)
        self.constant = torch.full((16,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.kept + self.dropped - self.constant


class Running(nn.Module):
    """A running sum that each call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x.mean(0))
        return x - self.total


class Mixed(nn.Module):
    """A float64 table among float32 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.register_buffer("table", torch.linspace(0.0, 1.0, 16, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear(x).double() * self.table).float()


class Outputs(nn.Module):
    """Outputs in a dict, with a list, a number and None among them."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"sum": x.sum(-1), "parts": [x + 1, x * 2], "nothing": None, "order": 2}


class Branches(nn.Module):
    """A branch on the values of a tensor, in the form that torch.export takes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))


class Unrolled(nn.Module):
    """A branch on the values of a tensor, which no export can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Halves(nn.Module):
    """The first half beside the second: the size has to be even."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return x[:, :half] + x[:, half:]


class Regrouped(nn.Module):
    """Sizes that only a check at run time can relate."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.reshape(-1) + y


class Norm(nn.Module):
    """Dropout and batch statistics, which count in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.linear(x)))


class Loss(nn.Module):
    """A regression with its loss as the first output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 1)

    def forward(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        found = self.linear(x).squeeze(-1)
        return nn.functional.mse_loss(found, target), found
