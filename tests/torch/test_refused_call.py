"""A model that refuses its example is told with its inputs, and with what to write for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from batchexport.core.dims import make_dim
from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.refused_call import described, refused_example

pytestmark = pytest.mark.torch


def dim(name: str, **bounds: int) -> dict[str, Any]:
    made = make_dim(name, bounds)
    assert not isinstance(made, int)
    return made.to_json()


def refusal(model: nn.Module, *inputs: torch.Tensor) -> StageFailure:
    """The failure of a model of static shapes."""
    spec: dict[str, Any] = {"dims": {}, "inputs": {}, "shapes": {}, "additional_inputs": [], "derived": {}}
    try:
        model(*inputs)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return refused_example(
            error, "running", model=model, call=(inputs, {}), point={}, spec=spec, holds=lambda point: False
        )
    raise AssertionError("the model took its inputs")


@pytest.mark.parametrize(
    ("model", "given", "remedy"),
    [
        (
            nn.Embedding(10, 2),
            torch.zeros(3),
            'write dtype = "int64" and range = [0, 10] for the input that holds indices (input)',
        ),
        (
            nn.Sequential(nn.Embedding(10, 2)),
            torch.tensor([12]),
            "write range = [0, 10] for the input that holds indices (input)",
        ),
        (nn.Linear(4, 2), torch.zeros(3, 5), "write 4 in place of 5 as the last size of input"),
        (nn.Conv2d(3, 2, 1), torch.zeros(1, 5, 4, 4), "write 3 in place of 5 as the second size of input"),
        (nn.Linear(4, 2), torch.zeros(3, 4).double(), 'write dtype = "float32" for input, as the weights have it'),
        (nn.Linear(4, 2), torch.zeros(3, 4).long(), 'write dtype = "float32" for input, as the weights have it'),
        (
            nn.Conv2d(3, 2, 1),
            torch.zeros(1, 3, 4, 4).double(),
            'write dtype = "float32" for input, as the weights have it',
        ),
    ],
)
def test_inputs_that_do_not_fit_a_layer_are_told_with_what_to_write(
    model: nn.Module, given: torch.Tensor, remedy: str
) -> None:
    failure = refusal(model, given)
    assert (failure.kind, failure.remedy) == (Kind.BUILD, remedy)
    assert failure.message.endswith(f"; called with {described({'input': given})}")


def test_inputs_are_described_by_dtype_and_sizes() -> None:
    given = {"x": torch.zeros(3, 5), "mask": torch.zeros(2, dtype=torch.bool)}
    assert described(given) == "x: float32 [3, 5], mask: bool [2]"
    assert described({f"x{at}": torch.zeros(1) for at in range(8)}).endswith(", x5: float32 [1] and 2 more")


@pytest.mark.parametrize(
    ("point", "works", "remedy"),
    [
        (
            {"batch": 3},
            lambda point: point["batch"] % 2 == 0,
            "write `batch = { min = 2, max = 16, example = 4, multiple_of = 2 }` in [entry.dims]",
        ),
        (
            {"batch": 9},
            lambda point: point["batch"] <= 8,
            "write `batch = { min = 1, max = 8, example = 2 }` in [entry.dims]",
        ),
        ({"batch": 3}, lambda point: False, None),
    ],
)
def test_other_sizes_are_tried_where_the_example_is_refused(
    point: dict[str, int], works: Any, remedy: str | None
) -> None:
    dims = {"batch": dim("batch", min=1, max=16, example=point["batch"])}
    spec = {"dims": dims, "inputs": {}, "shapes": {}, "additional_inputs": [], "derived": {}}
    failure = refused_example(
        RuntimeError("no"), "running", model=nn.Identity(), call=((), {}), point=point, spec=spec, holds=works
    )
    assert failure.remedy == remedy
    assert failure.kind == (Kind.SHAPES if remedy else Kind.BUILD)


def test_dims_that_move_together_are_found_though_the_example_breaks_them() -> None:
    dims = {name: dim(name, min=1, max=16, example=at) for name, at in (("batch", 3), ("seq", 5))}
    inputs = {"y": {"tensor": {"shape": ["seq", 4], "dtype": "float32", "value": None, "range": None}}}
    spec = {"dims": dims, "inputs": inputs, "shapes": {}, "additional_inputs": [], "derived": {}}
    failure = refused_example(
        RuntimeError("no"),
        "running",
        model=nn.Identity(),
        call=((), {}),
        point={"batch": 3, "seq": 5},
        spec=spec,
        holds=lambda point: point["batch"] == point["seq"],
    )
    assert failure.remedy == 'write "batch" in place of "seq" in y, and leave `seq` out of [entry.dims]'
