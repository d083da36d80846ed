"""Make example inputs from the spec, the seed and the values of the dims, and from nothing else."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.core.sizes import evaluate, parse_size
from batchexport.pipeline.build import attribute, dtype_of, misspelt_keyword
from batchexport.pipeline.failure import Kind, StageFailure, failing_as

Values = Mapping[str, int]


def check_names(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Check that every input is a parameter of the method, and every required parameter an input.

    Raises StageFailure of kind inputs, with the most similar name.
    """
    parameters = inspect.signature(model.forward).parameters
    kinds = inspect.Parameter
    open_ended = any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters.values())
    swallowed = misspelt_keyword(model.forward, inputs)
    if swallowed is not None:
        message = f"{type(model).__name__} would ignore the input {swallowed[0]!r}"
        raise StageFailure(Kind.INPUTS, message, swallowed[1])
    named = [name for name, p in parameters.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    for name in inputs:
        if name not in named and not open_ended:
            near = difflib.get_close_matches(name, named, n=1)
            raise StageFailure(
                Kind.INPUTS,
                f"{type(model).__name__} takes no input {name!r}; it takes {', '.join(named) or 'none'}",
                f"did you mean {near[0]!r}?" if near else "rename it in [entry.inputs]",
            )
    for name in named:
        if parameters[name].default is kinds.empty and name not in inputs:
            raise StageFailure(
                Kind.INPUTS,
                f"{type(model).__name__} needs the input {name!r}, which the manifest does not give",
                f"add {name} to [entry.inputs]",
            )


def make(spec: Mapping[str, Any], values: Values, root: str, draw: int = 0, factor: float = 1.0) -> dict[str, Any]:
    """Return the inputs by name for these dim values. Integers are uniform in their range.

    Floats are uniform in their range, or normal with a standard deviation of `factor` if they have none. Each `draw`
    gives other random values.
    """
    given = spec["inputs"]
    if isinstance(given, str):
        return _from_reference(given, root)
    seed = f"{int(spec['seed'])}" + (f":{draw}" if draw else "")
    draws = _Draws(values=values, seed=seed, factor=factor)
    return {name: draws.value(tree, name) for name, tree in given.items()}


def packed(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs as leaves and structure, so that a file of them holds no class of the model."""
    leaves, structure = pytree.tree_flatten(dict(inputs))
    return {"leaves": leaves, "structure": pytree.treespec_dumps(structure)}


def unpacked(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Rebuild inputs from leaves and structure; modules that define their containers must be imported before."""
    inputs: dict[str, Any] = pytree.tree_unflatten(kept["leaves"], pytree.treespec_loads(kept["structure"]))
    return inputs


def _from_reference(reference: str, root: str) -> dict[str, Any]:
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
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise StageFailure(Kind.INPUTS, f"{reference} gives a {type(found).__name__}, not a dict by parameter name")
    return found


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
        if "list" in tree:
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(tree["list"])]
        if "table" in tree:
            return {key: self.value(item, f"{path}.{key}") for key, item in tree["table"].items()}
        return tree["value"]

    def _tensor(self, spec: Mapping[str, Any], path: str) -> torch.Tensor:
        shape = [evaluate(parse_size(size) if isinstance(size, str) else size, self.values) for size in spec["shape"]]
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
