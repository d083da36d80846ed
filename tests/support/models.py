"""Tiny models, each with one thing that an export has to get right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


class Affine(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class RenamedAffine(nn.Module):
    """Affine, written in other words."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        # another name, and lines that Affine has not

        hidden = self.linear(x)
        return torch.relu(hidden)


class Attention(nn.Module):
    """Two inputs that share two names."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return (ids * mask).cumsum(1)


class Derived(nn.Module):
    def forward(self, short: Tensor, long: Tensor) -> Tensor:
        return torch.cat([short, long])[: short.shape[0]] + short


class Halves(nn.Module):
    """Right only for a size that is a multiple of 8."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 8).sum(1)


class Nested(nn.Module):
    def forward(self, pair: list[Tensor], table: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": pair[0] + pair[1] * table["inner"]["scale"], "more": table["list"][0][0] - 1}


class Scalars(nn.Module):
    def forward(
        self,
        x: Tensor,
        factor: float,
        power: int,
        *,
        mode: str,
        flip: bool,
        bias: Tensor | None = None,
        unused: Tensor | None = None,
    ) -> Tensor:
        x = x * factor**power if mode == "scale" else x
        x = -x if flip else x
        return x if bias is None else x + bias


class KeywordOnly(nn.Module):
    def forward(self, *, right: Tensor, left: Tensor) -> Tensor:
        return left - right


class OtherMethod(Affine):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("nobody asked for forward")

    def encode(self, text: Tensor, scale: float = 2.0) -> Tensor:
        return self.linear(text) * scale


class Buffers(nn.Module):
    kept: Tensor
    passing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.rand(3))
        self.register_buffer("passing", torch.rand(3), persistent=False)
        self.constant = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.kept + self.passing - self.constant + torch.tensor([0.5, 0.5, 0.5])


class Counts(nn.Module):
    """Changes its own buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x + self.calls


class Remembers(nn.Module):
    """Keeps what its first run made: a number, a tensor, another buffer in place of its own."""

    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(3))
        self.plain = torch.zeros(3)
        self.runs = 0
        self.cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return x + self.last + self.plain + self.runs + (0 if self.cache is None else 100)
        self.cache = x
        self.runs += 1
        self.plain += 1
        self.last = self.last + 1
        return x


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Tied(nn.Module):
    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids))


class Views(nn.Module):
    """Two parameters; `shared` makes them two views of one storage."""

    def __init__(self, shared: bool = True) -> None:
        super().__init__()
        base = torch.rand(2, 4)
        self.one = nn.Parameter(base[0])
        self.two = nn.Parameter(base[1] if shared else base[1].clone())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.one + self.two


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Affine(3)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


class Silu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x) + torch.tanh(x)


class Dropped(nn.Module):
    """Another in eval mode than in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(x))


class Branches(nn.Module):
    """Has sub-graphs. `offset` is inside one of them."""

    def __init__(self, offset: float = 1.0) -> None:
        super().__init__()
        self.offset = offset
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: self.linear(y) + self.offset, lambda y: y.sin(), (x,))


class Attribute(nn.Module):
    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


class Constant(nn.Module):
    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = torch.full((4,), value)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


class ManyTypes(nn.Module):
    """A buffer of every dtype that can hold weights."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("float64", "float16", "bfloat16", "int8", "uint8", "int64", "bool", "complex64"):
            self.register_buffer(f"a_{name}", torch.ones(3, dtype=getattr(torch, name)))
        self.register_buffer("empty", torch.ones(0, 4))
        self.register_buffer("scalar", torch.ones(()))
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("spread", torch.ones(1).expand(4))

    def forward(self, x: Tensor) -> Tensor:
        used = [buffer.sum().abs().float() for buffer in self.buffers()]
        return x + torch.stack(used).sum()


class Box(NamedTuple):
    content: Tensor
    label: Tensor


pytree._register_namedtuple(Box, serialized_type_name="support.models.Box")


class Boxes(nn.Module):
    def forward(self, box: Box) -> Box:
        return Box(content=box.content + 1, label=box.label * 2)


@dataclass
class Crate:
    content: Tensor
    size: int


torch.export.register_dataclass(Crate, serialized_type_name="support.models.Crate")


class Crates(nn.Module):
    def forward(self, crate: Crate) -> Crate:
        return Crate(content=crate.content * crate.size, size=crate.size)


def affine_inputs() -> dict[str, Any]:
    return {"x": torch.arange(12.0).reshape(3, 4)}


def box_inputs() -> dict[str, Any]:
    return {"box": Box(content=torch.ones(2), label=torch.arange(2))}


def crate_inputs() -> dict[str, Any]:
    return {"crate": Crate(content=torch.ones(2), size=3)}


def bare_input() -> Tensor:
    return torch.ones(2)
