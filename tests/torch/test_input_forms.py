"""Whatever form a model takes its inputs in, it is exported so and verified at the ends of each range."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support import forms
from support.exporting import Export, Exported

pytestmark = pytest.mark.torch

X = '{ shape = ["b", 3] }'
STRICT = "export = { strict = true }\n"
NON_STRICT = ""


def entry(model: str, inputs: str, more: str = "") -> str:
    dims = "" if more.startswith("dims") else "dims = { b = { min = 1, max = 8, example = 3 } }\n"
    return f'model = "support.forms:{model}"\ninputs = {inputs}\n{dims}{more}'


def verified(made: Exported) -> Exported:
    """The export, after every call of its program gave what eager gave and the call outside the range was refused."""
    evidence = made.verify()
    assert len(evidence["samples"]) >= 2
    assert all(sample["max_abs_diff"] < 1e-5 for sample in evidence["samples"])
    assert evidence["refused"] is not None
    return made


def called(made: Exported, *args: Any, **kwargs: Any) -> Any:
    """What the archive, loaded by plain torch, gives."""
    return made.program().module()(*args, **kwargs)


STATE = {"linear.weight", "linear.bias", "shift"}


@pytest.mark.parametrize("strict", [NON_STRICT, STRICT], ids=["non-strict", "strict"])
@pytest.mark.parametrize(
    ("model", "inputs", "args", "kwargs"),
    [
        ("Two", f"[ {X}, {X} ]", ["x", "y"], []),
        ("Two", f"{{ y = {X}, x = {X} }}", [], ["y", "x"]),
        ("Star", f"[ {X}, {X} ]", ["xs[0]", "xs[1]"], []),
        ("Star", f"{{ xs = [ {X}, {X} ] }}", ["xs[0]", "xs[1]"], []),
        ("Star", f"{{ xs = {{ tuple = [ {X} ] }} }}", ["xs[0]"], []),
        ("Keywords", f"{{ b = {X}, a = {X} }}", [], ["b", "a"]),
        ("Wraps", f"[ {X}, {X} ]", ["args[0]", "args[1]"], []),
        ("Wraps", f"{{ y = {X}, x = {X} }}", [], ["y", "x"]),
        ("Wraps", f"{{ args = [ {X} ], y = {X} }}", ["args[0]"], ["y"]),
        ("PositionalOnly", f"[ {X}, {X}, {X} ]", ["x", "y", "z"], []),
        ("PositionalOnly", f"{{ z = {X}, x = {X} }}", ["x"], ["z"]),
        ("PositionalOnly", f"{{ y = {X}, z = {X}, x = {X} }}", ["x", "y"], ["z"]),
        ("KeywordsOnly", f"{{ x = {X} }}", [], ["x"]),
        ("Everything", f"{{ bias = {X}, second = {X}, first = {X} }}", ["first"], ["bias", "second"]),
        (
            "Everything",
            f"{{ z = {X}, bias = {X}, second = {X}, scale = 3.0, rest = [ {X}, {X} ], first = {X}, gain = 0.5 }}",
            ["first", "second", "scale", "rest[0]", "rest[1]"],
            ["z", "bias", "gain"],
        ),
        ("Shadows", f"[ {X}, {X}, {X}, {X}, {X} ]", ["args", "kwargs", "self", "xs_0", "xs[0]"], []),
        ("ShadowsByName", f"{{ kwargs_0 = {X}, args_0 = {X}, forward = {X}, args = [ {X} ] }}", ["args[0]"],
         ["kwargs_0", "args_0", "forward"]),
        ("partial", f"{{ x = {X} }}", [], ["x"]),
        ("partial", f"[ {X} ]", ["x"], []),
        ("partial_star", f"[ {X}, {X} ]", ["xs[0]", "xs[1]"], []),
        ("compiled", f"{{ x = {X}, y = {X} }}", [], ["x", "y"]),
        ("compiled_in_place", f"[ {X}, {X} ]", ["x", "y"], []),
        ("parallel", f"{{ x = {X}, y = {X} }}", [], ["x", "y"]),
        ("compiled_parallel", f"[ {X}, {X} ]", ["x", "y"], []),
    ],
)  # fmt: skip
def test_inputs_go_by_position_and_by_name_as_the_model_takes_them(
    exported: Export, model: str, inputs: str, args: list[str], kwargs: list[str], strict: str
) -> None:
    made = verified(exported(entry(model, inputs, strict)))
    call = made.output["call"]
    assert (call["args"], call["kwargs"]) == (args, kwargs)
    program = made.program()
    assert {name.removeprefix("inner.") for name in program.state_dict} == STATE
    assert "constant" in {name.removeprefix("inner.") for name in program.constants}


def test_a_hook_of_a_wrapper_keeps_the_wrapper(exported: Export) -> None:
    made = verified(exported(entry("parallel_with_a_hook", f"{{ x = {X}, y = {X} }}")))
    assert set(made.program().state_dict) == {f"module.{name}" for name in STATE}


def test_the_signature_is_that_of_the_model_again(exported: Export) -> None:
    before = forms.Star.forward
    made = exported(entry("Star", f"[ {X} ]"))
    assert forms.Star.forward is before
    assert made.output["call"]["positions"] == ["xs[0]"]


@pytest.mark.parametrize(
    ("model", "inputs", "message", "remedy"),
    [
        ("Two", f"[ {X} ]", "Two needs the input 'y', which the manifest does not give", "add y to the list of inputs"),
        ("Two", f"[ {X}, {X}, {X} ]", "Two takes 2 inputs by position, and the manifest gives 3",
         "write a table of inputs: what has a name goes by that name"),
        ("KeywordsOnly", f"[ {X} ]", "KeywordsOnly takes no input by position, and the manifest gives 1",
         "write a table of inputs: what has a name goes by that name"),
        ("Everything", f"[ {X}, {X} ]", "Everything needs the input 'bias', which the manifest does not give",
         "it takes bias by name only: write a table of inputs by name"),
        ("Everything", f"{{ first = {X}, second = {X}, rest = [ {X} ], bias = {X} }}",
         "Everything takes rest by position, behind scale, which the manifest does not give",
         "add scale to [entry.inputs]"),
        ("PositionalOnly", f"{{ y = {X} }}", "PositionalOnly needs the input 'x', which the manifest does not give",
         "add x to [entry.inputs]"),
        ("Star", f"{{ xs = {X} }}", "Star takes xs as *xs, and the manifest gives one value",
         "write a list of what it takes: xs = [ … ]"),
        ("Star", f"{{ x = {X} }}", "Star takes no input 'x'; it takes xs", "did you mean 'xs'?"),
        ("Keywords", f"{{ kwargs = {{ a = {X}, b = {X} }} }}",
         "Keywords takes kwargs as **kwargs, which are inputs of their own",
         "write what is in kwargs beside the other inputs"),
        ("Everything", f"{{ first = {X}, seconds = {X}, bias = {X} }}",
         "Everything would ignore the input 'seconds'", "did you mean 'second'?"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_the_parameters_are_told(
    exported: Export, model: str, inputs: str, message: str, remedy: str
) -> None:
    with pytest.raises(StageFailure) as refused:
        exported(entry(model, inputs))
    assert (refused.value.kind, refused.value.message, refused.value.remedy) == (Kind.INPUTS, message, remedy)


def test_one_tensor_may_be_two_inputs(exported: Export) -> None:
    made = exported('model = "support.forms:Two"\ninputs = "support.forms:twice"')
    assert [sample["max_abs_diff"] for sample in made.verify()["samples"]] == [0.0, 0.0]
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    one, other = called(made, x=x, y=y), called(made, x=x, y=torch.zeros(2, 3))
    torch.testing.assert_close(one, other - y)


def test_a_factory_may_give_a_list(exported: Export) -> None:
    made = exported('model = "support.forms:Two"\ninputs = "support.forms:listed"')
    made.verify()
    assert made.output["call"] == {"args": ["x", "y"], "kwargs": [], "positions": ["x", "y"]}


def test_what_may_also_go_by_position_ends_where_a_parameter_is_left_out(exported: Export) -> None:
    made = exported(entry("Everything", f"{{ bias = {X}, second = {X}, gain = 2.0, first = {X} }}"))
    assert made.output["call"]["positions"] == ["first", "second"]


STATE_TYPE = 'type = "support.forms:State"'


@pytest.mark.parametrize("strict", [NON_STRICT, STRICT], ids=["non-strict", "strict"])
@pytest.mark.parametrize(
    "state",
    [
        f"h = {X}",
        f"h = {X}, cell = {X}",
        f'h = {X}, cell = "none", steps = 3',
        f"steps = 2, extra = [ {X}, {X} ], cell = {X}, h = {X}",
    ],
)
def test_a_dataclass_is_an_input_with_dims(exported: Export, state: str, strict: str) -> None:
    made = verified(exported(entry("Recurrent", f"{{ state = {{ {STATE_TYPE}, fields = {{ {state} }} }} }}", strict)))
    assert made.output["modules"] == ["support.forms"]
    calls = made.reference()["calls"]
    assert {type(call["inputs"]["state"]) for call in calls} == {forms.State}
    assert {call["inputs"]["state"].h.shape[0] for call in calls} == {1, 3, 8}


@pytest.mark.parametrize("strict", [NON_STRICT, STRICT], ids=["non-strict", "strict"])
@pytest.mark.parametrize("flag", ["true", "false"])
def test_forms_are_nested_in_one_another(exported: Export, flag: str, strict: str) -> None:
    tree = f"{{ tuple = [ {{ pair = {{ tuple = [ {X}, {flag} ] }} }}, {{ shape = [3], value = 2 }} ] }}"
    left = f"{{ {STATE_TYPE}, fields = {{ h = {X} }} }}"
    pair = f'{{ type = "support.forms:Pair", fields = {{ right = {{ tuple = [ {X}, 5 ] }}, left = {left} }} }}'
    made = verified(exported(entry("Deep", f"{{ tree = {tree}, pairs = [ {pair} ] }}", strict)))
    [call, *_] = made.reference()["calls"]
    assert type(call["inputs"]["tree"]) is tuple
    assert type(call["inputs"]["pairs"][0]) is forms.Pair


@pytest.mark.parametrize("strict", [NON_STRICT, STRICT], ids=["non-strict", "strict"])
def test_what_a_dataclass_sets_itself_is_an_input_of_a_fixed_size(exported: Export, strict: str) -> None:
    fields = f"table = {{ x = [ {X} ] }}, inner = {{ {STATE_TYPE}, fields = {{ h = {X}, steps = 3 }} }}"
    inputs = f'{{ outer = {{ type = "support.forms:Outer", fields = {{ {fields} }} }} }}'
    made = verified(exported(entry("Outermost", inputs, strict)))
    outer = forms.Outer(inner=forms.State(h=torch.ones(5, 3), steps=3), table={"x": [torch.ones(5, 3)]})
    before = called(made, outer=outer)
    outer.scale = torch.full((3,), 3.0)
    assert not torch.equal(called(made, outer=outer), before)


def test_a_model_that_adds_to_its_inputs_is_refused(exported: Export) -> None:
    inputs = f"{{ state = {{ {STATE_TYPE}, fields = {{ h = {X} }} }} }}"
    with pytest.raises(StageFailure, match="Fills adds to its inputs or takes from them") as refused:
        exported(entry("Fills", inputs))
    assert refused.value.kind is Kind.EXPORT


def test_another_method_than_forward_takes_its_inputs_in_any_form(exported: Export) -> None:
    made = verified(exported(entry("Encodes", f"{{ x = {X}, rest = [ {X} ], factor = {X} }}", 'method = "encode"')))
    assert made.output["call"]["args"] == ["x", "rest[0]"]


@pytest.mark.parametrize("strict", ["false", "true"])
def test_a_module_in_a_wrapper_keeps_its_own_call(exported: Export, strict: str) -> None:
    export = f'export = {{ strict = {strict}, preserve_module_call_signature = ["inner"] }}'
    made = verified(exported(entry("Wraps", f"{{ y = {X}, x = {X} }}", export)))
    assert "inner" in {one.fqn for one in made.program().module_call_graph if one.signature is not None}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Unregistered", "support.forms:Unregistered, the type of state, is not registered with torch as a dataclass"),
        ("Plain", "support.forms:Plain, the type of state, is no dataclass or named tuple"),
        ("Sate", "module 'support.forms' has no attribute 'Sate'"),
        ("State", "making the input state: TypeError: State.__init__() got an unexpected keyword argument 'hh'"),
    ],
)
def test_a_type_that_can_not_be_an_input_is_told(exported: Export, kind: str, message: str) -> None:
    field = "hh" if kind == "State" else "h"
    inputs = f'{{ state = {{ type = "support.forms:{kind}", fields = {{ {field} = {X} }} }} }}'
    with pytest.raises(StageFailure) as refused:
        exported(entry("Recurrent", inputs))
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("strict", [NON_STRICT, STRICT], ids=["non-strict", "strict"])
def test_a_number_has_a_range(exported: Export, strict: str) -> None:
    dims = "dims = { b = { min = 1, max = 8, example = 3 }, n = { min = 3, max = 9, example = 4 } }\n"
    made = verified(exported(entry("Steps", f'{{ x = {X}, n = {{ dim = "n" }} }}', dims + strict)))
    assert {call["inputs"]["n"] for call in made.reference()["calls"]} == {3, 4, 9}
    assert called(made, x=torch.ones(5, 3), n=6).shape == (5, 7)
    for beyond in (2, 10):
        with pytest.raises(AssertionError, match="Guard failed: n"):
            called(made, x=torch.ones(5, 3), n=beyond)


def test_a_number_whose_dim_is_fixed_is_passed_as_it_is(exported: Export) -> None:
    dims = "dims = { b = { min = 1, max = 8, example = 3 }, n = 5 }\n"
    made = verified(exported(entry("Steps", f'{{ x = {X}, n = {{ dim = "n" }} }}', dims)))
    assert called(made, x=torch.ones(2, 3), n=5).shape == (2, 6)


def test_a_number_without_a_range_is_left_to_torch(exported: Export) -> None:
    made = exported(entry("Steps", '{ x = { shape = [2, 3] }, n = { dim = "n" } }', "dims = {}\n"))
    made.verify()
    assert [called(made, x=torch.ones(2, 3), n=n).shape[1] for n in (2, 50)] == [3, 51]


def test_a_number_that_torch_fixes_is_refused_or_told(exported: Export) -> None:
    inputs = '{ x = { shape = [2, 3] }, n = { dim = "n" } }'
    with pytest.raises(StageFailure) as refused:
        exported(entry("Factor", inputs, "dims = { n = { min = 2, max = 9, example = 7 } }\n"))
    assert (refused.value.kind, refused.value.remedy) == (Kind.SHAPES, "write `n = 7` in [entry.dims]")
    exported(entry("Factor", inputs, "dims = { n = 7 }\n")).verify()
    [warning] = exported(entry("Factor", inputs, "dims = {}\n")).output["warnings"]
    assert warning.startswith("torch has fixed the dim n at 2")


def test_a_number_and_a_size_may_share_a_dim(exported: Export) -> None:
    dims = "dims = { n = { min = 2, max = 9, example = 4 } }\n"
    made = verified(exported(entry("SizeAndNumber", '{ x = { shape = ["n", 3] }, n = { dim = "n" } }', dims)))
    assert called(made, x=torch.ones(6, 3), n=6).shape == (6, 3)
