"""Dims whose range is left to torch are verified at all that torch keeps of them, and the report tells what it is."""

from __future__ import annotations

import pytest
import torch

from support.exporting import Export, Exported

pytestmark = pytest.mark.torch

AUTO = "b = { auto = true, min = 2, max = 512, example = 16 }"


def entry(model: str, dims: str, inputs: str = 'x = { shape = ["b", 3] }') -> str:
    return f'model = "support.given:{model}"\n[entry.inputs]\n{inputs}\n[entry.dims]\n{dims}\n'


def takes(made: Exported, *sizes: int) -> list[bool]:
    """Whether the archive, loaded by plain torch, takes so many rows."""
    run = made.program().module()
    found = []
    for size in sizes:
        try:
            run(x=torch.ones(size, 3))
        except (RuntimeError, AssertionError, ValueError):
            found.append(False)
        else:
            found.append(True)
    return found


def points(made: Exported) -> list[int]:
    """The sizes of `b` in the calls that verify makes, after verification has passed."""
    evidence = made.verify()
    assert [sample["point"] for sample in evidence["samples"]] == made.points()
    return [point["b"] for point in made.points()]


def test_an_auto_dim_with_bounds_is_verified_at_both_ends_and_refused_beyond(exported: Export) -> None:
    made = exported(entry("Twice", AUTO))
    assert points(made) == [16, 2, 512]
    assert takes(made, 2, 100, 512, 513) == [True, True, True, False]
    assert made.verify()["refused"]["point"] == {"b": 513}
    assert made.output["warnings"] == []
    assert next(iter(made.program().range_constraints.values())).upper == 512


def test_an_auto_dim_without_bounds_is_verified_at_another_size_than_the_example(exported: Export) -> None:
    made = exported(entry("Twice", 'b = "auto"'))
    assert points(made) == [2, 3]
    assert made.verify()["refused"] is None
    assert made.output["warnings"] == []


def test_an_auto_dim_may_have_an_example_alone(exported: Export) -> None:
    assert points(exported(entry("Twice", "b = { auto = true, example = 7 }"))) == [7, 8]


@pytest.mark.parametrize(
    ("model", "dims", "sizes", "kept"),
    [
        ("UpTo100", AUTO, [16, 2, 100], "2 to 100"),
        ("UpTo100", "b = { auto = true, example = 8 }", [8, 100], "8 to 100"),
        ("Above4", "b = { auto = true, example = 8 }", [8, 5, 9], "5 and more"),
        ("InGroups", AUTO, [16, 8, 512], "8 to 512 in steps of 4"),
        ("InGroups", "b = { auto = true, example = 8 }", [8, 12], "8 and more in steps of 4"),
    ],
)
def test_what_torch_keeps_of_an_auto_dim_is_told_and_verified(
    exported: Export, model: str, dims: str, sizes: list[int], kept: str
) -> None:
    made = exported(entry(model, dims))
    assert points(made) == sizes
    told = f"torch keeps the dim b at {kept}, and the artifacts hold for that only"
    assert made.output["warnings"] == [told]


def test_an_auto_dim_that_torch_fixes_is_verified_at_its_size(exported: Export) -> None:
    made = exported(entry("Of16Rows", AUTO))
    assert points(made) == [16, 16]
    [line] = made.output["warnings"]
    assert line.startswith("torch has fixed the dim b at 16, and the artifacts hold for that size only")
    assert takes(made, 15, 16) == [False, True]


def test_an_auto_dim_that_follows_another_one_is_told(exported: Export) -> None:
    dims = "b = { auto = true, min = 2, max = 64, example = 8 }\nc = { auto = true, example = 16 }"
    made = exported(entry("Repeats", dims, 'x = { shape = ["b", 3] }\ny = { shape = ["c", 3] }'))
    assert {point["c"] / point["b"] for point in made.points()} == {2}
    assert {2, 64} <= set(points(made))
    assert made.output["warnings"] == ["torch keeps the dim c at 2*b, and the artifacts hold for that only"]


def test_an_auto_dim_beside_another_dim_is_moved_with_it(exported: Export) -> None:
    made = exported(entry("Add", "b = { min = 2, max = 8 }", 'x = { shape = ["b", 3] }\ny = { shape = ["c", 3] }'))
    assert made.points() == [{"b": 2, "c": 3}, {"b": 8, "c": 3}, {"b": 2, "c": 4}, {"b": 8, "c": 4}]
    made.verify()


@pytest.mark.parametrize("model", ["RemembersTheLast", "AssignsABuffer"])
def test_a_model_with_state_is_called_as_it_was_built(exported: Export, model: str) -> None:
    made = exported(
        entry("Twice", 'b = "auto"').replace("support.given:Twice", f"support.stateful:{model}").replace("3]", "4]")
    )
    assert points(made)[:2] == [2, 3]


def test_the_example_alone_is_called_where_that_is_asked_for(exported: Export) -> None:
    made = exported("verify.samples = 'example'\n" + entry("Twice", AUTO))
    assert points(made) == [16]
    assert made.verify()["refused"] is None


def test_a_factory_gives_the_example_of_an_auto_dim(exported: Export) -> None:
    made = exported(
        'model = "support.given:Twice"\ninputs = "support.given:random"\nshapes = { x = ["b", 3] }\n'
        "dims = { b = { auto = true, max = 9 } }"
    )
    assert points(made) == [4, 2, 9]
