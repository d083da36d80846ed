"""TorchScript is exported with the state and the ranges that it has, and verified with the script itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.needed_modules import operator_modules
from batchexport.pipeline.stages import _archives
from support import scripted
from support.exporting import Export, verified

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

X = '{ shape = ["b", 4] }'


def entry(model: str, more: str = "", inputs: str = f"{{ x = {X} }}") -> str:
    return f'model = "{model}"\ninputs = {inputs}\ndims = {{ b = {{ min = 1, max = 8 }} }}\n{more}'


def saved(folder: Path, model: torch.nn.Module) -> dict[str, Any]:
    """Write a scripted model beside the manifest; return its state."""
    script = torch.jit.script(model.eval())
    script.save(str(folder / "scripted.pt"))
    return dict(script.state_dict())


CASES = ["Norm", "Counter", "Sizes", "Recurrent", "Attends", "Convolved", "Tied"]


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("name", CASES)
def test_scripted_and_traced_models_hold_for_all_sizes_with_the_names_of_their_state(
    exported: Export, name: str, how: str
) -> None:
    made = verified(exported(entry(f"support.scripted:{how}", f'args = ["{name}"]')))
    own = getattr(scripted, name)().state_dict()
    assert set(made.program().state_dict) == set(own)
    kinds = {row[0]: row[1] for row in made.output["state"] if row[1] != "constant"}
    module = getattr(scripted, name)()
    parameters = {key for key, _ in module.named_parameters(remove_duplicate=False)}
    assert kinds == {key: "parameter" if key in parameters else "buffer" for key in own}


def test_a_branch_on_the_values_of_a_tensor_is_captured_both_ways(exported: Export) -> None:
    made = verified(exported(entry("support.scripted:script", 'args = ["Branches"]')))
    run, model = made.program().module(), scripted.Branches()
    model.load_state_dict(made.program().state_dict)
    for x in (torch.ones(3, 4), -torch.ones(3, 4)):
        assert torch.allclose(run(x=x), model(x))


def test_containers_and_optional_inputs_of_scripts_are_exported(exported: Export) -> None:
    given = f"{{ x = {{ a = {X}, b = {X} }}, y = [ {X}, {X} ] }}"
    verified(exported(entry("support.scripted:script", 'args = ["Containers"]', given)))
    given = f"{{ x = {X}, y = {X}, scale = 0.5 }}"
    made = verified(exported(entry("support.scripted:script", 'args = ["Norm"]', given)))
    assert made.output["call"]["kwargs"] == ["x", "y", "scale"]


@pytest.mark.parametrize("how", ["script", "traced_casts"])
def test_casts_of_scripts_are_those_that_they_name(exported: Export, how: str) -> None:
    given = f'{{ x = {X}, like = {{ shape = ["b", 4], dtype = "float64" }} }}'
    args = 'args = ["Casts"]' if how == "script" else ""
    made = verified(exported(entry(f"support.scripted:{how}", args, given)))
    assert made.reference()["calls"][0]["outputs"][0].dtype is torch.float64


def test_a_file_has_no_module_that_registers_its_operators(exported: Export) -> None:
    library = torch.library.Library("of_test_scripted", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return torch.ops.of_test_scripted.twice(x)

    program = torch.export.export(Twice(), (torch.randn(3),))
    assert operator_modules(program, "models:Twice") == {"models"}
    assert operator_modules(program, "scripted.pt") == set()


def test_a_script_file_is_a_model_and_takes_weights(exported: Export, tmp_path: Path) -> None:
    state = saved(tmp_path, scripted.Norm())
    made = verified(exported(entry("scripted.pt")))
    assert torch.equal(made.program().state_dict["lin.weight"], state["lin.weight"])
    other = scripted.Norm().state_dict()
    torch.save(other, tmp_path / "other.pt")
    made = verified(exported(entry("scripted.pt", 'weights = "other.pt"')))
    assert torch.equal(made.program().state_dict["lin.weight"], other["lin.weight"])
    assert _archives({"model": "scripted.pt"}) == ["scripted.pt"]


def test_methods_dtype_and_ir_of_a_script_are_those_that_the_entry_names(exported: Export, tmp_path: Path) -> None:
    saved(tmp_path, scripted.Norm())
    made = verified(exported(entry("scripted.pt", 'method = "encode"')))
    assert made.reference()["calls"][0]["outputs"][0].shape == (4, 2)
    made = verified(exported(entry("scripted.pt", 'dtype = "float64"\nexport = { ir = "core-aten" }')))
    assert made.program().state_dict["lin.weight"].dtype is torch.float64
    with pytest.raises(StageFailure, match="Norm has no method 'encoed'") as failure:
        exported(entry("scripted.pt", 'method = "encoed"'))
    assert failure.value.remedy == "did you mean 'encode'?"


def test_scripted_parts_of_a_model_are_exported_in_their_places(exported: Export) -> None:
    made = verified(exported(entry("support.scripted:Around")))
    assert set(made.program().state_dict) == set(scripted.Around().state_dict())


@pytest.mark.parametrize(
    ("model", "kwargs"), [("stretched", ""), ("stretched", "kwargs = { times = 4 }"), ("traced", ""), ("Calls", "")]
)
def test_scripted_functions_are_models_and_parts_of_models(exported: Export, model: str, kwargs: str) -> None:
    verified(exported(entry(f"support.scripted:{model}", kwargs)))


def test_new_weights_of_a_script_are_captured(exported: Export, tmp_path: Path) -> None:
    saved(tmp_path, scripted.Norm())
    first = exported(entry("scripted.pt"))
    state = saved(tmp_path, scripted.Norm())
    second = verified(exported(entry("scripted.pt"), first.base()))
    assert torch.equal(second.program().state_dict["lin.weight"], state["lin.weight"])
    assert second.output["program"] == first.output["program"]


@pytest.mark.parametrize(
    ("name", "more", "message", "remedy"),
    [
        ("Hidden", "", "Hidden gives other outputs when it is called again", "keep state in buffers"),
        ("Objects", "", r"prim::CreateObject \(scripted.py, line \d+\) can't be captured", "build the nn.Module"),
        ("NoTensor", "", "a branch on the values of a tensor that gives no tensor", "build the nn.Module itself"),
        ("Norm", "export = { strict = true }", "strict capture takes no TorchScript", "leave strict out"),
    ],
)
def test_what_can_not_be_captured_is_refused_with_its_place(
    exported: Export, name: str, more: str, message: str, remedy: str
) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(entry("support.scripted:script", f'args = ["{name}"]\n{more}'))
    assert failure.value.kind is Kind.EXPORT
    assert remedy in str(failure.value.remedy)


@pytest.mark.parametrize(
    ("content", "more", "message", "remedy"),
    [
        (None, "", "loading a.pt: ValueError", None),
        ("state", "", "a.pt holds no TorchScript", "a state_dict goes into weights"),
        ("text", "", "a.pt holds no TorchScript", "a state_dict goes into weights"),
        ("state", "kwargs = { n = 1 }", "a.pt is a model, which args and kwargs can't change", "leave them out"),
    ],
)
def test_files_that_are_no_scripts_are_refused(
    exported: Export, tmp_path: Path, content: str | None, more: str, message: str, remedy: str | None
) -> None:
    if content == "state":
        torch.save(scripted.Norm().state_dict(), tmp_path / "a.pt")
    elif content == "text":
        (tmp_path / "a.pt").write_text("nothing")
    with pytest.raises(StageFailure, match=message) as failure:
        exported(entry("a.pt", more))
    assert failure.value.kind is Kind.BUILD
    assert remedy is None or remedy in str(failure.value.remedy)
