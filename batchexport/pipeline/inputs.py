"""Make example inputs from the spec, the seed and the values of the dims, and from nothing else."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.core.sizes import Affine, evaluate, parse_size
from batchexport.core.text import format_bytes
from batchexport.pipeline.build import attribute, dtype_of
from batchexport.pipeline.call_form import Call, CallForm, Given, call_form
from batchexport.pipeline.dynamic_shapes import leaves, size_at
from batchexport.pipeline.failure import Kind, StageFailure, failing_as
from batchexport.pipeline.given_shapes import leaf_nodes, leaf_paths, measured_dims, named_sizes, nodes_like, resized
from batchexport.pipeline.input_source import InputSource
from batchexport.pipeline.manifest_lines import with_shapes
from batchexport.pipeline.varying import varying_nodes
from batchexport.pipeline.weights import plain

Values = Mapping[str, int]
ADDITIONAL = "additional_inputs"  # in a point: which of them, from 0
_APART = 1000  # draws between those of two inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The inputs for the calls of a model, as its export spec describes them; `root` is the manifest's folder."""

    spec: Mapping[str, Any]
    root: str
    form: CallForm

    @classmethod
    def of(cls, model: nn.Module, spec: Mapping[str, Any], root: str) -> Examples:
        """Bind the inputs to the parameters of `model`, and take from them the examples of dims that have none.

        Raises StageFailure of kind inputs or shapes.
        """
        example = _example(spec)
        given = _given(spec, root, example, 0, 1.0)
        form = call_form(model, given)
        if not spec["shapes"]:
            return cls(spec=spec, root=root, form=form)
        sizes = list(named_sizes(form.call(given), form, spec["shapes"], _derived(spec)))
        taken = _source(spec, root).taken(_known(spec, example))
        dims = measured_dims(sizes, spec["dims"], fixed=spec["fixed"], measured=spec["measured"], taken=taken)
        return cls(spec={**spec, "dims": dims}, root=root, form=form)

    def call(self, values: Values, draw: int = 0, factor: float = 1.0) -> Call:
        """Return the inputs for these dim values. Integers are uniform in their range.

        Floats are uniform in their range, or normal with a standard deviation of `factor` if they have none. Each
        `draw` gives other random values. What a factory or a file gives is cut off or repeated where it has other
        sizes. A point of `additional_points` gives the additional inputs as they are.
        """
        if ADDITIONAL in values:
            index = values[ADDITIONAL]
            spec = {**self.spec, "inputs": self.spec["additional_inputs"][index]}
            return self.form.call(_given(spec, self.root, values, draw + _APART * (index + 1), factor))
        call = self.form.call(_given(self.spec, self.root, values, draw, factor))
        return self._resized(call, values) if self.spec["shapes"] else call

    def additional_points(self) -> list[Values]:
        """Return the dim values that stand for the additional inputs: the example, and which of them it is."""
        example = _example(self.spec)
        return [{**example, ADDITIONAL: index} for index in range(len(self.spec["additional_inputs"]))]

    def beyond(self, values: Values) -> Call:
        """Return inputs for dim values outside of the ranges, which a factory might refuse to make."""
        return self._resized(self.call(_example(self.spec)), values) if self.spec["shapes"] else self.call(values)

    def _resized(self, call: Call, values: Values) -> Call:
        nodes = leaf_nodes(call, self.form, self.spec["shapes"])
        return resized(call, nodes, _known(self.spec, values))

    def nodes(self) -> Call | None:
        """Return the nodes of the spec, passed as the inputs are; None if nothing is known of the inputs.

        Sizes that are others in additional inputs are `VARIES`. Raises StageFailure of kind inputs or shapes if those
        do not fit the inputs.
        """
        known = self._known_nodes()
        if not self.spec["additional_inputs"]:
            return known
        call = self.call(_example(self.spec))
        paths = leaf_paths(call, self.form)
        flat = [None] * len(paths) if known is None else [node for node, _ in leaves(known, call)]
        others = [self.call(point) for point in self.additional_points()]
        return nodes_like(call, varying_nodes(call, others, flat, paths))

    def _known_nodes(self) -> Call | None:
        given = self.spec["inputs"]
        if isinstance(given, str):
            return self._nodes_of_shapes() if self.spec["shapes"] else None
        given = with_shapes(given, _derived(self.spec))
        if self.form.star and isinstance(given, Mapping):
            (items,) = given[self.form.star].values()  # those of a list or a tuple
            given = {**given, self.form.star: items}
        return self.form.call(given)

    def _nodes_of_shapes(self) -> Call:
        call = self.call(_example(self.spec))
        nodes = leaf_nodes(call, self.form, self.spec["shapes"])
        named = {str(at): node for at, node in enumerate(nodes) if node is not None}
        plain = with_shapes(with_shapes(named, _derived(self.spec)), self.spec["fixed"])
        return nodes_like(call, [plain.get(str(at)) for at in range(len(nodes))])


def _example(spec: Mapping[str, Any]) -> Values:
    return {name: dim["example"] for name, dim in spec["dims"].items()}


def _derived(spec: Mapping[str, Any]) -> dict[str, Affine]:
    """Return the sizes of dims that have names of their own in an export spec."""
    sizes = {name: parse_size(text) for name, text in spec["derived"].items()}
    return {name: size for name, size in sizes.items() if isinstance(size, Affine)}


