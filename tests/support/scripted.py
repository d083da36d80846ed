"""Modules that are turned into TorchScript: control flow, containers, state, and what only scripts have."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """The base of scripts with every kind of state: parameters, buffers, a tensor and a number in attributes."""

    def __init__(self, turns: int = 2) -> None:
        super().__init__()
        self.lin, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("shift", torch.zeros(4))  # equal to the bias of the norm, and no parameter
        self.constant = torch.full((4,), 0.5)
        self.turns = turns

    def forward(self, x: Tensor, y: Tensor | None = None, scale: float = 2.0) -> Tensor:
        found = self.drop(self.norm(self.lin(x))) + self.shift + self.constant
        if y is not None:
            found = found + y
        for _ in range(self.turns):
            found = found * scale
        return found.reshape(x.size(0), -1)

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        return self.lin(x).view(x.size(0) * 2, -1)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        self.last = self.last + x.sum(0)
        return x * self.count + self.last


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x + self.n


class Branches(nn.Module):
    """One branch depends on the values of a tensor, and loads parameters inside."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):  # noqa: SIM108 - the form is the point
            y = self.one(x)
        else:
            y = self.other(x) * 2
        if x.dim() == 2 and not x.is_sparse:
            y = y + 1
        return y


class Containers(nn.Module):
    def forward(self, x: dict[str, Tensor], y: list[Tensor]) -> dict[str, Tensor]:
        found: list[Tensor] = []
        for at, one in enumerate(y):
            found.append(one * at)
        sizes = {"rows": x["a"].size(0)}
        return {"sum": torch.stack(found).sum(0) + x["a"], "wide": x["b"].reshape(sizes["rows"], 2, -1).flatten(1)}


class Sizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape
        wide = torch.cat([x, torch.zeros(rows, 1, dtype=x.dtype, device=x.device)], 1) / float(columns)
        while wide.size(1) < 8:
            wide = torch.cat([wide, wide], 1)
        if columns != 4:
            raise ValueError("four columns, please")
        return wide.to(torch.float64).view(rows, -1, 2).permute(0, 2, 1).reshape(rows * 2, -1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found, (state, _) = self.inner(x.unsqueeze(1))
        return found, state


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.unsqueeze(1))


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(1, 2, 3), nn.Conv1d(2, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        for layer in self.layers:
            x = layer(x).relu()
        return nn.functional.adaptive_avg_pool1d(x, 1).flatten(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x))


class Casts(nn.Module):
    """Every form of `to`."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        found = x.to(torch.float64).to(x.device) + x.to(like) + x.to(device="cpu", copy=True) + x.type_as(like)
        return found.to(torch.device("cpu"), torch.float16).double() + x.half().to(torch.float32, non_blocking=True)


@torch.jit.script
class Pair:
    def __init__(self, first: Tensor) -> None:
        self.first = first


class Objects(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Pair(x).first + 1


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = 1
        if bool(x.sum() > 0):
            n = 2
        return x * n


def script(name: str) -> nn.Module:
    return torch.jit.script(globals()[name]())


def trace(name: str) -> nn.Module:
    return torch.jit.trace(globals()[name]().eval(), torch.randn(3, 4), check_trace=False)


def traced_casts() -> nn.Module:
    return torch.jit.trace(Casts(), (torch.randn(3, 4), torch.randn(3, 4).double()), check_trace=False)


class Around(nn.Module):
    """A model in Python with scripted parts, one of them in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.part = torch.jit.script(Norm())
        self.again, self.lin = self.part, nn.Linear(4, 4)
        self.parts = nn.ModuleList([torch.jit.script(nn.Linear(4, 4)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.part(self.lin(x)) + self.again.encode(x).mean()
        for part in self.parts:
            x = part(x)
        return x


@torch.jit.script
def stretched(x: Tensor, times: int = 2) -> Tensor:
    return x.reshape(x.size(0) * times, -1) * times


traced = torch.jit.trace(lambda x: x.view(x.size(0) * 2, -1) + 1, torch.randn(3, 4))


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return stretched(self.lin(x)) + traced(x)
