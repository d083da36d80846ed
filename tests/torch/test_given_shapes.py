"""Inputs from a factory or a file have the dims of [entry.shapes], and are made in the sizes that verify needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported
from support.given import State
from support.pasting import pasted

pytestmark = pytest.mark.torch

RANGE = "b = { min = 2, max = 8 }"


def entry(model: str, inputs: str, shapes: str, dims: str = RANGE, more: str = "") -> str:
    source = inputs if "." in inputs else f"support.given:{inputs}"
    lines = f'model = "support.given:{model}"\ninputs = "{source}"\n{more}\n'
    return f"{lines}[entry.shapes]\n{shapes}\n[entry.dims]\n{dims}\n"


def takes(made: Exported, *args: object, **kwargs: object) -> bool:
    """Whether the archive, loaded by plain torch, takes these inputs."""
    try:
        made.program().module()(*args, **kwargs)
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def rows(made: Exported, name: str = "x") -> list[int]:
    return [call["inputs"][name].shape[0] for call in made.reference()["calls"]]


def refused(exported: Export, text: str) -> tuple[Kind, str, str | None]:
    with pytest.raises(StageFailure) as failure:
        exported(text)
    return failure.value.kind, failure.value.message, failure.value.remedy


def test_a_factory_may_draw_random_numbers(exported: Export) -> None:
    made, again = (exported('model = "support.given:Twice"\ninputs = "support.given:random"') for _ in range(2))
    made.verify()
    one, other = (one.reference()["calls"] for one in (made, again))
    assert torch.equal(one[0]["inputs"]["x"], other[0]["inputs"]["x"])
    assert not torch.equal(one[0]["inputs"]["x"], one[1]["inputs"]["x"]), "another call has other inputs"


def test_the_inputs_of_a_factory_are_cut_off_and_repeated_to_the_ends_of_a_range(exported: Export) -> None:
    made = exported(entry("Twice", "random", 'x = ["b", 3]'))
    assert made.points() == [{"b": 4}, {"b": 2}, {"b": 8}], "the example is what the factory gives"
    example, low, high = (call["inputs"]["x"] for call in made.reference()["calls"])
    assert torch.equal(low, example[:2])
    assert torch.equal(high, torch.cat([example, example]))
    assert made.verify()["refused"]["point"] == {"b": 9}
    assert [takes(made, x=torch.ones(size, 3)) for size in (2, 5, 8, 9)] == [True, True, True, False]


def test_a_factory_that_takes_dims_is_called_with_them(exported: Export) -> None:
    made = exported(entry("Twice", "sized", 'x = ["rows", "columns"]', "rows = { min = 2, max = 6 }\ncolumns = 5"))
    assert [tuple(call["inputs"]["x"].shape) for call in made.reference()["calls"]] == [(2, 5), (6, 5)]
    assert [float(call["inputs"]["x"][0, 0]) for call in made.reference()["calls"]] == [2.0, 6.0]
    assert takes(made, x=torch.ones(4, 5))
    assert not takes(made, x=torch.ones(4, 3))
    made.verify()


def test_what_a_factory_does_not_take_is_cut_off_and_repeated(exported: Export) -> None:
    made = exported(entry("Twice", "limited", 'x = ["rows", "c"]', "rows = { max = 6 }\nc = { min = 2, max = 4 }"))
    assert {tuple(call["inputs"]["x"].shape) for call in made.reference()["calls"]} >= {(1, 2), (6, 4), (2, 3)}
    assert made.verify()["refused"]["point"] == {"rows": 7, "c": 3}, "though the factory would not make that"


def test_a_file_has_dims(exported: Export, tmp_path: Path) -> None:
    save_file({"x": torch.arange(12.0).reshape(4, 3)}, tmp_path / "in.safetensors")
    torch.save({"x": torch.arange(12.0).reshape(4, 3)}, tmp_path / "in.pt")
    for name in ("in.safetensors", "in.pt"):
        made = exported(entry("Twice", name, 'x = ["b", 3]'))
        assert rows(made) == [4, 2, 8]
        assert takes(made, x=torch.ones(7, 3))
        assert made.verify()["refused"]["point"] == {"b": 9}


def test_paths_lead_into_containers(exported: Export) -> None:
    shapes = """
