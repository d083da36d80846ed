"""A callable that takes the inputs is a model: its program computes what it does, with the state of what it uses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.function_model import takes_inputs
from batchexport.pipeline.model_structure import first_party_modules
from support import functions
from support.exporting import Export, Exported, verified

pytestmark = pytest.mark.torch

X, NARROW = '{ shape = ["b", 4] }', '{ shape = ["b", 3] }'


def entry(model: str, inputs: str, more: str = "") -> str:
    dims = 'dims = { b = { min = 1, max = 8 } }\ncompile = { format = "none" }\n'
    return f'model = "support.functions:{model}"\ninputs = {inputs}\n{dims}{more}'


def called(made: Exported, *args: Any, **kwargs: Any) -> Any:
    """What the archive, loaded by plain torch, gives."""
    return made.program().module()(*args, **kwargs)


@pytest.mark.parametrize(
    ("model", "args", "kwargs", "inputs", "expected"),
    [
        (functions.looked_up, [], {}, {"x": 1, "y": 1}, True),
        (functions.looked_up, [], {}, ["first", "second"], True),
        (functions.looked_up, [], {}, {"x": 1}, True),  # the other one is missed, by name
        (functions.looked_up, [], {}, "support.models:affine_inputs", True),
        (functions.scaled, [], {"scale": 2.0}, {"x": 1}, True),
        (functions.SCORER, [], {}, {"x": 1}, True),
        (functions.TRIPLED, [], {}, {"x": 1}, True),
        (functions.factory, [], {}, {"x": 1}, False),
        (functions.factory, [], {}, [], False),
        (functions.factory, [4], {}, {"x": 1}, False),
        (functions.factory, [], {"width": 4}, ["first"], False),
        (functions.factory, [1, 2, 3], {}, ["first"], False),
        (functions.closure, [], {}, {"x": 1}, False),
        (functions.nothing, [], {}, {"x": 1}, False),
        (functions.Scorer, [], {}, {"width": 1}, False),
        (torch.sigmoid, [], {}, {"input": 1}, False),  # nothing tells its parameters
    ],
)
def test_a_model_is_told_from_a_factory_by_its_parameters(
    model: Any, args: list[Any], kwargs: dict[str, Any], inputs: Any, *, expected: bool
) -> None:
    assert takes_inputs(model, {"args": args, "kwargs": kwargs, "inputs": inputs}) is expected


@pytest.mark.parametrize("strict", ["", "export = { strict = true }"], ids=["non-strict", "strict"])
def test_a_function_is_exported_with_its_tensors_as_constants(exported: Export, strict: str) -> None:
    made = verified(exported(entry("looked_up", f"{{ y = {NARROW}, x = {X} }}", strict)))
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    assert torch.equal(called(made, y=y, x=x), functions.looked_up(x, y))
    [row] = made.output["state"]
    assert row[1:4] == ["constant", "torch.float32", [4, 3]]


def test_inputs_of_a_function_may_be_a_list(exported: Export) -> None:
    made = verified(exported(entry("looked_up", f"[ {X}, {NARROW} ]")))
    assert made.output["call"]["args"] == ["x", "y"]


def test_arguments_are_given_to_a_function_with_its_inputs(exported: Export) -> None:
    made = verified(exported(entry("scaled", f"{{ x = {X} }}", "kwargs = { scale = 2.5, bias = 0.5 }")))
    x = torch.randn(3, 4)
    assert torch.equal(called(made, x=x), x * 2.5 + 0.5)
    with pytest.raises(StageFailure, match="scaled takes no input 'scale'; it takes x"):
        exported(entry("scaled", f"{{ x = {X}, scale = 2.5 }}", "kwargs = { scale = 2.5 }"))


@pytest.mark.parametrize(
    ("model", "state"),
    [
        ("helped", {"NET.0.weight", "NET.0.bias"}),  # another function of the module names it
        ("closure", {"net.weight", "net.bias"}),
        ("SCORER", {"net.weight", "net.bias"}),
        ("Scorer", {"net.weight", "net.bias"}),
        ("TRIPLED", set()),
        ("compiled", set()),
    ],
)
def test_modules_that_a_callable_uses_are_its_parts(exported: Export, model: str, state: set[str]) -> None:
    made = verified(exported(entry(model, f"{{ x = {X} }}")))
    assert set(made.program().state_dict) == state
    assert made.output["warnings"] == []  # their dropout is off


def test_weights_are_loaded_into_the_parts_of_a_function(exported: Export, tmp_path: Path) -> None:
    state = {"net.weight": torch.randn(3, 4), "net.bias": torch.randn(3)}
    save_file(state, tmp_path / "w.safetensors")
    made = verified(exported(entry("closure", f"[ {X} ]", 'weights = "w.safetensors"')))
    x = torch.randn(3, 4)
    assert torch.allclose(called(made, x), torch.nn.functional.linear(x, *state.values()) * 2)


def test_new_weights_of_a_function_keep_its_program_and_other_tensors_of_it_do_not(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in first_party_modules():  # what other tests have left in them would count as part of the model
        if module is not functions:
            monkeypatch.delitem(sys.modules, module.__name__)
    save_file({"net.weight": torch.randn(3, 4), "net.bias": torch.randn(3)}, tmp_path / "w.safetensors")
    given = entry("closure", f"[ {X} ]")
    first = exported(given)
    weights = verified(exported(f'{given}\nweights = "w.safetensors"', first.base()))
    assert weights.output["reweighed"]
    other = verified(exported(f"{given}\nkwargs = {{ value = 3.0 }}", first.base()))
    assert not other.output["reweighed"]
    functions.TABLE.add_(1)
    try:
        changed = exported(given, first.base())
    finally:
        functions.TABLE.sub_(1)
    assert not changed.output["reweighed"]


@pytest.mark.parametrize(
    ("model", "inputs", "kind", "message", "remedy"),
    [
        ("factory", X, Kind.BUILD, "missing 1 required positional argument: 'width'", "give width in args or kwargs; "),
        ("looked_up", X, Kind.INPUTS, "looked_up needs the input 'y'", "add y to"),
        ("nothing", X, Kind.BUILD, "returned None, not a model", "needs a parameter without a default"),
        ("later", X, Kind.BUILD, "later is async", "without async"),
        ("drawn", X, Kind.EXPORT, "drawn draws from Python's random", "draw with torch.rand"),
        ("TABLE", X, Kind.BUILD, "TABLE is a Tensor, not a callable", "name a function"),
    ],
)
def test_what_is_no_model_is_refused_by_name(
    exported: Export, model: str, inputs: str, kind: Kind, message: str, remedy: str
) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(entry(model, f"{{ x = {inputs} }}"))
    assert failure.value.kind is kind
    assert remedy in str(failure.value.remedy)


def test_a_factory_that_is_taken_for_the_model_is_told(exported: Export) -> None:
    with pytest.raises(StageFailure, match="factory returns a Linear") as failure:
        exported('model = "support.functions:factory"\ninputs = [ 4 ]')
    assert failure.value.remedy == "if factory makes the model, give its arguments in args or kwargs"


def test_functions_in_c_are_to_be_called_by_one_in_python(exported: Export) -> None:
    with pytest.raises(StageFailure, match="building torch:sigmoid") as failure:
        exported(f'model = "torch:sigmoid"\ninputs = [ {NARROW} ]')
    assert failure.value.remedy == (
        "nothing tells its parameters: if it is itself the model, write a function that calls it"
    )


@pytest.mark.parametrize(("model", "args"), [("torch.nn:Linear", "[4, 2]"), ("support.functions:remembered", "[4]")])
def test_classes_of_torch_and_factories_that_remember_are_models_as_before(
    exported: Export, model: str, args: str
) -> None:
    verified(exported(f'model = "{model}"\nargs = {args}\ninputs = [ {X} ]\ndims = {{ b = {{ min = 1, max = 8 }} }}'))
