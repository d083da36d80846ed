"""Models that keep something from one call to the next, in ways that an export keeps and in ways that it loses."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """What they all have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


class CountsInPython(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) + self.calls


class KeepsAList(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.dim())
        return self.linear(x) + len(self.seen)


class KeepsADict(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.seen["total"] = self.seen.get("total", torch.zeros(4)) + x.sum(0)
        return self.linear(x) + self.seen["total"]


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = x.mean(0) if self.hidden is None else (self.hidden + x.mean(0)).detach()
        return x + self.hidden


class KeepsHidden(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Recurrent()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.inner(x))


class OwnRandomness(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * float(np.random.default_rng().uniform(1, 2))


class OwnGenerator(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.rand(4, generator=self.generator)


class CountsInItsClass(Linear):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        CountsInItsClass.calls += 1
        return self.linear(x) + self.calls


class MakesATable(Linear):
    """What its first call makes is the same whatever the call."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(4.0).sin()
        return self.linear(x) + self.table


class RemembersTheLast(Linear):
    """Keeps an output that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.linear(x)
        return self.last


class AssignsABuffer(Linear):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.linear(x) - self.mean


class ReturnsItsBuffer(Linear):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(self.linear(x).mean(0), alpha=0.1)
        return self.mean


class MarksItsInput(Linear):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        x.add_(1)
        self.calls.add_(1)
        return y


class ReturnsNumbers(Linear):
    def forward(self, x: Tensor) -> Any:
        return {"y": self.linear(x), "rows": x.shape[0], "none": None, "pair": (x + 1, True)}


class ReturnsManyDtypes(Linear):
    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        return y > 0, (y * 9).to(torch.int8), y.to(torch.bfloat16), torch.complex(y, y), y[:0], y / 0, y.argmax(1)


class ReturnsText(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.linear(x), "cat"


class Answer:
    """No class that torch knows."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class ReturnsAnObject(Linear):
    def forward(self, x: Tensor) -> Any:
        return Answer(self.linear(x))


class MixedDtypes(Linear):
    phases: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("phases", torch.linspace(0.1, 1.0, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.to(self.linear.weight.dtype))
        return (y.to(torch.float64) * self.phases).float()


class AlmostNothing(nn.Module):
    """Its outputs are all within the default tolerance of zero, unless its inputs are large."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": 1e-6 * x, "half": (x * 0 + 0.5).mean()}


class DrawsInEval(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.linear(x), 0.5, training=True)


class DropsNothing(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 4, num_layers=2, dropout=0.5)

    def forward(self, x: Tensor) -> Tensor:
        heads = nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])
        return self.gru(nn.functional.dropout(self.linear(x), 0.5, training=False) + heads[0, 0])[0]


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class ReturnsAPair(Linear):
    def forward(self, x: Tensor) -> dict[str, Pair]:
        return {"pair": Pair(self.linear(x), x + 1)}


class ReturnsTopK(Linear):
    def forward(self, x: Tensor) -> list[Any]:
        return [self.linear(x).topk(2)]


class ReturnsByPair(Linear):
    def forward(self, x: Tensor) -> dict[Any, Tensor]:
        return {(1, 2): self.linear(x)}


class Box:
    """A container that is registered, but under no name."""

    def __init__(self, content: Any) -> None:
        self.content = content


torch.utils._pytree.register_pytree_node(Box, lambda box: ([box.content], None), lambda parts, _: Box(*parts))


class ReturnsANode(Linear):
    def forward(self, x: Tensor) -> Box:
        return Box(self.linear(x))


class DrawsFromPython(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (2 if random.random() < 0.7 else 1)


class DrawsFromNumPy(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + float(np.random.rand())


class ReturnsSparse(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).to_sparse()


class ReturnsNothing(Linear):
    def forward(self, x: Tensor) -> tuple[()]:
        return ()


class ReturnsAnArray(Linear):
    def forward(self, x: Tensor) -> Any:
        return self.linear(x).numpy()


class ReturnsFloat8(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).to(torch.float8_e4m3fn)


def broken() -> nn.Module:
    model = Linear()
    nn.init.constant_(model.linear.bias, float("nan"))
    return model


class RoundsInside(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).bfloat16().float() + 1


class InDoubles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin() + 1


class DrawsInVain(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + 0 * torch.rand(4, generator=self.generator)


class AddsToATensor(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(4)

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x.sum(0))
        return self.linear(x) + self.total


THE_SAME = torch.zeros(3, 4)


def the_same_inputs() -> dict[str, Tensor]:
    return {"x": THE_SAME}
