"""Read [entry.dims] and resolve each dim from its uses: fixed sizes go into the shapes, the rest stays dynamic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from batchexport.core.dims import Dim, make_dim
from batchexport.core.sizes import Affine, ShapeError, composed, evaluate, is_dim_name
from batchexport.core.text import describe, did_you_mean, quoted
from batchexport.manifest import readers
from batchexport.manifest.derived_dims import Derived, read_derived, resolve_derived
from batchexport.manifest.inputs import DIM_KEYS
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report
from batchexport.manifest.shape_reader import Use

BOUNDS: Mapping[str, readers.Reader] = {
    **{key: readers.integer(1 if key == "multiple_of" else 0) for key in DIM_KEYS},
    "auto": readers.boolean,
}
_size = readers.integer(0)

IMPLIED = ("batch", "seq")  # the dims of inputs that are left to the pipeline

# A number, None for auto without bounds, a size of another dim, INVALID for a reported one, or bounds.
Declared = Mapping[str, Any]


class ShapeSpec(NamedTuple):
    """The dims of an entry: `dims` is the JSON form of those that stay dynamic, `derived` the sizes of them with names.

    Where the inputs come from a factory or a file, `fixed` are the dims of one size, and `measured` those whose example
    is the size that the inputs have. `used` are all names in shapes, those behind derived ones included.
    """

    dims: dict[str, dict[str, Any]]
    derived: dict[str, str]
    fixed: dict[str, int]
    measured: tuple[str, ...]
    used: frozenset[str]


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
    if type(value) is str:
        return read_derived(name, value, path, say)
    if type(value) is dict:
        return _read_bounds(value, path, say)
    if type(value) is int:
        return _size(value, path, say)
    hint = f"write {name} = {{ min = 1, max = 64 }}"
    if type(value) is list and len(value) == 2 and all(type(end) is int for end in value):
        hint = f"write {name} = {{ min = {value[0]}, max = {value[1]} }}"
    say(path, f'expected a table, a whole number, "auto" or a size of another dim, found {describe(value)}', hint)
    return INVALID


def _read_bounds(value: dict[str, Any], path: KeyPath, say: Report) -> Any:
    known = readers.read_table(value, path, say, BOUNDS)
    if len(known) < len(value):
        return INVALID
    if not known.pop("auto", False):
        return known
    if known.pop("multiple_of", 1) > 1:
        say((*path, "multiple_of"), "torch finds no steps of a dim that is left to it", "leave it out, or auto = true")
        return INVALID
    return _Auto(known) if known else None


class _Auto(dict[str, int]):
    """The bounds of a dim whose range is left to torch within them."""


def implied_dims(declared: Declared, is_own: Callable[[str], bool], say: Report) -> ShapeSpec:
    """Resolve the dims of inputs that are left to the pipeline, a fixed one as a range of one size.

    `is_own` returns whether another dim is a mistake; see `resolve_dims`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, what in declared.items():
        if name not in IMPLIED or isinstance(what, Affine):
            if is_own(name) and is_dim_name(name):
                hint = did_you_mean(name, IMPLIED) or "inputs that are left out have the dims batch and seq"
                say(("dims", name), "unused dim: no input uses it", hint, key=True)
            continue
        dim = None if what is None or what is INVALID else _resolve_dim(name, what, [], say)
        if type(dim) is int:
            dim = Dim(name=name, min=dim, max=dim, example=dim)
        if isinstance(dim, Dim):
            found[name] = replace(dim, auto=isinstance(what, _Auto)).to_json()
    return ShapeSpec(dims=found, derived={}, fixed={}, measured=(), used=frozenset(IMPLIED))


def resolve_dims(
    declared: Declared, uses: Sequence[Use], *, is_open: bool, is_own: Callable[[str], bool], say: Report
) -> ShapeSpec:
    """Resolve the dims that shapes use; fixed sizes become numbers in the shapes of [entry.inputs].

    `is_open`: the inputs come from a factory or a file, with the sizes that they have there. `is_own` returns
    whether an unused dim is a mistake: a dim from [defaults] need not be used by every entry.
    """
    direct = {use.size.name for use in uses}
    derived = resolve_derived(declared, direct, is_own=is_own, say=say)
    by_name = _by_root(uses, derived, direct, say)
    used = direct.union(*(one.through for name, one in derived.items() if name in direct))
    _check_used(declared, used, direct, is_open=is_open, is_own=is_own, say=say)
    settled: dict[str, Dim] = {}
    bounded: dict[str, Dim] = {}
    fixed: dict[str, int] = {}
    for name, what in declared.items():
        users = by_name.get(name, [])
        if what is None or what is INVALID or isinstance(what, Affine):
            continue
        dim = _resolve_dim(name, what, users, say)
        if isinstance(dim, Dim) and isinstance(what, _Auto):
            bounded[name] = dim
        elif isinstance(dim, Dim) and users:
            settled[name] = dim
        elif isinstance(dim, int) and users:
            fixed[name] = dim
            for use in () if is_open else users:
                use.shape[use.at] = evaluate(use.size, fixed)
    settled |= _autos(by_name, declared, bounded, settled.values())
    return ShapeSpec(
        dims={name: dim.to_json() for name, dim in settled.items()},
        derived={
            name: str(one.size)
            for name, one in derived.items()
            if one.size is not None and name in direct and one.size.name in (settled | fixed if is_open else settled)
        },
        fixed=fixed if is_open else {},
        measured=tuple(name for name in settled if is_open and "example" not in (declared.get(name) or ())),
        used=frozenset(used),
    )


