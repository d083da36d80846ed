"""Two trees of outputs are alike if a caller can't tell them apart: containers, types, dtypes, shapes, values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far values may be apart. `values` False: they are not compared at all."""

    rtol: float
    atol: float
    values: bool = True


def difference(got: Any, want: Any, tolerance: Tolerance, place: str = "output") -> str | None:
    """What differs first, in words, or None."""
    if isinstance(want, torch.Tensor):
        return _tensors(got, want, tolerance, place)
    if type(got) is not type(want):
        return f"{place} is {_told(got)}, eager gives {_told(want)}"
    if isinstance(want, dict):
        if list(got) != list(want):
            return f"{place} has the keys {list(got)}, eager gives {list(want)}"
        pairs = [(f"{place}[{key!r}]", got[key], want[key]) for key in want]
    elif isinstance(want, list | tuple):
        if len(got) != len(want):
            return f"{place} has {len(got)} items, eager gives {len(want)}"
        pairs = [(f"{place}[{i}]", one, other) for i, (one, other) in enumerate(zip(got, want, strict=True))]
    elif dataclasses.is_dataclass(want):
        names = [field.name for field in dataclasses.fields(want)]
        pairs = [(f"{place}.{name}", getattr(got, name), getattr(want, name)) for name in names]
    else:
        same = got == want or not tolerance.values or str(got) == str(want) == "nan"
        return None if same else f"{place} is {got!r}, eager gives {want!r}"
    return next((found for at, one, other in pairs if (found := difference(one, other, tolerance, at))), None)


def _tensors(got: Any, want: torch.Tensor, tolerance: Tolerance, place: str) -> str | None:
    if not isinstance(got, torch.Tensor):
        return f"{place} is {_told(got)}, eager gives {_told(want)}"
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{place} is {_told(got)}, eager gives {_told(want)}"
    if not tolerance.values or not want.numel():
        return None
    if not (want.is_floating_point() or want.is_complex()):
        return (
            None if torch.equal(got, want) else f"{place}: {int((got != want).sum())} of {want.numel()} values differ"
        )
    kind = torch.complex128 if want.is_complex() else torch.float64
    one, other = got.to(kind), want.to(kind)
    scale = max(1.0, float(other.abs().nan_to_num(0.0, 0.0, 0.0).max()))
    if torch.allclose(one, other, rtol=tolerance.rtol, atol=tolerance.atol * scale, equal_nan=True):
        return None
    far = (one - other).abs().nan_to_num(float("inf"))
    return f"{place} differs by up to {float(far.max()):.3g} (largest value {scale:.3g})"


def _told(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of {list(value.shape)}"
    return f"a {type(value).__name__}"
