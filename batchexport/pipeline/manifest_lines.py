"""Word what to write in a manifest where a model takes fewer sizes than it allows, as lines to paste."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchexport.core.dims import Dim, make_dim
from batchexport.core.sizes import Affine, ShapeError, composed, evaluate, parse_size

Dims = Mapping[str, Mapping[str, Any]]  # those of an export spec
Path = tuple[str | int, ...]  # keys of tables and, counted from 0, items of lists
Shapes = Mapping[str, Sequence[int | str] | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A size that an input has in the manifest, with the name of the input and the place of the size in the entry."""

    input: str
    size: Affine
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes that a dim may have: from `first` to `last` in equal steps; with `last` None there is no end."""

    first: int
    last: int | None
    step: int = 1

    @classmethod
    def of(cls, dim: Mapping[str, Any]) -> Sizes:
        """Return the sizes that a dim of a spec allows."""
        whole = Dim(name="", **dim)
        return cls(first=whole.lowest, last=whole.highest, step=whole.multiple_of)

    def hold(self, value: int) -> bool:
        """Return whether this size is one of them."""
        is_within = value >= self.first and (self.last is None or value <= self.last)
        return is_within and (value - self.first) % self.step == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to change in a manifest: the sizes of dims, and the dims in whose place a size of another one stands."""

    sizes: Mapping[str, Sizes]
    replaced: Mapping[str, Affine]

    def then(self, later: Changes) -> Changes:
        """Return these changes and `later` ones, of the manifest that these give, in one."""
        after = {
            name: composed(size, later.replaced[size.name]) if size.name in later.replaced else size
            for name, size in self.replaced.items()
        }
        return Changes(sizes={**self.sizes, **later.sizes}, replaced={**after, **later.replaced})


def uses_of(inputs: Any, shapes: Shapes) -> tuple[Use, ...]:
    """Return every size of the inputs of a spec that depends on a dim.

    Those of inputs from a factory or a file are in `shapes`.
    """
    if isinstance(inputs, str):
        given = ((path, [one] if isinstance(one, str) else one) for path, one in shapes.items())
        return tuple(use for path, sizes in given for use in _uses_in_shapes(path, sizes, shapes[path]))
    items = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    named = ((key if isinstance(key, str) else f"inputs[{key}]", key, node) for key, node in items)
    return tuple(use for name, key, node in named for use in _uses(name, node, ("inputs", key)))


def _all_uses(spec: Mapping[str, Any]) -> tuple[Use, ...]:
    """Return the uses of a spec, those in additional inputs with the place of these."""
    uses = uses_of(spec["inputs"], spec["shapes"])
    for index, inputs in enumerate(spec["additional_inputs"]):
        for use in uses_of(inputs, {}):
            where = f"{use.input} of additional_inputs[{index}]"
            uses += (replace(use, input=where, path=("additional_inputs", index, *use.path[1:])),)
    return uses


def _uses_in_shapes(path: str, sizes: Sequence[int | str], told: Sequence[int | str] | str) -> Iterator[Use]:
    label = f"{path} of [entry.shapes]"
    for use in _uses(label, {"tensor": {"shape": sizes}}, ()):
        place: Path = ("shapes", path) if isinstance(told, str) else ("shapes", path, use.path[-1])
        yield Use(input=label, size=use.size, path=place)