def _known(spec: Mapping[str, Any], values: Values) -> dict[str, int]:
    """Return these dim values with those of fixed and derived dims."""
    known = {**values, **spec["fixed"]}
    return {**known, **{name: evaluate(size, known) for name, size in _derived(spec).items()}}


def _source(spec: Mapping[str, Any], root: str) -> InputSource:
    return InputSource(reference=spec["inputs"], root=root)


def packed(call: Call) -> dict[str, Any]:
    """Return the inputs as leaves and structure, so that a file of them holds no class of the model."""
    flat, structure = pytree.tree_flatten(call)
    return {"leaves": flat, "structure": pytree.treespec_dumps(structure)}


def unpacked(kept: Mapping[str, Any]) -> Call:
    """Rebuild inputs from leaves and structure; modules that define their containers must be imported before."""
    call: Call = pytree.tree_unflatten(kept["leaves"], pytree.treespec_loads(kept["structure"]))
    return call


def _given(spec: Mapping[str, Any], root: str, values: Values, draw: int, factor: float) -> Given:
    given, known = spec["inputs"], _known(spec, values)
    if isinstance(given, str):
        source = _source(spec, root)
        return source.inputs({name: known[name] for name in source.taken(known)}, int(spec["seed"]) + draw)
    seed = f"{int(spec['seed'])}" + (f":{draw}" if draw else "")
    draws = _Draws(values=known, seed=seed, factor=factor)
    if isinstance(given, Mapping):
        return {name: draws.value(tree, name) for name, tree in given.items()}
    return [draws.value(tree, f"[{index}]") for index, tree in enumerate(given)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draws:
    """Random values for the tensors of one call."""

    values: Values
    seed: str
    factor: float

    def value(self, tree: Mapping[str, Any], path: str) -> Any:
        """Return the input that `tree` describes; `path` is its name."""
        if "tensor" in tree:
            with failing_as(Kind.INPUTS, f"making the input {path}"):
                return self._tensor(tree["tensor"], path)
        if "dim" in tree:
            return size_at(tree["dim"][0], self.values)
        if "object" in tree:
            return self._object(tree["object"], path)
        if "tuple" in tree:
            return tuple(self.value(item, f"{path}[{index}]") for index, item in enumerate(tree["tuple"]))
        if "list" in tree:
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(tree["list"])]
        if "table" in tree:
            return {key: self.value(item, f"{path}.{key}") for key, item in tree["table"].items()}
        return tree["value"]

    def _object(self, spec: Mapping[str, Any], path: str) -> Any:
        reference = spec["type"]
        kind = attribute(reference)
        if not is_dataclass(kind) and not hasattr(kind, "_fields"):
            raise StageFailure(Kind.INPUTS, f"{reference}, the type of {path}, is no dataclass or named tuple")
        fields = {name: self.value(item, f"{path}.{name}") for name, item in spec["fields"].items()}
        with failing_as(Kind.INPUTS, f"making the input {path}"):
            made = kind(**fields)
        known = pytree.SUPPORTED_NODES.get(pytree._get_node_type(made))
        if known is None or known.flatten_with_keys_fn is None:
            name = f"{kind.__module__}.{kind.__qualname__}"
            raise StageFailure(
                Kind.INPUTS,
                f"{reference}, the type of {path}, is not registered with torch as a dataclass",
                "register it where it is defined: torch.export.register_dataclass("
                f'{kind.__qualname__}, serialized_type_name="{name}")',
            )
        return made

    def _refuse_oversized(self, shape: Sequence[int], dtype: torch.dtype, path: str) -> None:
        """Raise StageFailure of kind inputs for a tensor of which memory can't hold two: the model gets a copy."""
        size = math.prod(shape) * dtype.itemsize
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 2 * size <= memory:
            return
        point = ", ".join(f"{dim}={value}" for dim, value in self.values.items())
        raise StageFailure(
            Kind.INPUTS,
            f"{path} would be {plain(dtype)} {[*shape]} at {point}: {format_bytes(size)}, "
            f"of which this machine's {format_bytes(memory)} of memory can't hold two",
            "lower max in [entry.dims]",
        )

    def _tensor(self, spec: Mapping[str, Any], path: str) -> torch.Tensor:
        shape = [size_at(size, self.values) for size in spec["shape"]]
        dtype = dtype_of(spec["dtype"])
        self._refuse_oversized(shape, dtype, path)
        if spec["value"] is not None:
            return torch.full(shape, spec["value"], dtype=dtype)
        # Each input has its own generator, so that adding an input does not change the others.
        salt = int.from_bytes(hashlib.sha256(f"{self.seed}:{path}".encode()).digest()[:7], "big")
        generator = torch.Generator().manual_seed(salt)
        bounds = spec["range"]
        if dtype is torch.bool:
            return torch.randint(0, 2, shape, generator=generator).to(dtype)
        if dtype.is_floating_point or dtype.is_complex:
            if bounds is None:
                normal = torch.randn(shape, generator=generator, dtype=torch.float32) * self.factor
                return normal.to(dtype)
            low, high = bounds
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
            scaled: torch.Tensor = uniform * (high - low) + low
            return scaled.to(dtype)
        low, high = bounds if bounds is not None else (0, 2)
        return torch.randint(int(low), int(high), shape, generator=generator).to(dtype)
