"""Sizes in which the example calls differ are dynamic, and every artifact is called at each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported

pytestmark = pytest.mark.torch

X = "x = { shape = [4, 3] }"


def entry(model: str, inputs: str, additional: str, more: str = "") -> str:
    return f'model = "support.given:{model}"\ninputs = {inputs}\nadditional_inputs = {additional}\n{more}\n'


def takes(made: Exported, **inputs: object) -> bool:
    """Whether the archive, loaded by plain torch, takes these inputs."""
    try:
        made.program().module()(**inputs)
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def shapes(made: Exported, name: str = "x") -> list[tuple[int, ...]]:
    return [tuple(call["inputs"][name].shape) for call in made.reference()["calls"]]


@pytest.mark.parametrize("strict", ["", "export.strict = true"])
def test_a_size_that_differs_is_dynamic_and_one_that_does_not_is_fixed(exported: Export, strict: str) -> None:
    made = exported(entry("Twice", f"{{ {X} }}", "[ { x = { shape = [6, 3] } }, { x = { shape = [1, 3] } } ]", strict))
    assert [takes(made, x=torch.ones(rows, 3)) for rows in (1, 5, 4000)] == [True, True, True]
    assert not takes(made, x=torch.ones(4, 4))
    assert shapes(made) == [(4, 3), (6, 3), (1, 3)]
    evidence = made.verify()
    assert [one["point"] for one in evidence["samples"]] == [{}, {"additional_inputs": 0}, {"additional_inputs": 1}]


def test_inputs_by_position_and_in_another_order_of_names_are_the_same_inputs(exported: Export) -> None:
    made = exported(entry("Add", f"{{ {X}, y = {{ shape = [2, 3] }} }}", f"[ {{ y = {{ shape = [5, 3] }}, {X} }} ]"))
    assert [takes(made, x=torch.ones(rows, 3), y=torch.ones(7, 3)) for rows in (4, 5)] == [True, False]
    made.verify()
    inputs, more = "[ { shape = [4, 3] }, { shape = [2, 3] } ]", "[ [ { shape = [4, 3] }, { shape = [5, 3] } ] ]"
    made = exported(entry("Add", inputs, more))
    assert made.reference()["calls"][1]["args"][1].shape == (5, 3)
    made.verify()


def test_dims_stand_beside_sizes_that_differ(exported: Export) -> None:
    more = "dims = { b = { min = 2, max = 8, example = 4 } }"
    additional = '[ { x = { shape = ["b", 5] } }, { x = { shape = [7, 6] } } ]'
    made = exported(entry("Twice", '{ x = { shape = ["b", 3] } }', additional, more))
    assert shapes(made) == [(4, 3), (2, 3), (8, 3), (4, 5), (7, 6)]
    assert [takes(made, x=torch.ones(*size)) for size in ((8, 9), (9, 9))] == [True, False]
    assert made.verify()["refused"]["point"] == {"b": 9}


def test_a_number_that_differs_is_dynamic(exported: Export) -> None:
    made = exported(entry("Power", "{ x = { shape = [3] }, n = 2 }", "[ { x = { shape = [3] }, n = 5 } ]"))
    assert torch.equal(made.program().module()(x=torch.ones(3), n=9), torch.full((3,), 9.0))
    made.verify()


def test_factories_and_files_may_be_further_calls(exported: Export, tmp_path: Path) -> None:
    save_file({"x": torch.ones(9, 3)}, tmp_path / "more.safetensors")
    made = exported(entry("Twice", '"support.given:random"', '[ "more.safetensors" ]'))
    assert shapes(made) == [(4, 3), (9, 3)]
    assert takes(made, x=torch.ones(6, 3))
    made.verify()
    with_dims = 'shapes = { x = ["b", 3] }\ndims = { b = { max = 9 } }'
    made = exported(entry("Twice", '"support.given:random"', '[ "more.safetensors" ]', with_dims))
    assert shapes(made) == [(4, 3), (1, 3), (9, 3), (9, 3)]
    assert made.verify()["refused"]["point"] == {"b": 10}


def test_the_same_inputs_again_make_nothing_dynamic(exported: Export) -> None:
    made = exported(entry("Twice", f"{{ {X} }}", f"[ {{ {X} }} ]"))
    assert not takes(made, x=torch.ones(5, 3))
    one, other = (call["inputs"]["x"] for call in made.reference()["calls"])
    assert not torch.equal(one, other), "a further call has other values"


@pytest.mark.parametrize(
    ("text", "kind", "message", "remedy"),
    [
        (
            entry("Twice", "{ x = { shape = [1, 3] } }", f"[ {{ {X} }} ]"),
            Kind.SHAPES,
            "x.shape[0] is 1 in inputs, and torch would fix it though it differs in additional_inputs",
            "let it be 2 or more in inputs; 1 may stand in a further call",
        ),
        (
            entry("Twice", '"support.given:random"', '[ "support.given:number" ]'),
            Kind.INPUTS,
            "additional_inputs[0] does not hold the same inputs as inputs, in the same order",
            "give every call the same inputs",
        ),
        (
            entry("Twice", '"support.given:random"', '[ "support.given:scalar" ]'),
            Kind.INPUTS,
            "x in additional_inputs[0] is 0-dimensional float32, and 2-dimensional float32 in inputs",
            "only sizes and whole numbers may differ between calls",
        ),
        (
            entry("Flat16", "{ x = { shape = [16, 3] } }", "[ { x = { shape = [16, 6] } } ]"),
            Kind.SHAPES,
            "the model fixes x.shape[1] at 3, and the manifest lets it vary",
            "give x.shape[1] the same size in inputs and additional_inputs",
        ),
        (
            entry("UpTo100", "{ x = { shape = [16, 3] } }", "[ { x = { shape = [101, 3] } } ]"),
            Kind.SHAPES,
            "the exported program refuses additional_inputs[0], which the manifest allows",
            "leave additional_inputs[0] out",
        ),
        (
            entry("SameSizes", f"{{ {X}, y = {{ shape = [4, 3] }} }}",
                  "[ { x = { shape = [5, 3] }, y = { shape = [6, 3] } } ]"),
            Kind.SHAPES,
            "running the model in eager mode at additional_inputs[0]",
            None,
        ),
    ],
    ids=["a size of 1", "other inputs", "another tensor", "a fixed size", "a branch", "eager"],
)  # fmt: skip
def test_what_can_not_be_combined_is_told(
    exported: Export, text: str, kind: Kind, message: str, remedy: str | None
) -> None:
    with pytest.raises(StageFailure) as failure:
        exported(text)
    assert (failure.value.kind, failure.value.remedy) == (kind, remedy), failure.value.message
    assert failure.value.message.partition(": ")[0] == message
