"""Refuse classes in inputs and outputs that no archive can hold, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from batchexport.pipeline.failure import Kind, StageFailure, of_type

_PLAIN = (torch.Tensor, bool, int, float, complex, type(None))


def refuse_unknown(leaves: Sequence[Any], name: str) -> None:
    """Raise StageFailure of kind export for outputs of the model `name` that are no dense tensors or numbers."""
    if not leaves:
        raise StageFailure(Kind.EXPORT, f"{name} returns nothing", "return a tensor")
    for leaf in leaves:
        if isinstance(leaf, str):
            message = f"{name} returns the text {leaf!r}, and an exported program can't be loaded that does"
            raise StageFailure(Kind.EXPORT, message, "return tensors and numbers only")
        if not isinstance(leaf, _PLAIN):
            remedy = "return tensors, numbers, or lists, tuples and dicts of them"
            if isinstance(leaf, nn.Module):
                remedy = f"if {name} makes the model, give its arguments in args or kwargs"
            elif hasattr(leaf, "__dict__"):
                kind = type(leaf)
                full = f'serialized_type_name="{kind.__module__}.{kind.__qualname__}"'
                line = f"torch.export.register_dataclass({kind.__name__}, {full})"
                remedy = f"return tensors, or register the class where it is defined: {line}"
            raise StageFailure(Kind.EXPORT, f"{name} returns {of_type(leaf)}, which torch.export can't return", remedy)
        if isinstance(leaf, torch.Tensor) and (leaf.layout is not torch.strided or leaf.is_nested):
            what = "nested" if leaf.is_nested else f"{str(leaf.layout).removeprefix('torch.')}"
            message = f"{name} returns a {what} tensor, which no artifact can be verified with"
            raise StageFailure(Kind.EXPORT, message, "return a dense one")


def refuse_unregistered(structure: pytree.TreeSpec, kind: Kind, who: str) -> None:
    """Raise StageFailure of `kind` for a container that torch can't write into an archive.

    It is not registered here, as a program without that registration could not load the archive.
    """
    leaf = pytree.tree_structure(0)
    for spec in specs(structure):
        if spec.is_leaf():
            continue
        named: Any = spec.context if hasattr(spec.context, "_fields") else spec.type
        try:
            bare = pytree.TreeSpec(spec.type, spec.context, [leaf] * spec.num_children)
            is_kept = pytree.treespec_loads(pytree.treespec_dumps(bare)) == bare
        except TypeError:
            is_kept = False
        except NotImplementedError as error:
            full = f"{named.__module__}.{named.__qualname__}"
            message = f"{who} the named tuple {named.__qualname__}, which torch can't write into an archive"
            if named.__module__ == "torch.return_types":
                message = f"{who} a {full}, which torch can't write into an archive"
                raise StageFailure(kind, message, "make a plain tuple of it: tuple(result)") from error
            if hasattr(named, "_fields"):
                remedy = (
                    "register it where it is defined: torch.utils._pytree._register_namedtuple("
                    f'{named.__qualname__}, serialized_type_name="{full}")'
                )
                raise StageFailure(kind, message, remedy) from error
            message = f"{who} a {full}, which was registered without serialized_type_name"
            raise StageFailure(kind, message, f'register it with serialized_type_name="{full}"') from error
        if not is_kept:
            message = f"{who} a {named.__name__} with keys that torch can't write into an archive"
            raise StageFailure(kind, message, "use texts or numbers as keys")


def specs(structure: pytree.TreeSpec) -> Iterator[pytree.TreeSpec]:
    """Yield the structure of a tree and those of all its parts."""
    yield structure
    for child in structure.children():
        yield from specs(child)