"state.h" = ["b", 3]
"table.scale" = ["b", "c"]
"table['a b']" = [1]
"xs[0]" = ["2*b - 4", 3]
"""
    made = exported(entry("Holds", "nested", shapes, "b = { min = 3, max = 8 }\nc = 3"))
    assert made.points() == [{"b": 4}, {"b": 3}, {"b": 8}]
    made.verify()

    def works(b: int, others: int) -> bool:
        state, x = State(h=torch.ones(b, 3), steps=2), torch.ones(others, 3)
        return takes(made, state, {"scale": torch.ones(b, 3), "a b": torch.ones(1)}, x, torch.ones(3))

    assert [works(5, 6), works(5, 5), works(9, 14)] == [True, False, False]


def test_a_list_of_inputs_has_the_names_of_the_parameters(exported: Export) -> None:
    made = exported(entry("Add", "as_list", 'x = ["b", 3]\ny = ["c", 3]', RANGE + "\nc = { max = 3, example = 2 }"))
    assert made.points()[0] == {"b": 4, "c": 2}, "inputs are made in the size of an example that is given"
    assert takes(made, torch.ones(7, 3), torch.ones(1, 3))
    made.verify()


def test_a_number_of_a_factory_varies(exported: Export) -> None:
    made = exported(entry("Power", "number", 'n = "n"', "n = { min = 2, max = 9 }"))
    assert [call["inputs"]["n"] for call in made.reference()["calls"]] == [5, 2, 9]
    assert torch.equal(made.program().module()(x=torch.ones(3), n=7), torch.full((3,), 7.0))
    made.verify()


def test_a_fixed_dim_is_the_size_that_inputs_are_made_in(exported: Export) -> None:
    made = exported(entry("Twice", "random", 'x = ["d", 3]', 'b = 3\nd = "2*b"'))
    assert rows(made) == [6, 6]
    assert not takes(made, x=torch.ones(4, 3))
    made.verify()


def test_a_size_that_torch_would_fix_is_not_the_example(exported: Export) -> None:
    made = exported(entry("Twice", "one_row", 'x = ["b", 3]', "b = { max = 8 }"))
    assert made.points() == [{"b": 2}, {"b": 1}, {"b": 8}]
    made.verify()


def test_dims_without_a_range_have_different_sizes(exported: Export) -> None:
    made = exported(entry("Add", "two", 'x = ["b", 3]\ny = ["c", 3]', ""))
    assert made.points()[0] == {"b": 4, "c": 5}
    assert takes(made, x=torch.ones(4, 3), y=torch.ones(9, 3))


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        pytest.param(
            entry("Add", "two", 'x = ["b", 3]\nyy = ["b", 3]'),
            "[entry.shapes] lists yy, which is not in the inputs",
            "did you mean 'y'?",
            id="a misspelt input",
        ),
        pytest.param(
            entry("Add", "two", 'batch = ["b", 3]'),
            "[entry.shapes] lists batch, which is not in the inputs",
            "the inputs are x, y",
            id="an input that is none",
        ),
        pytest.param(
            entry("Holds", "nested", '"state.hh" = ["b", 3]'),
            "[entry.shapes] lists state.hh, which is not in the inputs",
            "did you mean 'state.h'?",
            id="a misspelt field",
        ),
        pytest.param(
            entry("Holds", "nested", 'state = ["b", 3]'),
            "[entry.shapes] lists state, which holds other inputs",
            "write state.h or state.steps",
            id="a container",
        ),
        pytest.param(
            entry("Holds", "nested", '"xs[2]" = ["b", 3]'),
            "[entry.shapes] lists xs[2], which is not in the inputs",
            "did you mean 'xs[1]'?",
            id="an item that is not there",
        ),
        pytest.param(
            entry("Twice", "random", 'x = ["b", 3, 4]'),
            "x has 2 sizes (4, 3), and [entry.shapes] lists 3",
            "write one size for each, as in x = [4, 3]",
            id="a dim index out of range",
        ),
        pytest.param(
            entry("Twice", "scalar", 'x = ["b"]'),
            "x is a single number, without sizes, and [entry.shapes] lists 1",
            "leave x out",
            id="a tensor without sizes",
        ),
        pytest.param(
            entry("Power", "number", 'n = ["b"]'),
            "n is a whole number, and [entry.shapes] has a list of sizes for it",
            'write the name of a dim: n = "n"',
            id="a list for a number",
        ),
        pytest.param(
            entry("Power", "number", 'x = "b"'),
            "x is a tensor, and [entry.shapes] has the dim of a number for it",
            "write x = [3]",
            id="a dim for a tensor",
        ),
        pytest.param(
            entry("Add", "different", 'x = ["b", 3]\ny = ["b", 3]'),
            "x.shape[0] is 4 and y.shape[0] is 5, and both depend on b",
            "give inputs whose sizes fit each other, or name two dims",
            id="two sizes of one dim",
        ),
        pytest.param(
            entry("Twice", "random", 'x = ["b", 4]'),
            "x.shape[1] is 3, and [entry.shapes] lists 4",
            "write 3, or the name of a dim",
            id="another number",
        ),
        pytest.param(
            entry("Twice", "random", 'x = ["b", "2*b"]'),
            'x.shape[1] is 3, and [entry.shapes] has "2*b" there',
            "write the sizes as they depend on one another",
            id="no derived size",
        ),
        pytest.param(
            entry("Twice", "random", 'x = ["b", 3]', "b = { min = 5, max = 8 }"),
            "x.shape[0] is 4, and b is 5 to 8",
            "let the range hold 4, or give b an example: the inputs are then made in that size",
            id="a size outside of the range",
        ),
        pytest.param(
            entry("Twice", "random", 'x = ["b", 3]', "b = { min = 3, multiple_of = 3 }"),
            "x.shape[0] is 4, and b is 3 or more in steps of 3",
            "let the range hold 4, or give b an example: the inputs are then made in that size",
            id="a size between the steps",
        ),
        pytest.param(
            entry("Twice", "of_another_size", 'x = ["rows", 3]', "rows = { max = 8 }"),
            'x.shape[0] is 3, and [entry.shapes] has "rows" there, 2 where rows is 2',
            "make it of the size that the factory is given as rows",
            id="a factory that does something else with a dim",
        ),
    ],
)
def test_shapes_that_do_not_fit_the_inputs_are_told(exported: Export, text: str, message: str, remedy: str) -> None:
    assert refused(exported, text) == (Kind.SHAPES, message, remedy)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (
            entry("Twice", "needs_more", 'x = ["rows", 3]', "rows = { max = 8 }"),
            "support.given:needs_more takes row, which is no dim in [entry.shapes]",
            "did you mean 'rows'?",
        ),
        (
            entry("Twice", "limited", 'x = ["rows", 3]', "rows = { max = 8 }"),
            "calling support.given:limited(rows=8): ValueError: no more than six rows",
            None,
        ),
    ],
)
def test_what_a_factory_can_not_make_is_told(exported: Export, text: str, message: str, remedy: str | None) -> None:
    assert refused(exported, text) == (Kind.INPUTS, message, remedy)


EQUAL = (
    'write "b" in place of "c" in y of [entry.shapes], and write `b = { min = 2, max = 6, example = 4 }` '
    "in [entry.dims], and leave `c` out of [entry.dims]"
)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            entry("InGroups", "random", 'x = ["b", 3]', "b = { max = 64, example = 8 }"),
            "write `b = { min = 8, max = 64, example = 8, multiple_of = 4 }` in [entry.dims]",
        ),
        (
            entry("SameSizes", "two", 'x = ["b", 3]\ny = ["c", 3]', f"{RANGE}\nc = {{ min = 2, max = 6 }}"),
            EQUAL,
        ),
        (
            entry("InGroups", "random", 'x = ["b", 3]', "b = { max = 7 }"),
            "write `b = 4` in [entry.dims]",
        ),
    ],
)
def test_a_remedy_names_the_table_and_makes_the_next_export_pass(exported: Export, text: str, remedy: str) -> None:
    assert refused(exported, text)[::2] == (Kind.SHAPES, remedy)
    exported(pasted(text, remedy)).verify()
