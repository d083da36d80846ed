"""Export a model of transformers: with inputs of its own where none are given, and dims that torch can't vary held."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from batchexport.pipeline.config_facts import value_in
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.library_models import told_of
from batchexport.pipeline.manifest_lines import Changes, Sizes, applied
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.signature_inputs import Derived, derived, wants_inputs

_LAST = 'no setting is known with which torch exports it: write `expect = "fail:export"` in the entry, to be told when'
_EXPORTABLE = {"attn": "eager", "experts": "grouped_mm"}  # implementations that torch captures most easily
_OF_TORCH = (Kind.EXPORT, Kind.SHAPES)

# Both export as an export spec says, and raise StageFailure.
Export = Callable[[Mapping[str, Any]], dict[str, Any]]
Attempt = Callable[[Mapping[str, Any]], None]


def export_transformer(
    model: nn.Module, spec: Mapping[str, Any], root: str, export: Export, attempt: Attempt
) -> dict[str, Any]:
    """Return what `export` returns for the spec with all that it leaves to us, and tell in it what that is.

    `attempt` exports and leaves nothing. Raises StageFailure, with a line to write.
    """
    found = derived(model, spec, root) if wants_inputs(spec) else Derived(spec=spec, lines=())
    try:
        output, held = _exported(model, found.spec, free=set(found.spec["dims"]) - set(spec["dims"]), export=export)
    except StageFailure as failure:
        if (
            failure.kind is Kind.EXPORT and not failure.fix
        ):  # what others would change in the model itself is no help here
            failure.remedy = _tried_remedy(model, found, attempt) or _LAST
        elif failure.kind in (Kind.SHAPES, Kind.SAVE):
            failure.remedy = failure.remedy or _LAST
        raise
    if found.lines:
        output["call"]["inputs"] = list(found.lines)
    # An export that keeps the graph of an earlier one has its warnings already.
    output["warnings"] = list(dict.fromkeys([*told_of(spec), *held, *output["warnings"]]))
    return output


def _exported(
    model: nn.Module, spec: Mapping[str, Any], free: set[str], export: Export
) -> tuple[dict[str, Any], list[str]]:
    """Export with as few of the `free` dims held at their examples as torch needs; return which, in words."""
    first: StageFailure | None = None
    for held in _choices(sorted(free, reverse=True)):
        sizes = {name: Sizes(first=size, last=size) for name in held for size in [spec["dims"][name]["example"]]}
        changed = applied(Changes(sizes=sizes, replaced={}), spec) if sizes else spec
        assert changed is not None  # one size is a multiple of 1
        try:
            with restored(model), _gradients_as_needed(model):
                output = export(changed)
        except StageFailure as failure:
            first = first or failure
            told = ", ".join(sorted(free - set(held))) or "nothing"
            sys.stderr.write(f"not exported with {told} dynamic: {failure.kind}: {failure}\n")
            if failure.kind not in _OF_TORCH or (failure.kind is Kind.EXPORT and failure.fix):
                break  # the line to write is certain: the model returns its caches
        else:
            return output, [_told(name, one.first, first) for name, one in sizes.items()]
    assert first is not None
    raise first


def _tried_remedy(model: nn.Module, found: Derived, attempt: Attempt) -> str | None:
    """Return the lines with which an attempt to export the model passes, if any are found."""
    for line, spec, parts in _settings(model, found):
        try:
            with _implementations(model, parts), _gradients_as_needed(model):
                attempt(spec)
        except Exception as error:
            sys.stderr.write(f"not exported with {line}: {error}\n")
        else:
            return f"write `{line}` in the entry"
    return None


def _gradients_as_needed(model: nn.Module) -> torch.set_grad_enabled:
    """Turn gradients off for the time of a block, unless a parameter needs them.

    Otherwise each part of a model that turns them off itself becomes a graph of its own, and torch can't load some
    archives with such graphs.
    """
    return torch.set_grad_enabled(any(one.requires_grad for one in model.parameters()))


def _settings(model: nn.Module, found: Derived) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    """Yield what may help: the line, the export spec with it, and the implementations of parts of the model."""
    for part, other in _EXPORTABLE.items():
        if _implementation(model, part) not in (None, other):
            yield f'kwargs.{part}_implementation = "{other}"', found.spec, {part: other}
    unmasked = {name: node for name, node in found.spec["inputs"].items() if not name.endswith("mask")}
    if found.lines and len(unmasked) < len(found.lines):
        line = ", ".join(one for one in found.lines if one.partition(" = ")[0] in unmasked)
        yield f"inputs = {{ {line} }}", {**found.spec, "inputs": unmasked}, {}
    if not found.spec["strict"]:
        yield "export.strict = true", {**found.spec, "strict": True}, {}


def _implementation(model: nn.Module, part: str) -> str | None:
    """Return which implementation of a part the model uses; None where it has no choice."""
    if not hasattr(model, f"set_{part}_implementation"):
        return None
    chosen = value_in(getattr(model, "config", None), f"_{part}_implementation")
    return chosen if isinstance(chosen, str) else None


@contextmanager
def _implementations(model: nn.Module, parts: Mapping[str, str]) -> Iterator[None]:
    """Let a model use other implementations of its parts for the time of the block."""
    before = {part: _implementation(model, part) for part in parts}
    try:
        for part, chosen in parts.items():
            getattr(model, f"set_{part}_implementation")(chosen)
        yield
    finally:
        for part, own in before.items():
            getattr(model, f"set_{part}_implementation")(own)


def _choices(free: list[str]) -> Iterator[list[str]]:
    """Yield what to hold: nothing, each dim, then all."""
    yield []
    if len(free) > 1:
        yield from ([name] for name in free)
    if free:
        yield free


def _told(name: str, size: int, failure: StageFailure | None) -> str:
    return (
        f"torch can't export the model with any {name}, and the artifacts hold for {name} = {size} only; for another "
        f"size, or to learn more, name it in [entry.dims]: `{name} = {size}`"
        + (f" ({failure.message})" if failure else "")
    )
