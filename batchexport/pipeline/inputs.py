"""Make example inputs from the spec, the seed and the values of the dims, and from nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.core.sizes import Affine, evaluate, parse_size
from batchexport.pipeline.build import attribute, dtype_of
from batchexport.pipeline.call_form import Call, CallForm, Given, call_form
from batchexport.pipeline.dynamic_shapes import size_at
from batchexport.pipeline.failure import Kind, StageFailure, failing_as
from batchexport.pipeline.manifest_lines import with_shapes

Values = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The inputs for the calls of a model, as its export spec describes them; `root` is the manifest's folder."""

    spec: Mapping[str, Any]
    root: str
    form: CallForm

    @classmethod
    def of(cls, model: nn.Module, spec: Mapping[str, Any], root: str, values: Values) -> Examples:
        """Bind the inputs at these dim values to the parameters of `model`. Raises StageFailure of kind inputs."""
        return cls(spec=spec, root=root, form=call_form(model, _make(spec, values, root, 0, 1.0)))

    def call(self, values: Values, draw: int = 0, factor: float = 1.0) -> Call:
        """Return the inputs for these dim values. Integers are uniform in their range.

        Floats are uniform in their range, or normal with a standard deviation of `factor` if they have none. Each
        `draw` gives other random values.
        """
        return self.form.call(_make(self.spec, values, self.root, draw, factor))

    def nodes(self) -> Call | None:
        """Return the nodes of the spec, passed as the inputs are; None if they come from a factory or a file."""
        given = self.spec["inputs"]
        if isinstance(given, str):
            return None
        given = with_shapes(given, derived_sizes(self.spec))
        if self.form.star and isinstance(given, Mapping):
            (items,) = given[self.form.star].values()  # those of a list or a tuple
            given = {**given, self.form.star: items}
        return self.form.call(given)


def derived_sizes(spec: Mapping[str, Any]) -> dict[str, Affine]:
    """Return the sizes of dims that have names of their own in an export spec."""
    sizes = {name: parse_size(text) for name, text in spec["derived"].items()}
    return {name: size for name, size in sizes.items() if isinstance(size, Affine)}


def packed(call: Call) -> dict[str, Any]:
    """Return the inputs as leaves and structure, so that a file of them holds no class of the model."""
    leaves, structure = pytree.tree_flatten(call)
    return {"leaves": leaves, "structure": pytree.treespec_dumps(structure)}


def unpacked(kept: Mapping[str, Any]) -> Call:
    """Rebuild inputs from leaves and structure; modules that define their containers must be imported before."""
    call: Call = pytree.tree_unflatten(kept["leaves"], pytree.treespec_loads(kept["structure"]))
    return call


def _make(spec: Mapping[str, Any], values: Values, root: str, draw: int, factor: float) -> Given:
    given = spec["inputs"]
    if isinstance(given, str):
        return _from_reference(given, root)
    seed = f"{int(spec['seed'])}" + (f":{draw}" if draw else "")
    values = {**values, **{name: evaluate(size, values) for name, size in derived_sizes(spec).items()}}
    draws = _Draws(values=values, seed=seed, factor=factor)
    if isinstance(given, Mapping):
        return {name: draws.value(tree, name) for name, tree in given.items()}
    return [draws.value(tree, f"[{index}]") for index, tree in enumerate(given)]


def _from_reference(reference: str, root: str) -> Given:
    if reference.endswith((".safetensors", ".pt", ".pth")):
        path = os.path.join(root, reference)
        with failing_as(Kind.INPUTS, f"reading {reference}"):
            if path.endswith(".safetensors"):
                from safetensors.torch import load_file

                return load_file(path)
            found = torch.load(path, weights_only=True)
    else:
        factory = attribute(reference)
        with failing_as(Kind.INPUTS, f"calling {reference}"):
            found = factory()
    by_name = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not by_name and type(found) not in (list, tuple):
        message = f"{reference} gives a {type(found).__name__}, not a dict by parameter name or a list"
        raise StageFailure(Kind.INPUTS, message)
    # A copy for each call, as a model may write to its inputs, and for each place, as torch would capture a tensor that
    # is in two places as one input, so that the other had no effect.
    given: Given = pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, found)
    return given


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

    def _tensor(self, spec: Mapping[str, Any], path: str) -> torch.Tensor:
        shape = [size_at(size, self.values) for size in spec["shape"]]
        dtype = dtype_of(spec["dtype"])
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
