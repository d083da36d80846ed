"""The sizes that torch keeps of auto dims become points to call at, and notes where they are fewer than asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchexport.core.dims import Dim
from batchexport.pipeline.auto_dims import KeptDims, kept_dims

A = Dim(name="a", min=2, max=64, example=8, auto=True)
FREE = Dim(name="f", example=3, auto=True)
B = Dim(name="b", min=1, max=4, example=2)


def kept(*dims: Dim, holds: Callable[..., bool] = lambda **_: True, **words: Any) -> KeptDims:
    return kept_dims(dims, words.get("spans", {}), words.get("fixed", {}), lambda point: holds(**point))


def test_all_that_is_asked_for_is_called_without_a_note() -> None:
    found = kept(A)
    assert found == KeptDims(points=[{"a": 8}, {"a": 2}, {"a": 64}], bounded=("a",))
    assert kept(FREE) == KeptDims(points=[{"f": 3}, {"f": 4}])


def test_ordinary_dims_keep_their_corners_beside_auto_ones() -> None:
    points = [(point["b"], point["f"]) for point in kept(B, FREE).points]
    assert points == [(2, 3), (1, 3), (4, 3), (2, 4), (4, 4)]


def test_a_fixed_dim_stays_at_its_example() -> None:
    assert kept(A, fixed={"a": 8}) == KeptDims(points=[{"a": 8}])


@pytest.mark.parametrize(
    ("dim", "span", "sizes", "told", "bounded"),
    [
        (A, (2, 100), [8, 2, 64], None, ["a"]),
        (A, (4, 32), [8, 4, 32], "4 to 32", []),
        (FREE, (2, None), [3, 4], None, []),
        (FREE, (2, 40), [3, 40], "3 to 40", []),
        (FREE, (3, None), [3, 4], None, []),
    ],
)
def test_what_torch_says_of_a_range_is_taken(
    dim: Dim, span: tuple[int, int | None], sizes: list[int], told: str | None, bounded: list[str]
) -> None:
    found = kept(dim, spans={dim.name: span})
    assert [point[dim.name] for point in found.points] == sizes
    assert list(found.bounded) == bounded
    lines = [] if told is None else [f"torch keeps the dim {dim.name} at {told}, and the artifacts hold for that only"]
    assert list(found.notes) == lines


def test_steps_that_only_the_program_tells_are_found() -> None:
    found = kept(A, holds=lambda a: a % 4 == 0)
    assert [point["a"] for point in found.points] == [8, 4, 64]
    assert (found.bounded, len(found.notes)) == ((), 1)
    assert [point["f"] for point in kept(FREE, holds=lambda f: f % 3 == 0).points] == [3, 6]


def test_a_size_that_can_not_move_is_called_alone() -> None:
    found = kept(A, holds=lambda a: a == 8)
    assert found.points == [{"a": 8}]
    assert found.notes == ("torch keeps the dim a at 8, and the artifacts hold for that only",)


def test_a_dim_that_follows_another_one_is_moved_with_it() -> None:
    other = Dim(name="c", example=16, auto=True)
    found = kept(A, other, holds=lambda a, c: c == 2 * a)
    assert found.points == [{"a": 8, "c": 16}, {"a": 2, "c": 4}, {"a": 64, "c": 128}]
    assert found.notes == ("torch keeps the dim c at 2*a, and the artifacts hold for that only",)


def test_what_another_export_needs_survives_json() -> None:
    assert KeptDims(**kept(A).to_json()).to_json() == kept(A).to_json() == {"points": kept(A).points, "bounded": ["a"]}
