"""Get inputs from a factory, which may take dims, or from a file of tensors."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.pipeline.build import attribute, seed_everything
from batchexport.pipeline.call_form import Given
from batchexport.pipeline.failure import Kind, StageFailure, failing_as

_Parameter = inspect.Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSource:
    """The factory `module:attribute` or the file that gives inputs; `root` is the manifest's folder."""

    reference: str
    root: str

    @property
    def is_file(self) -> bool:
        return self.reference.endswith((".safetensors", ".pt", ".pth"))

    def taken(self, names: Collection[str]) -> tuple[str, ...]:
        """Return which of these dims the factory takes as parameters.

        Raises StageFailure of kind inputs if it needs anything else.
        """
        if self.is_file:
            return ()
        try:
            parameters = inspect.signature(attribute(self.reference)).parameters.values()
        except (TypeError, ValueError):  # of what has no signature, or can't be called
            return ()
        by_name = [one for one in parameters if one.kind in (_Parameter.POSITIONAL_OR_KEYWORD, _Parameter.KEYWORD_ONLY)]
        for one in by_name:
            if one.name not in names and one.default is _Parameter.empty:
                near = difflib.get_close_matches(one.name, names, n=1)
                raise StageFailure(
                    Kind.INPUTS,
                    f"{self.reference} takes {one.name}, which is no dim in [entry.shapes]",
                    f"did you mean {near[0]!r}?" if near else f"give {one.name} a default, or name a dim so",
                )
        return tuple(one.name for one in by_name if one.name in names)

    def inputs(self, sizes: Mapping[str, int], seed: int) -> Given:
        """Return the inputs that the factory gives for these sizes of the dims that it takes, or those of the file.

        A factory draws its random numbers under the seed. Raises StageFailure of kind inputs.
        """
        found = self._read() if self.is_file else self._called(sizes, seed)
        by_name = isinstance(found, dict) and all(isinstance(name, str) for name in found)
        if not by_name and type(found) not in (list, tuple):
            message = f"{self.reference} gives a {type(found).__name__}, not a dict by parameter name or a list"
            raise StageFailure(Kind.INPUTS, message)
        # A copy for each call, as a model may write to its inputs, and for each place, as torch would capture a tensor
        # that is in two places as one input, so that the other had no effect.
        given: Given = pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, found)
        return given

    def _read(self) -> Any:
        path = os.path.join(self.root, self.reference)
        with failing_as(Kind.INPUTS, f"reading {self.reference}"):
            if path.endswith(".safetensors"):
                from safetensors.torch import load_file

                return load_file(path)
            return torch.load(path, weights_only=True)

    def _called(self, sizes: Mapping[str, int], seed: int) -> Any:
        factory: Callable[..., Any] = attribute(self.reference)
        arguments = ", ".join(f"{name}={size}" for name, size in sizes.items())
        seed_everything(seed)
        with failing_as(Kind.INPUTS, f"calling {self.reference}{f'({arguments})' if sizes else ''}"):
            return factory(**sizes)
