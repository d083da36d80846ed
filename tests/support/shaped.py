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


class RemembersBySize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        if rows not in self.tables:
            self.tables[rows] = torch.arange(rows)
        return x + self.tables[rows][:, None]


class KeepsHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 3, batch_first=True)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.hidden = self.gru(x[:, None], self.hidden)
        return y


class SameSizes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class WritesData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.memory.data.mul_(0.5)
        self.memory.data.add_(x.mean(0))
        return x + self.memory


class FixesItsSteps(nn.Module):
    """A GRU loops over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 4)

    def forward(self, x: Tensor, table: dict[str, Tensor], flag: bool) -> tuple[Tensor, Tensor]:
        return self.gru(x)[0], table["ids"] + flag


class NotAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < 3:
            raise ValueError("a variance needs three rows")
        return x.var(0)


class Tanh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x).tanh()


class Branches(nn.Module):
    """Takes another way for some sizes. `when` holds a condition over x (n rows) and y (m rows), in Python."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        n, m = x.shape[0], y.shape[0]
        holds = eval(self.when, {"n": n, "m": m})
        return x.sum() + y.sum() if holds else x.sum() - y.sum()


class Fits(nn.Module):
    """Refuses sizes that do not meet a condition over x (n rows) and y (m rows), in eager mode too."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and not eval(self.when, {"n": x.shape[0], "m": y.shape[0]}):
            raise ValueError("the sizes do not fit")
        return x.sum() + y.sum()


class Repeats(nn.Module):
    """Adds y to x, `times` over and with `more` rows at its end."""

    def __init__(self, times: int = 1, more: int = 0) -> None:
        super().__init__()
        self.times = times
        self.more = more

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x] * self.times + [x[:1]] * self.more) + y


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return x[:, :half] + x[:, half:]


class FirstRows(nn.Module):
    """A table of positions with 16 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + self.table[: x.shape[0]]


class ThreeAlike(nn.Module):
    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return x + y + z


class Nested(nn.Module):
    def forward(self, tree: dict[str, Tensor], pair: tuple[Tensor, Tensor]) -> Tensor:
        if tree["a"].shape[0] == pair[1].shape[0]:
            return tree["a"].sum() + pair[1].sum()
        return tree["a"].sum() - pair[0].sum()


class RoundsItsRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[: round(x.shape[0] / 4 + 1)] * 2


class BranchesOnValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class TakesFirst(nn.Module):
    def forward(self, x: Tensor, n: int) -> Tensor:
        return x[:n].sum(0) if n < 5 else x[:5].sum(0)