def _autos(
    by_name: Mapping[str, list[Use]], declared: Declared, bounded: Mapping[str, Dim], others: Iterable[Dim]
) -> dict[str, Dim]:
    """Return the dims whose range is left to torch.

    With equal examples torch.export takes two of them, or one and another dim, for one.
    """
    found: dict[str, Dim] = {}
    names = [name for name in by_name if declared.get(name) is None or name in bounded]
    given = {name for name in names if "example" in (declared.get(name) or ())}
    taken = {dim.example for dim in others} | {bounded[name].example for name in given} if names else set()
    for name in names:
        dim = bounded.get(name, Dim(name=name, example=_least(by_name[name])))
        example = dim.example
        while example in taken and name not in given and (dim.max is None or example < dim.max):
            example += 1
        taken.add(example)
        found[name] = replace(dim, example=example, auto=True)
    return found


def _by_root(
    uses: Sequence[Use], derived: Mapping[str, Derived], direct: set[str], say: Report
) -> dict[str, list[Use]]:
    """Return the uses of every dim that is not derived; a derived one that is used is a use itself, the first."""
    found: dict[str, list[Use]] = {}
    for name, one in derived.items():
        if one.size is not None and name in direct:
            found.setdefault(one.size.name, []).append(Use(("dims", name), one.size, [name], 0))
    for use in uses:
        of = derived.get(use.size.name)
        if of is None:
            found.setdefault(use.size.name, []).append(use)
        elif use.is_number:
            base = of.through[0]
            say(use.path, f"{use.size.name} is derived from {base}, and no number is", "give it a range of its own")
        elif of.size is not None:
            found.setdefault(of.size.name, []).append(use._replace(size=composed(use.size, of.size)))
    return found


def _check_used(
    declared: Declared, used: set[str], direct: set[str], *, is_open: bool, is_own: Callable[[str], bool], say: Report
) -> None:
    for name in declared:
        if name not in used and is_own(name) and is_dim_name(name):
            unlisted = [other for other in direct if other not in declared]
            hint = did_you_mean(name, unlisted) or ("name it in [entry.shapes]" if is_open else "remove it")
            say(("dims", name), "unused dim: no input uses it", hint, key=True)


def _resolve_dim(name: str, what: Any, users: list[Use], say: Report) -> Dim | int | None:
    """Return the dim, or its one size; None if a mistake was reported."""
    try:
        dim: Dim | int = what if type(what) is int else make_dim(name, what, least=_least(users))
    except ShapeError as error:
        say(("dims", name, error.key or "min"), error.message, error.hint)
        return None
    told: set[Affine] = set()  # of derived dims, whose uses need not be told
    for use in users:
        if use.size.offset < 0 and use.size not in told and not _is_large_enough(use, dim, say):
            told |= {use.size} if use.path[0] == "dims" else set()
    if isinstance(dim, int):
        return dim
    number = next((use for use in users if use.is_number), None)
    if number is not None and dim.multiple_of > 1:
        say(("dims", name, "multiple_of"), f"{_input_of(number)} is a number, which torch takes in steps of 1 only",
            "leave it out, or let the model multiply")  # fmt: skip
        return None
    return dim


def _input_of(use: Use) -> str:
    return ".".join(map(str, use.path[1:] if use.path[0] == "shapes" else use.path[1:-1]))


def _is_large_enough(use: Use, dim: Dim | int, say: Report) -> bool:
    """Return whether a derived size is one for every size of the dim, and report it if not."""
    size, name = use.size, use.size.name
    if isinstance(dim, int):
        found = evaluate(size, {name: dim})
        if found < 0:
            hint = f"let {name} be {-size.offset // size.coefficient + 1} or more"
            say(use.path, f'"{size}" is {found} where {name} is {dim}', hint)
        return found >= 0
    smallest, example = (evaluate(size, {name: value}) for value in (dim.lowest, dim.example))
    if smallest <= 0:
        hint = f"give {name} a min of {-size.offset // size.coefficient + 1} or more"
        say(use.path, f'"{size}" is {smallest} where {name} is {dim.lowest}', hint)
    elif example < 2:
        better = f"give {name} an example of {_least([use])} or more"
        say(use.path, f'"{size}" is {example} in the example, and torch.export would fix it', better)
    return smallest > 0 and example >= 2


def _least(users: list[Use]) -> int:
    """Return the smallest size of a dim at which it and all sizes derived from it are 2 or more."""
    least = 2
    for use in users:
        if use.size.offset < 0:
            least = max(least, -((use.size.offset - 2) // use.size.coefficient))
    return least
