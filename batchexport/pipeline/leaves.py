"""Compare the leaves of inputs and outputs: tensors, numbers, None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from batchexport.pipeline.model_state import equal_tensors

# Two runs of one model may differ by this much where threads share the work.
_RTOL, _ATOL = 1e-4, 1e-6


def kept(leaf: Any) -> Any:
    """Return a copy of a leaf, as a later call may change the tensor that it is."""
    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf


def equal_leaves(one: Any, other: Any) -> bool:
    """Return True if two leaves have the same type and, tensors, the same elements."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return equal_tensors(one, other)
    return type(one) is type(other) and bool(one == other)


def alike(one: Any, other: Any) -> bool:
    """Return True if two leaves are equal but for the rounding of sums in another order."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return equal_leaves(one, other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    return torch.allclose(wide(one), wide(other), rtol=_RTOL, atol=_ATOL * scale(other), equal_nan=True)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of real numbers in float64: there are no operators for float8, nor `abs` of truth values."""
    return tensor if tensor.is_complex() else tensor.to(torch.float64)


def scale(leaf: Any) -> float:
    """Return the largest finite magnitude in a tensor or number; 0 for what is neither."""
    if isinstance(leaf, bool | int | float):
        leaf = torch.tensor(leaf)
    if not isinstance(leaf, torch.Tensor) or not leaf.numel():
        return 0.0
    return float(wide(leaf).abs().nan_to_num(0.0, 0.0, 0.0).max())


def unvaried_outputs(calls: Sequence[Mapping[str, Any]], rtol: float = 1e-4, atol: float = 1e-5) -> list[str]:
    """Return the tensors among the outputs, by name, that are one number or NaN at every call, or nearly so.

    To compare them tells nothing: an artifact that computes something else could give that number too.
    """
    names = calls[0]["names"] if calls else []
    if any(call["names"] != names for call in calls):
        return []
    found = []
    for index, name in enumerate(names):
        leaves = [call["outputs"][index] for call in calls]
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.numel()]
        if not tensors or any(tensor.is_complex() for tensor in tensors):
            continue
        lows, highs = zip(*(wide(tensor).nan_to_num().aminmax() for tensor in tensors), strict=True)
        low, high = float(min(lows)), float(max(highs))
        if high - low <= 2 * (atol + rtol * max(abs(low), abs(high))):
            found.append(f"output{name}")
    return found
