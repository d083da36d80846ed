"""The fuzzer's judge tells outputs apart that a caller can tell apart, and finds a wrong artifact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fuzz.artifact import compare
from fuzz.likeness import Tolerance, difference
from fuzz.oracle import Call, points

pytestmark = pytest.mark.torch
ONES = torch.ones(2)
CARD = {"loose": False, "dtype": "keep", "seeded": False, "positional": []}
NEAR = Tolerance(rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (ONES, ONES * 1.01),
        (ONES, ONES.double()),
        (ONES, torch.ones(1, 2)),
        (torch.tensor(3), 3),
        (3, True),
        (1, 1.0),
        ((ONES, None), (ONES, ONES)),
        ([ONES], (ONES,)),
        ({"a": ONES, "b": ONES}, {"b": ONES, "a": ONES}),
        (ONES.long(), ONES.long() + 1),
        (torch.tensor(float("nan")), torch.tensor(0.0)),
    ],
)
def test_outputs_that_differ(got: Any, want: Any) -> None:
    assert difference(got, want, NEAR)
    assert difference(want, want, NEAR) is None


def test_rounding_is_no_difference() -> None:
    assert difference(ONES, ONES + 1e-6, NEAR) is None


def _counting() -> Callable[..., Any]:
    """A model that adds how often it was called before."""
    seen: list[int] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        return x + len(seen)

    return run


def _made(run: Callable[..., Any]) -> list[Call]:
    xs = [torch.full((2,), float(number)) for number in range(5)]
    return [Call(point={}, seed=1, inputs={"x": x}, outputs=run(x=x), after={"x": x}, free=False) for x in xs]


def test_an_artifact_that_forgets_its_state_differs_in_the_second_call() -> None:
    reference = _made(_counting())
    assert compare(_counting(), reference, CARD, compiled=False) is None
    found = compare(lambda x: x + 1, reference, CARD, compiled=False)
    assert found is not None and found.startswith("call 2 ")


def test_an_artifact_that_changes_its_input_differs() -> None:
    found = compare(lambda x: x.add_(1), _made(lambda x: x + 1), CARD, compiled=True)
    assert found is not None and "inputs['x']" in found


def test_calls_are_made_at_other_sizes_than_the_example_and_at_both_ends() -> None:
    dim = {"min": 1, "max": 8, "example": 3, "auto": False}
    sizes = [point["b"] for point in points({"seed": 1, "dims": {"b": dim}})]
    assert {1, 8} <= set(sizes) and 3 not in sizes
