"""Export a model of transformers: with inputs of its own where none are given, and dims that torch can't vary held."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.library_models import told_of
from batchexport.pipeline.manifest_lines import Changes, Sizes, applied
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.signature_inputs import Derived, derived, wants_inputs

# What to write about a failure, by a pattern of its message.
_REMEDIES = (
    (r"returns an? \w*Cache\b", "write `kwargs.use_cache = false` in the entry, or leave use_cache out"),
)

_LAST = 'no setting is known with which torch exports it: write `expect = "fail:export"` in the entry, to be told when'
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
        known = known_remedy(failure.message)
        if known is None and failure.kind is Kind.EXPORT:
            known = _tried_remedy(model, found.spec, attempt)
        failure.remedy = known or failure.remedy or (_LAST if failure.kind in _OF_TORCH else None)
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
            with restored(model):
                output = export(changed)
        except StageFailure as failure:
            first = first or failure
            if failure.kind not in _OF_TORCH or known_remedy(failure.message):
                break
            if free:
                sys.stderr.write(
                    f"not exported with {', '.join(sorted(free - set(held))) or 'no'} dynamic: {failure}\n"
                )
        else:
            return output, [_told(name, one.first, first) for name, one in sizes.items()]
    assert first is not None
    raise first


def known_remedy(message: str) -> str | None:
    """Return the line to write for a failure of a transformers model whose message is known."""
    return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, message)), None)


def _tried_remedy(model: nn.Module, spec: Mapping[str, Any], attempt: Attempt) -> str | None:
    """Return the line with which an attempt to export the model passes, if one is found."""
    config = getattr(model, "config", None)
    attention = getattr(config, "_attn_implementation", None)
    choose: Any = getattr(model, "set_attn_implementation", None)
    if attention not in (None, "eager") and choose is not None:
        try:
            choose("eager")
            attempt(spec)
        except Exception as error:
            sys.stderr.write(f"not exported with eager attention: {error}\n")
        else:
            return 'write `kwargs.attn_implementation = "eager"` in the entry'
        finally:
            choose(attention)
    if not spec["strict"]:
        try:
            attempt({**spec, "strict": True})
        except Exception as error:
            sys.stderr.write(f"not exported in strict mode: {error}\n")
        else:
            return "write `export.strict = true` in the entry"
    return None


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
