"""Capture a built model as an ExportedProgram, and explain failures in the terms of the manifest."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from batchexport.pipeline.call_form import Call, CallForm
from batchexport.pipeline.constraints import Source, in_words_of_the_manifest, solve, telling
from batchexport.pipeline.dynamic_shapes import dynamic_shapes, size_sources
from batchexport.pipeline.exportdb import ErrorClass, classify
from batchexport.pipeline.failure import Kind, StageFailure, classified, one_line, text_of
from batchexport.pipeline.inputs import Examples
from batchexport.pipeline.manifest_lines import Changes, Sizes, what_to_write
from batchexport.pipeline.quantized import REMEDY
from batchexport.pipeline.torchscript import CANT_BE_CAPTURED, IS_QUANTIZED
from batchexport.pipeline.wrappers import replaced_forward

# What to do about an error, by a part of its text.
_REMEDIES = {
    CANT_BE_CAPTURED: "build the nn.Module itself, without torch.jit.script or torch.jit.trace",
    "no fake impl registered": "register a fake kernel with torch.library.register_fake",
    "fake tensor in the exported program constant": (
        "a call writes through `.data`, or keeps a new tensor: change buffers in place, under torch.no_grad()"
    ),
    "unhashable type: non-nested Sym": "don't use a size as the key of a dict or set",
    IS_QUANTIZED: REMEDY,
    "NotImplemented to Tensor": "give the class of the parameters __torch_function__ for the functions that take them",
    "__obj_flatten__": "its class needs __obj_flatten__",
}

_NOTHING = Changes(sizes={}, replaced={})


def capture(model: nn.Module, examples: Examples, call: Call, spec: Mapping[str, Any]) -> ExportedProgram:
    """Call `torch.export.export` as the spec asks, with `call` as the example.

    Raises StageFailure of kind shapes or export.
    """
    nodes, names, shapes = examples.nodes(), _parameter_names(examples.form), None
    if nodes is not None:
        by_position, by_name = dynamic_shapes(nodes, call, spec["dims"])
        shapes = dict(zip(names, by_position, strict=True)) | by_name

    def export_with(export: Callable[..., ExportedProgram]) -> ExportedProgram:
        with _explicit_signature(model, names, examples.form):
            return export(
                model,
                *call,
                dynamic_shapes=shapes,
                strict=spec["strict"],
                preserve_module_call_signature=tuple(spec["preserve_module_call_signature"]),
                prefer_deferred_runtime_asserts_over_guards=spec["prefer_deferred_runtime_asserts"],
            )

    try:
        return export_with(torch.export.export)
    except Exception as error:
        sources = {} if nodes is None else size_sources(nodes, call, names, examples.form)
        found = solve(text_of(error), spec["dims"], sources) if _is_violation(error) else None
        failure = _explained(error) if found is None else _violation(error, found, spec, sources)
        if failure.kind is Kind.EXPORT or found == _NOTHING:
            failure.draft = lambda: export_with(torch.export.draft_export)._report  # type: ignore[attr-defined]
        raise failure from error


def _parameter_names(form: CallForm) -> list[str]:
    """Return a name for each input that is passed by position: `xs_0` for `xs[0]`, unless that is taken.

    `self` is taken: the functions that torch generates have a parameter of that name.
    """
    names: list[str] = []
    for text in form.args:
        name = text.replace("[", "_").rstrip("]")
        while name in ("self", *names, *form.kwargs):
            name += "_"
        names.append(name)
    return names


@contextlib.contextmanager
def _explicit_signature(model: nn.Module, names: Sequence[str], form: CallForm) -> Iterator[None]:
    """Give the inputs of a call, and no others, as the parameters of `model` for the time of a capture, if need be.

    Those by position get these `names`. torch has no dynamic shapes for `**kwargs`, and takes the positional-only
    parameters of a strict capture twice.
    """
    kinds, own = inspect.Parameter, model.forward
    parameters = inspect.signature(own).parameters
    named = {name for name, one in parameters.items() if one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    if tuple(names) == form.args and named.issuperset((*form.args, *form.kwargs)):
        yield
        return

    def forward(*args: Any, **kwargs: Any) -> Any:
        return own(*args, **kwargs)

    explicit = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in names]
    explicit += [kinds(name, kinds.KEYWORD_ONLY) for name in form.kwargs]
    forward.__signature__ = inspect.Signature(explicit)  # type: ignore[attr-defined]
    with replaced_forward(model, forward):
        yield


def _is_violation(error: Exception) -> bool:
    kind = getattr(getattr(error, "error_type", None), "name", "")
    is_named = type(error).__name__ == "ConstraintViolationError"
    return kind == "CONSTRAINT_VIOLATION" or is_named or "Constraints violated" in text_of(error)


def _violation(
    error: Exception, found: Changes, spec: Mapping[str, Any], sources: Mapping[str, Source]
) -> StageFailure:
    """Return which sizes a model does not take, and what to write for them: in the words of the manifest.

    Where nothing was found, the dims that torch names are kept at their examples.
    """
    text, dims = text_of(error), spec["dims"]
    if found == _NOTHING and (sort := classify(error)).case is not None:
        return _unsolvable(error, sort, spec, sources)
    told = in_words_of_the_manifest(telling(_reasons(error), dims, sources) or one_line(error), sources, dims)
    guilty = [one for name, one in sources.items() if name in text]
    if what_to_write(found, spec) is None:
        names = sorted({one.size.name for one in guilty if one.size is not None} & dims.keys())
        fixed = {name: Sizes(first=dims[name]["example"], last=dims[name]["example"]) for name in names}
        found = Changes(sizes=fixed, replaced={})
    remedy = what_to_write(found, spec)
    if remedy is None and guilty:
        remedy = f"give {' and '.join(one.label for one in guilty)} the same size in inputs and additional_inputs"
    failure = StageFailure(Kind.SHAPES, told, remedy)
    failure.changes = found
    failure.error_class = "CONSTRAINT_VIOLATION"
    return failure


def _reasons(error: Exception) -> list[str]:
    """Return why torch finds constraints violated, one sentence each."""
    return [line.strip(" -") for line in text_of(error).splitlines() if line.strip().startswith("- ")]


def _unsolvable(
    error: Exception, sort: ErrorClass, spec: Mapping[str, Any], sources: Mapping[str, Source]
) -> StageFailure:
    """Return the failure for guards that torch itself can't solve, for whatever range, as exportdb says."""
    found = [one for name, one in sources.items() if name in text_of(error)]
    names = {one.size.name for one in found if one.size is not None}
    lines = " and ".join(f"`{name} = {spec['dims'][name]['example']}`" for name in sorted(names & spec["dims"].keys()))
    told = in_words_of_the_manifest(telling(_reasons(error), {}, {}) or one_line(error), sources, spec["dims"])
    remedy = f"compute it otherwise ({sort.description.rstrip('.')}), or fix the size: {lines} in [entry.dims]"
    failure = StageFailure(Kind.EXPORT, f"torch.export: {told}{sort}", remedy if lines else sort.description)
    failure.error_class = sort.name
    return failure


def _explained(error: Exception) -> StageFailure:
    """Return the failure for an error of torch.export, with the class that torch has for it."""
    failure = _of_kind(error)
    sort = classify(error)
    if failure.kind is Kind.EXPORT:
        failure.message += str(sort)
    failure.error_class = sort.name
    return failure


def _of_kind(error: Exception) -> StageFailure:
    text = text_of(error)
    kind = getattr(getattr(error, "error_type", None), "name", "")
    name = type(error).__name__
    if kind == "INVALID_INPUT" or "dynamic_shapes" in text:
        return StageFailure(Kind.SHAPES, one_line(error))
    if name.startswith("GuardOnDataDependent") or kind in ("ANTI_PATTERN", "DYNAMIC_CONTROL_FLOW"):
        return classified(
            error,
            Kind.EXPORT,
            "torch.export",
            "the control flow depends on tensor values; rewrite it with torch.cond or torch._check",
        )
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in text), None)
    return classified(error, Kind.EXPORT, "torch.export", remedy)