def _uses(name: str, node: Mapping[str, Any], path: Path) -> Iterator[Use]:
    if "value" in node:
        return
    if "tensor" in node or "dim" in node:
        sizes, where = (node["tensor"]["shape"], "shape") if "tensor" in node else (node["dim"], "dim")
        for at, text in enumerate(sizes):
            size = parse_size(text) if isinstance(text, str) else text
            if isinstance(size, Affine):
                yield Use(input=name, size=size, path=(*path, where, at) if "tensor" in node else (*path, where))
        return
    # Lists and plain tables stand in the manifest as they are, the others under a key of their own.
    if "object" in node:
        inner, path = node["object"]["fields"], (*path, "fields")
    else:
        ((form, inner),) = node.items()
        path = (*path, form) if form == "tuple" else path
    if isinstance(inner, Mapping):
        items = [(f"{name}.{key}", key, one) for key, one in inner.items()]
    else:
        items = [(f"{name}[{at}]", at, one) for at, one in enumerate(inner)]
    for label, key, one in items:
        yield from _uses(label, one, (*path, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What changes write: the size that stands in the place of each dim, and the values of [entry.dims].

    Where a dim has steps that do not start at 0, a size of it stands in its own place. `derived` are the sizes that
    have a name of their own there.
    """

    shapes: Mapping[str, Affine]
    dims: Mapping[str, dict[str, int] | int]
    derived: Mapping[str, int | str]

    @property
    def rescales(self) -> bool:
        """Return True if a dim means something else afterwards, so that no later changes can be added."""
        return any(size.name == name for name, size in self.shapes.items())


def written(changes: Changes, spec: Mapping[str, Any]) -> Written:
    """Return what these changes write into the manifest of an export spec."""
    dims = spec["dims"]
    is_told = bool(spec["shapes"])  # without an example, a dim would have that of the inputs, which may lie outside
    own: dict[str, Affine] = {}
    values: dict[str, dict[str, int] | int] = {}
    for name, found in changes.sizes.items():
        if name in changes.replaced or found == Sizes.of(dims[name]):
            continue
        rest, example = found.first % found.step, dims[name]["example"]
        if not rest or found.first == found.last:
            values[name] = _value(name, found, example, is_told=is_told)
            continue
        last = None if found.last is None else found.last // found.step
        part = Sizes(first=found.first // found.step, last=last)
        values[name] = value = _value(name, part, example // found.step, is_told=is_told)
        if isinstance(value, int):  # a single size needs no steps
            values[name] = value * found.step + rest
        else:
            own[name] = Affine(coefficient=found.step, name=name, offset=rest)
    others = {
        name: composed(size, own[size.name]) if size.name in own else size for name, size in changes.replaced.items()
    }
    shapes = {**others, **own}
    derived = {name: new for name, new in _derived(spec, shapes).items() if new != spec["derived"][name]}
    return Written(shapes=shapes, dims=values, derived=derived)


def _derived(spec: Mapping[str, Any], shapes: Mapping[str, int | Affine]) -> dict[str, int | str]:
    """Return the derived dims of a spec where `shapes` stand in the place of dims."""
    return {name: _with_shape(text, shapes) for name, text in spec["derived"].items()}


def what_to_write(changes: Changes, spec: Mapping[str, Any]) -> str | None:
    """Return in words what to write in the manifest of this export spec; None if all is as it has it."""
    what, uses = written(changes, spec), _all_uses(spec)
    lines = [_line(name, value) for name, value in what.dims.items()]
    lines += [f'{name} = "{size}"' for name, size in what.derived.items()]
    used = {use.size.name for use in uses}
    parts = [_in_place(name, size, uses) for name, size in what.shapes.items() if name in used]
    if lines:
        parts.append(f"write {' and '.join(f'`{line}`' for line in lines)} in [entry.dims]")
    if changes.replaced:
        parts.append(f"leave {' and '.join(f'`{name}`' for name in changes.replaced)} out of [entry.dims]")
    return ", and ".join(parts) or None


def edits(changes: Changes, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the same as data: `{"path": […], "value": …}` for each key of the entry, None to remove it."""
    what, uses = written(changes, spec), _all_uses(spec)
    found: list[dict[str, Any]] = [
        {"path": [*use.path], "value": str(composed(use.size, other))}
        for name, other in what.shapes.items()
        for use in uses
        if use.size.name == name
    ]
    found += [{"path": ["dims", name], "value": value} for name, value in (*what.dims.items(), *what.derived.items())]
    return found + [{"path": ["dims", name], "value": None} for name in changes.replaced]


def _line(name: str, value: dict[str, int] | int) -> str:
    """Return the line of [entry.dims] for a dim with this value."""
    if isinstance(value, int):
        return f"{name} = {value}"
    return f"{name} = {{ {', '.join(f'{key} = {number}' for key, number in value.items())} }}"


def _value(name: str, sizes: Sizes, example: int, *, is_told: bool = False) -> dict[str, int] | int:
    """Return what [entry.dims] has for a dim with these sizes, with `example` as its example if that is one.

    `is_told`: the example is written even if it is the one that the dim has without.
    """
    bounds = {"min": sizes.first} | ({} if sizes.last is None else {"max": sizes.last})
    if sizes.step > 1:
        bounds["multiple_of"] = sizes.step
    try:
        chosen = make_dim(name, bounds)
    except ShapeError:  # the sizes that are left are too few for torch
        return example if sizes.last is None or sizes.hold(example) else sizes.last
    if isinstance(chosen, int):
        return chosen
    fits = sizes.hold(example) and example >= 2 * sizes.step
    # Without its own example the dim would keep that of [defaults], which may lie outside.
    if is_told or not fits or example != chosen.example:
        bounds["example"] = example if fits else chosen.example
    return {key: bounds[key] for key in ("min", "max", "example", "multiple_of") if key in bounds}


def applied(changes: Changes, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the export spec of the manifest with these changes."""
    what = written(changes, spec)
    dims = {name: dim for name, dim in spec["dims"].items() if name not in changes.replaced}
    numbers: dict[str, int] = {}
    for name, value in what.dims.items():
        made = value if isinstance(value, int) else make_dim(name, value)
        if isinstance(made, int):
            del dims[name]
            numbers[name] = made
        else:
            dims[name] = made.to_json()
    # A size that takes the place of another one may itself be of a dim that is a number now.
    shapes: dict[str, int | Affine] = {
        name: evaluate(size, numbers) if size.name in numbers else size for name, size in what.shapes.items()
    }
    shapes |= numbers
    derived = _derived(spec, shapes)
    shapes |= {name: size for name, size in derived.items() if isinstance(size, int)}
    named = {name: size for name, size in derived.items() if isinstance(size, str)}
    numbers = {name: size for name, size in shapes.items() if isinstance(size, int)}
    return {
        **spec,
        "dims": dims,
        "derived": named,
        "inputs": with_shapes(spec["inputs"], shapes),
        "additional_inputs": [with_shapes(inputs, shapes) for inputs in spec["additional_inputs"]],
        "shapes": {path: _sizes_with_shapes(sizes, shapes) for path, sizes in spec["shapes"].items()},
        "fixed": {**spec["fixed"], **numbers} if spec["shapes"] else spec["fixed"],
        "measured": (),
    }


def _sizes_with_shapes(sizes: Sequence[int | str] | str, shapes: Mapping[str, int | Affine]) -> Any:
    """Return sizes of [entry.shapes] with others in the place of dims; numbers stay in [entry.dims]."""
    derived = {name: size for name, size in shapes.items() if isinstance(size, Affine)}
    if isinstance(sizes, str):
        return _with_shape(sizes, derived)
    return [_with_shape(size, derived) for size in sizes]


def with_shapes(inner: Any, shapes: Mapping[str, int | Affine]) -> Any:
    """Return nodes of inputs, by name or in order, with other sizes; a factory or file as it is."""
    if isinstance(inner, Mapping):
        return {name: _changed_node(node, shapes) for name, node in inner.items()}
    return inner if isinstance(inner, str) else [_changed_node(node, shapes) for node in inner]


def _changed_node(node: Mapping[str, Any], shapes: Mapping[str, int | Affine]) -> dict[str, Any]:
    ((form, inner),) = node.items()
    if form == "value":
        return dict(node)
    if form == "tensor":
        return {form: {**inner, "shape": [_with_shape(size, shapes) for size in inner["shape"]]}}
    if form == "dim":
        return {form: [_with_shape(size, shapes) for size in inner]}
    if form == "object":
        return {form: {**inner, "fields": with_shapes(inner["fields"], shapes)}}
    return {form: with_shapes(inner, shapes)}


def _with_shape(text: int | str, shapes: Mapping[str, int | Affine]) -> int | str:
    size = parse_size(text) if isinstance(text, str) else text
    if not isinstance(size, Affine) or size.name not in shapes:
        return text
    other = shapes[size.name]
    return str(composed(size, other)) if isinstance(other, Affine) else evaluate(size, {size.name: other})


def _in_place(name: str, other: Affine, uses: Sequence[Use]) -> str:
    """Return which sizes to write where `name` is always `other`, and in which inputs."""
    found = [use for use in uses if use.size.name == name]
    pairs = dict.fromkeys((str(composed(use.size, other)), str(use.size)) for use in found)
    written = " and ".join(f'"{new}" in place of "{old}"' for new, old in pairs)
    return f"write {written} in {' and '.join(dict.fromkeys(use.input for use in found))}"
