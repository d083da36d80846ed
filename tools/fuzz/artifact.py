"""Load and call artifacts as users of torch do, and compare them with the oracle; see what torch makes alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch.export import Dim, ExportedProgram

from fuzz.likeness import Tolerance, difference
from fuzz.oracle import Call, Card, build, called, example, inputs, method_of


def load(path: str) -> Callable[..., Any]:
    """A callable for a delivered file."""
    if path.endswith("exported.pt2"):
        return torch.export.load(path).module()  # type: ignore[no-any-return]
    if path.endswith(".so"):
        return torch._export.aot_load(path, "cpu")
    return torch._inductor.aoti_load_package(path)


def compare(run: Callable[..., Any], reference: Sequence[Call], card: Card, *, compiled: bool) -> str | None:
    """Make the calls of the reference; what differs first from what eager gave, or None."""
    for number, call in enumerate(reference, 1):
        given = copy.deepcopy(dict(call.inputs))
        place = f"call {number} at {dict(call.point)}"
        try:
            outputs = called(run, given, call.seed, card["positional"])
        except Exception as error:  # noqa: BLE001 - whatever an artifact raises is what is looked for
            if call.free:
                return None
            return f"{place} raises {one_line(error)}"
        tolerance = _tolerance(card, compiled=compiled)
        found = difference(outputs, call.outputs, tolerance) or difference(given, dict(call.after), tolerance, "inputs")
        if found:
            return f"{place}: {found}"
    return None


def _tolerance(card: Card, *, compiled: bool) -> Tolerance:
    rough = card["loose"] or card["dtype"] == "bfloat16"
    rtol, atol = (5e-2, 5e-2) if rough else (1e-4, 1e-5)
    return Tolerance(rtol=rtol, atol=atol, values=not (card["seeded"] and compiled))


def one_line(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


# ── torch alone ──────────────────────────────────────────────────────────────────────────────


def plain(card: Card, reference: Sequence[Call], folder: Path, *, compiled: bool) -> dict[str, str | None]:
    """What torch makes of a model without the product: an error or a difference for each step, None where it is right.

    The steps are export, lower, save, call and, where asked for, compile, call compiled; after the first that fails
    there are no more.
    """
    steps: dict[str, str | None] = {}

    def step(name: str, do: Callable[[], Any]) -> Any:
        try:
            done = do()
        except Exception as error:
            steps[name] = one_line(error)
            raise _Over from error
        steps[name] = None
        return done

    def call(name: str, run: Callable[..., Any], *, as_compiled: bool) -> None:
        steps[name] = compare(run, reference, card, compiled=as_compiled)
        if steps[name]:
            raise _Over

    path = str(folder / "exported.pt2")
    try:
        program = step("export", lambda: _export(card))
        program = step("lower", lambda: _lower(program, card["export"].get("ir", "training")))
        step("save", lambda: torch.export.save(program, path))
        call("call", step("load", lambda: load(path)), as_compiled=False)
        if compiled:
            package = str(folder / "package.pt2")
            made = step("compile", lambda: _compile(torch.export.load(path), package))
            call("call compiled", step("load compiled", lambda: load(made)), as_compiled=True)
    except _Over:
        pass
    return steps


class _Over(Exception):
    pass


def _export(card: Card) -> ExportedProgram:
    model = build(card)
    method_of(model, card)
    options, positional = card["export"], card["positional"]
    given = inputs(card, example(card), 1)
    bases = {name: _dim(name, dim) for name, dim in card["dims"].items()}
    return torch.export.export(
        model,
        tuple(given[name] for name in positional),
        {name: value for name, value in given.items() if name not in positional},
        dynamic_shapes={name: _shapes(tree, bases) for name, tree in card["inputs"].items()},
        strict=options.get("strict", False),
        preserve_module_call_signature=tuple(options.get("preserve_module_call_signature", ())),
        prefer_deferred_runtime_asserts_over_guards=options.get("prefer_deferred_runtime_asserts", False),
    )


def _dim(name: str, dim: Mapping[str, Any]) -> Any:
    if dim["auto"]:
        return Dim.AUTO
    step = dim.get("multiple_of", 1)
    if step == 1:
        return Dim(name, min=dim["min"], max=dim["max"])
    return step * Dim(f"_{name}", min=-(-dim["min"] // step), max=dim["max"] // step)


def _shapes(tree: Mapping[str, Any], bases: Mapping[str, Any]) -> Any:
    if "list" in tree:
        return [_shapes(item, bases) for item in tree["list"]]
    if "table" in tree:
        return {key: _shapes(item, bases) for key, item in tree["table"].items()}
    if "value" in tree:
        return None
    return {axis: _size(size, bases) for axis, size in enumerate(tree["tensor"]["shape"])}


def _size(size: Any, bases: Mapping[str, Any]) -> Any:
    if isinstance(size, int):
        return Dim.STATIC
    times, name, plus = size
    scaled = times * bases[name] if times != 1 else bases[name]
    return scaled + plus if plus else scaled


def _lower(program: ExportedProgram, ir: str) -> ExportedProgram:
    if ir == "training":
        return program
    return program.run_decompositions(None if ir == "core-aten" else {})


def _compile(program: ExportedProgram, path: str) -> str:
    return torch._inductor.aoti_compile_and_package(program, package_path=path)
