"""Word what to write in a manifest where a model takes fewer sizes than it allows, as lines to paste."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchexport.core.dims import Dim, make_dim
from batchexport.core.sizes import Affine, ShapeError, composed, evaluate, parse_size

Dims = Mapping[str, Mapping[str, Any]]  # those of an export spec
Shapes = Mapping[str, Sequence[int | str] | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A size that an input has in the manifest, with the name of the input."""

    input: str
    size: Affine


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
        sizes = ((path, [one] if isinstance(one, str) else one) for path, one in shapes.items())
        return tuple(use for path, one in sizes for use in _uses(f"{path} of [entry.shapes]", {"dim": one}))
    items = inputs.items() if isinstance(inputs, Mapping) else ((f"inputs[{at}]", one) for at, one in enumerate(inputs))
    return tuple(use for name, node in items for use in _uses(name, node))


def _uses(name: str, node: Mapping[str, Any]) -> Iterator[Use]:
    if "value" in node:
        return
    if "tensor" in node or "dim" in node:
        for text in node["tensor"]["shape"] if "tensor" in node else node["dim"]:
            size = parse_size(text) if isinstance(text, str) else text
            if isinstance(size, Affine):
                yield Use(input=name, size=size)
        return
    (inner,) = (node["object"]["fields"],) if "object" in node else node.values()
    if isinstance(inner, Mapping):
        items = [(f"{name}.{key}", one) for key, one in inner.items()]
    else:
        items = [(f"{name}[{at}]", one) for at, one in enumerate(inner)]
    for path, one in items:
        yield from _uses(path, one)


def what_to_write(changes: Changes, spec: Mapping[str, Any]) -> str | None:
    """Return in words what to write in the manifest of this export spec; None if all is as it has it."""
    dims, uses = spec["dims"], uses_of(spec["inputs"], spec["shapes"])
    for index, inputs in enumerate(spec["additional_inputs"]):
        where = f"of additional_inputs[{index}]"
        uses += tuple(replace(use, input=f"{use.input} {where}") for use in uses_of(inputs, {}))
    sizes, replaced = changes.sizes, changes.replaced
    shapes, lines = dict(replaced), []
    is_told = bool(spec["shapes"])  # without an example, a dim would have that of the inputs, which may lie outside
    for name, found in sizes.items():
        if name in replaced or found == Sizes.of(dims[name]):
            continue
        rest = found.first % found.step
        if rest and found.first != found.last:
            shapes[name] = Affine(coefficient=found.step, name=name, offset=rest)
            last = None if found.last is None else found.last // found.step
            part = Sizes(first=found.first // found.step, last=last)
            lines.append(_line(name, part, dims[name]["example"] // found.step, is_told=is_told))
        else:
            lines.append(_line(name, found, dims[name]["example"], is_told=is_told))
    derived = _derived(spec, shapes)
    lines += [f'{name} = "{derived[name]}"' for name, text in spec["derived"].items() if derived[name] != text]
    used = {use.size.name for use in uses}
    parts = [_in_place(name, size, uses) for name, size in shapes.items() if name in used]
    if lines:
        parts.append(f"write {' and '.join(f'`{line}`' for line in lines)} in [entry.dims]")
    if replaced:
        parts.append(f"leave {' and '.join(f'`{name}`' for name in replaced)} out of [entry.dims]")
    return ", and ".join(parts) or None


def _derived(spec: Mapping[str, Any], shapes: Mapping[str, int | Affine]) -> dict[str, int | str]:
    """Return the derived dims of a spec where `shapes` stand in the place of dims."""
    return {name: _with_shape(text, shapes) for name, text in spec["derived"].items()}


def _line(name: str, sizes: Sizes, example: int, *, is_told: bool) -> str:
    """Return the line of [entry.dims] for a dim with these sizes."""
    value = _value(name, sizes, example, is_told=is_told)
    if isinstance(value, int):
        return f"{name} = {value}"
    keys = (key for key in ("min", "max", "example", "multiple_of") if key in value)
    return f"{name} = {{ {', '.join(f'{key} = {value[key]}' for key in keys)} }}"


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
    return bounds


def applied(changes: Changes, spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the export spec of the manifest with these changes; None where they put a dim in its own place."""
    dims = {name: dim for name, dim in spec["dims"].items() if name not in changes.replaced}
    shapes: dict[str, int | Affine] = dict(changes.replaced)
    for name, sizes in changes.sizes.items():
        if name not in dims or sizes == Sizes.of(dims[name]):
            continue
        if sizes.first % sizes.step and sizes.first != sizes.last:
            return None
        value = _value(name, sizes, dims[name]["example"])
        made = value if isinstance(value, int) else make_dim(name, value)
        if isinstance(made, int):
            del dims[name]
            shapes[name] = made
        else:
            dims[name] = made.to_json()
    # A size that takes the place of another one may itself be of a dim that is a number now.
    for name, size in changes.replaced.items():
        if isinstance(number := shapes.get(size.name), int):
            shapes[name] = evaluate(size, {size.name: number})
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


def with_shapes(inputs: Any, shapes: Mapping[str, int | Affine]) -> Any:
    """Return the inputs of a spec with numbers and sizes in the place of dims, by name."""
    if isinstance(inputs, Mapping):
        return {name: _node_with_shapes(node, shapes) for name, node in inputs.items()}
    return inputs if isinstance(inputs, str) else [_node_with_shapes(node, shapes) for node in inputs]


def _sizes_with_shapes(sizes: Sequence[int | str] | str, shapes: Mapping[str, int | Affine]) -> Any:
    """Return sizes of [entry.shapes] with others in the place of dims; numbers stay in [entry.dims]."""
    derived = {name: size for name, size in shapes.items() if isinstance(size, Affine)}
    if isinstance(sizes, str):
        return _with_shape(sizes, derived)
    return [_with_shape(size, derived) for size in sizes]


def _node_with_shapes(node: Mapping[str, Any], shapes: Mapping[str, int | Affine]) -> Mapping[str, Any]:
    ((kind, inner),) = node.items()
    if kind == "value":
        return node
    if kind == "tensor":
        return {kind: {**inner, "shape": [_with_shape(size, shapes) for size in inner["shape"]]}}
    if kind == "dim":
        return {kind: [_with_shape(size, shapes) for size in inner]}
    if kind == "object":
        return {kind: {**inner, "fields": with_shapes(inner["fields"], shapes)}}
    return {kind: with_shapes(inner, shapes)}


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
