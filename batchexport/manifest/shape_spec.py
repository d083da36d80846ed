"""Read [entry.dims] and resolve each dim from its uses: fixed sizes go into the shapes, the rest stays dynamic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchexport.core.dims import Dim, make_dim
from batchexport.core.sizes import Affine, ShapeError, evaluate, is_dim_name, parse_size
from batchexport.core.text import describe, did_you_mean, quoted
from batchexport.manifest import readers
from batchexport.manifest.inputs import DIM_KEYS, Use
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report

_FIELDS = {key: readers.integer(1 if key == "multiple_of" else 0) for key in DIM_KEYS}
_size = readers.integer(0)

IMPLIED = ("batch", "seq")  # the dims of inputs that are left to the pipeline

Declared = Mapping[str, Any]  # a number, None for auto, INVALID for a reported one, or bounds


def read_dims(value: Any, say: Report) -> Declared:
    """Read [entry.dims], by name."""
    if not readers.is_table(value, ("dims",), say):
        return {}
    return {name: _read_dim(name, item, ("dims", name), say) for name, item in value.items()}


def _read_dim(name: str, value: Any, path: KeyPath, say: Report) -> Any:
    if not is_dim_name(name):
        say(
            path,
            f"{quoted(name)} can't name a dim",
            "use letters, digits and _, and no Python keyword",
            key=True,
        )
        return INVALID
    if value == "auto":
        return None
    if type(value) is dict:
        known = readers.read_table(value, path, say, _FIELDS)
        return known if len(known) == len(value) else INVALID
    if type(value) is int:
        return _size(value, path, say)
    say(path, f'expected a table, a whole number or "auto", found {describe(value)}', _dim_hint(name, value))
    return INVALID


def _dim_hint(name: str, value: Any) -> str:
    if type(value) is list and len(value) == 2 and all(type(end) is int for end in value):
        return f"write {name} = {{ min = {value[0]}, max = {value[1]} }}"
    if type(value) is str and _is_size(value):
        return f"write the size into a shape: shape = [{quoted(value)}]"
    return f"write {name} = {{ min = 1, max = 64 }}"


def _is_size(text: str) -> bool:
    try:
        return bool(parse_size(text))
    except ShapeError:
        return False


def implied_dims(declared: Declared, is_own: Callable[[str], bool], say: Report) -> dict[str, dict[str, Any]]:
    """Return the JSON form of the dims of inputs that are left to the pipeline, a fixed one as a range of one size.

    `is_own` returns whether another dim is a mistake; see `resolve_dims`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, what in declared.items():
        if name not in IMPLIED:
            if is_own(name) and is_dim_name(name):
                hint = did_you_mean(name, IMPLIED) or "inputs that are left out have the dims batch and seq"
                say(("dims", name), "unused dim: no input uses it", hint, key=True)
            continue
        dim = None if what is None or what is INVALID else _resolve_dim(name, what, [], say)
        if type(dim) is int:
            dim = Dim(name=name, min=dim, max=dim, example=dim)
        if isinstance(dim, Dim):
            found[name] = dim.to_json()
    return found


def resolve_dims(
    declared: Declared, uses: Sequence[Use], *, is_open: bool, is_own: Callable[[str], bool], say: Report
) -> dict[str, dict[str, Any]]:
    """Return the JSON form of every dim that stays dynamic; fixed sizes become numbers in their shapes.

    `is_open`: the inputs come from a factory or a file, with the sizes that they have there. `is_own` returns
    whether an unused dim is a mistake: a dim from [defaults] need not be used by every entry.
    """
    by_name: dict[str, list[Use]] = {}
    for use in uses:
        by_name.setdefault(use.size.name, []).append(use)
    settled: dict[str, Dim] = {}
    for name, what in declared.items():
        users = by_name.get(name, [])
        if not users and is_own(name) and is_dim_name(name):
            unlisted = [other for other in by_name if other not in declared]
            hint = "describe the inputs in [entry.inputs] to use dims" if is_open else did_you_mean(name, unlisted)
            say(("dims", name), "unused dim: no input uses it", hint or "remove it", key=True)
        dim = None if what is None or what is INVALID else _resolve_dim(name, what, users, say)
        if isinstance(dim, Dim) and users:
            settled[name] = dim
    autos = [name for name in by_name if declared.get(name) is None]
    taken = {dim.example for dim in settled.values()} if autos else set()
    for name in autos:
        # With equal examples torch.export could take two dims for one.
        example = _least(by_name.get(name, []))
        while example in taken:
            example += 1
        taken.add(example)
        settled[name] = Dim(name=name, example=example, auto=True)
    return {name: dim.to_json() for name, dim in settled.items()}


def _resolve_dim(name: str, what: Any, users: list[Use], say: Report) -> Dim | int | None:
    """Return the dim, or its one size after putting it into the shapes; None if a mistake was reported."""
    try:
        dim: Dim | int = what if type(what) is int else make_dim(name, what, least=_least(users))
    except ShapeError as error:
        say(("dims", name, error.key or "min"), error.message, error.hint)
        return None
    if isinstance(dim, int):
        for use in users:
            size = evaluate(use.size, {name: dim})
            use.shape[use.at] = size
            if size < 0:
                hint = f"let {name} be {-use.size.offset // use.size.coefficient + 1} or more"
                say(use.path, f'"{use.size}" is {size} where {name} is {dim}', hint)
        return dim
    for use in users:
        if use.size.offset < 0:
            _check_derived(use, dim, say)
    number = next((use for use in users if use.is_number), None)
    if number is not None and dim.multiple_of > 1:
        say(("dims", name, "multiple_of"), f"{_input_of(number)} is a number, which torch takes in steps of 1 only",
            "leave it out, or let the model multiply")  # fmt: skip
        return None
    return dim


def _input_of(use: Use) -> str:
    return ".".join(map(str, use.path[1:-1]))


def _check_derived(use: Use, dim: Dim, say: Report) -> None:
    smallest, example = (evaluate(use.size, {dim.name: value}) for value in (dim.lowest, dim.example))
    if smallest <= 0:
        say(use.path, f'"{use.size}" is {smallest} where {dim.name} is {dim.lowest}', _at_least(use.size))
    elif example < 2:
        better = f"give {dim.name} an example of {_least([use])} or more"
        say(use.path, f'"{use.size}" is {example} in the example, and torch.export would fix it', better)


def _at_least(size: Affine) -> str:
    return f"give {size.name} a min of {-size.offset // size.coefficient + 1} or more"


def _least(users: list[Use]) -> int:
    """Return the smallest size of a dim at which it and all sizes derived from it are 2 or more."""
    least = 2
    for use in users:
        if use.size.offset < 0:
            least = max(least, -((use.size.offset - 2) // use.size.coefficient))
    return least
