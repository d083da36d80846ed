"""Explain a call that a model refuses at the example: which inputs it got, and what to write for them."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.pipeline.bounds import Point, narrower_bounds
from batchexport.pipeline.call_form import Call
from batchexport.pipeline.failure import Kind, StageFailure, classified, text_of
from batchexport.pipeline.manifest_lines import Changes, Sizes, what_to_write
from batchexport.pipeline.weights import plain

_SHOWN = 6
_PROBES = 32
_FACTORS = (2, 3, 4)
_LARGER = (8, 16, 32, 64, 128, 224, 256, 512)  # sizes that models often want
_FLOAT_INDICES = re.compile(r"argument #1 'indices'.* scalar types|tensors used as indices must be long")
_OUT_OF_RANGE = re.compile(r"index out of range in self|index \S+ is out of bounds for dimension")
_FEATURES = re.compile(r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")
_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")
_DTYPES = re.compile(
    r"must have the same dtype|expected scalar type|"
    r"Input type \(.*\) and (?:weight|bias) type \(.*\) should be the same"
)
Leaves = Mapping[str, torch.Tensor]


def refused_example(
    error: BaseException,
    doing: str,
    *,
    model: nn.Module,
    call: Call,
    point: Point,
    spec: Mapping[str, Any],
    holds: Callable[[Point], bool],
) -> StageFailure:
    """Return the failure of kind build for a call at the example, with its inputs and, where one is found, a remedy.

    `holds` tries other dim values than those of `point`.
    """
    given = _tensors(model, call)
    failure = classified(error, Kind.BUILD, doing)
    if failure.kind is not Kind.BUILD or failure.remedy is not None or isinstance(error, SystemExit):
        return failure
    if given:
        failure.message += f"; called with {described(given)}"
    failure.remedy = _remedy(text_of(error), model, given)
    if failure.remedy is None and spec["dims"] and isinstance(error, RuntimeError):
        failure.changes = _other_sizes(point, spec, holds)
        if failure.changes is not None:
            failure.remedy = what_to_write(failure.changes, spec)
        failure.kind = Kind.SHAPES if failure.remedy else failure.kind
    return failure


def described(given: Leaves) -> str:
    """Return inputs as text: `x: float32 [3, 5], mask: bool [3]`."""
    told = [f"{name}: {plain(one.dtype)} {[*one.shape]}" for name, one in itertools.islice(given.items(), _SHOWN)]
    more = f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else ""
    return ", ".join(told) + more


def _tensors(model: nn.Module, call: Call) -> dict[str, torch.Tensor]:
    """Return the tensors of a call by the names that they have in the manifest."""
    args, kwargs = call
    try:
        names = list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        names = []
    named = {**{names[at] if at < len(names) else f"[{at}]": one for at, one in enumerate(args)}, **kwargs}
    return {
        f"{name}{pytree.keystr(path)}": leaf
        for name, value in named.items()
        for path, leaf in pytree.tree_flatten_with_path(value)[0]
        if isinstance(leaf, torch.Tensor)
    }


def _remedy(text: str, model: nn.Module, given: Leaves) -> str | None:
    """Return what to write for inputs of another dtype, range or size than the model takes."""
    rows = min((one.num_embeddings for one in model.modules() if isinstance(one, nn.Embedding)), default=None)
    within = f"range = [0, {rows}]" if rows else "a range"
    whole = [name for name, one in given.items() if not one.is_floating_point() and one.dtype is not torch.bool]
    floats = [name for name, one in given.items() if one.is_floating_point()]
    if _FLOAT_INDICES.search(text) and floats:
        return f'write dtype = "int64" and {within} for the input that holds indices ({_or(floats)})'
    if _OUT_OF_RANGE.search(text) and whole:
        return f"write {within} for the input that holds indices ({_or(whole)})"
    if (sizes := _FEATURES.search(text)) is not None:
        return _size(given, at=-1, got=int(sizes[1]), wanted=int(sizes[2]))
    if (sizes := _CHANNELS.search(text)) is not None:
        return _size(given, at=1, got=int(sizes[2]), wanted=int(sizes[1]))
    own = {plain(one.dtype) for one in model.parameters() if one.is_floating_point()}
    others = [name for name in floats if plain(given[name].dtype) not in own]
    if _DTYPES.search(text) and len(own) == 1 and (others or whole):
        return f'write dtype = "{own.pop()}" for {_or(others or whole)}, as the weights have it'
    return None


def _size(given: Leaves, *, at: int, got: int, wanted: int) -> str | None:
    names = [name for name, one in given.items() if one.dim() > 1 and one.shape[at] == got]
    place = "last size" if at == -1 else "second size"
    return f"write {wanted} in place of {got} as the {place} of {_or(names)}" if names else None


def _other_sizes(point: Point, spec: Mapping[str, Any], holds: Callable[[Point], bool]) -> Changes | None:
    """Return the sizes to write if the model takes others than its example; None if none was found."""
    sizes = {name: Sizes.of(dim) for name, dim in spec["dims"].items()}
    allowed = (
        near for near in _candidates(point) if all(sizes[name].hold(near[name]) for name in near if name in sizes)
    )
    for good in itertools.islice(allowed, _PROBES):
        if holds(good):
            return narrower_bounds(point, good, spec["dims"], holds)
    return None


def _candidates(point: Point) -> Iterator[dict[str, int]]:
    """Yield points near the example: dims in step with one another, then each alone."""
    for name, other in itertools.permutations(point, 2):
        for factor in (1, *_FACTORS):
            yield {**point, other: factor * point[name]}
    for name, value in point.items():
        larger = (power for power in _LARGER if power > value)
        for near in (value + 1, value - 1, *(value + value % -step for step in range(3, 9)), *larger):
            yield {**point, name: near}


def _or(names: list[str]) -> str:
    return " or ".join(names[:_SHOWN])
