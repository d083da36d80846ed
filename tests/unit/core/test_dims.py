"""Sizes are parsed, never evaluated; dims hold together; corners cover a shape-spec."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchexport.core.dims import Dim, corners, make_dim
from batchexport.core.sizes import Affine, ShapeError, Size, evaluate, parse_size, to_sympy


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7", 7),
        ("seq", Affine(name="seq")),
        (" seq ", Affine(name="seq")),
        ("2*seq + 1", Affine(coefficient=2, name="seq", offset=1)),
        ("seq*2+1", Affine(coefficient=2, name="seq", offset=1)),
        ("1 + seq + seq", Affine(coefficient=2, name="seq", offset=1)),
        ("2*(seq + 1) - 1", Affine(coefficient=2, name="seq", offset=1)),
        ("-(3 - seq)", Affine(name="seq", offset=-3)),
        ("2*3*(4 - 1)", 18),
        ("seq - seq + 3", 3),
        ("batch + seq - batch", Affine(name="seq")),
        ("((((seq))))", Affine(name="seq")),
        ("+seq", Affine(name="seq")),
        ("0*seq + 5", 5),
        ("_s1", Affine(name="_s1")),
    ],
)
def test_a_size_is_reduced_to_lowest_terms(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["seq", "2*seq", "seq+1", "2*seq-1", "12"])
def test_the_canonical_text_reads_back_as_itself(text: str) -> None:
    assert str(parse_size(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "seq**2",
        "seq^2",
        "seq*seq",
        "batch*seq",
        "batch + seq",
        "seq/2",
        "seq//2",
        "seq % 2",
        "-seq",
        "3 - seq",
        "1.5",
        "seq.real",
        "(seq",
        "seq)",
        "()",
        "seq +",
        "2 seq",
        "2seq",
        "seq(2)",
        "__import__('os').system('true')",
        "lambda",
        "sëq",
        "1_000",
        "1e3",
        "9" * 5000,
        "9" * 19,
        "999999999999999999*999999999999999999*seq",
        "(" * 5000 + "seq" + ")" * 5000,
        "-" * 99 + "1",
        "\x1b[31m",
        "seq;1",
        "3 - 4",
    ],
)
def test_anything_else_than_a_size_is_refused(text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_size(text)
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_a_size_is_evaluated_for_the_value_of_its_dim() -> None:
    assert evaluate(parse_size("2*seq + 1"), {"seq": 8}) == 17
    assert evaluate(12, {}) == 12


def test_a_size_becomes_a_sympy_expression_of_objects() -> None:
    sympy = pytest.importorskip("sympy")
    seq = sympy.Symbol("seq", integer=True)
    assert to_sympy(parse_size("2*seq + 1")) == 2 * seq + 1
    assert to_sympy(parse_size("S")) == sympy.Symbol("S", integer=True)
    assert to_sympy(12) == sympy.Integer(12)


def test_neither_sympy_nor_torch_is_imported_to_read_a_manifest() -> None:
    code = "import sys, batchexport.manifest.resolve; print({'sympy', 'torch', 'numpy', 'difflib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_dim_has_defaults() -> None:
    assert make_dim("batch", {}) == Dim(name="batch", min=1, max=None, example=2, multiple_of=1)


@pytest.mark.parametrize(
    ("bounds", "example"),
    [
        ({"min": 8, "max": 512, "multiple_of": 8}, 16),
        ({"min": 9, "max": 512, "multiple_of": 8}, 16),
        ({"max": 64}, 2),
        ({"min": 5}, 5),
        ({"multiple_of": 3}, 6),
        ({"min": 30, "multiple_of": 8}, 32),
        ({"min": 0, "max": 4}, 2),
        ({"example": 7}, 7),
    ],
)
def test_the_example_is_the_smallest_that_stays_dynamic_unless_given(bounds: dict[str, int], example: int) -> None:
    dim = make_dim("seq", bounds)
    assert isinstance(dim, Dim)
    assert dim.example == example


def test_a_dim_with_one_allowed_size_is_that_size() -> None:
    assert make_dim("batch", {"min": 4, "max": 4}) == 4
    assert make_dim("seq", {"min": 9, "max": 23, "multiple_of": 8}) == 16


@pytest.mark.parametrize(
    ("bounds", "key"),
    [
        ({"min": 8, "max": 4}, "max"),
        ({"min": 9, "max": 15, "multiple_of": 8}, "max"),
        ({"min": 2, "max": 8, "example": 9}, "example"),
        ({"min": 2, "max": 8, "example": 1}, "example"),
        ({"example": 12, "multiple_of": 8}, "example"),
        ({"max": 8, "example": 1}, "example"),
        ({"min": 4, "max": 4, "example": 5}, "example"),
        ({"min": 0, "max": 1}, "max"),
        ({"min": 8, "max": 64, "example": 8, "multiple_of": 8}, "example"),
        ({"min": 0, "max": 8, "multiple_of": 8}, "max"),
    ],
)
def test_bounds_that_clash_are_refused_with_the_key_to_change(bounds: dict[str, int], key: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make_dim("seq", bounds)
    assert caught.value.key == key
    assert caught.value.hint


@pytest.mark.parametrize("step", [1, 2, 3, 8])
@pytest.mark.parametrize("low", range(10))
def test_the_example_that_a_refusal_proposes_is_accepted(low: int, step: int) -> None:
    bounds = {"min": low, "max": 33, "multiple_of": step}
    for example in {*range(40)} - {*range(max(low, 2), 34)} | {7, 13}:
        if example % step == 0 and max(low, 2) <= example <= 33:
            continue
        with pytest.raises(ShapeError) as caught:
            make_dim("seq", bounds | {"example": example})
        proposed = (caught.value.hint or "").split()[1]
        assert isinstance(make_dim("seq", bounds | {"example": int(proposed)}), Dim)


def test_a_dim_survives_json() -> None:
    dim = Dim(name="seq", min=8, max=None, example=16, multiple_of=8)
    assert Dim(name="seq", **dim.to_json()) == dim


def test_corners_are_the_example_each_end_and_all_ends() -> None:
    batch = Dim(name="batch", min=1, max=64, example=2)
    seq = Dim(name="seq", min=5, max=515, example=16, multiple_of=8)
    assert corners((batch, seq)) == (
        {"batch": 2, "seq": 16},
        {"batch": 1, "seq": 16},
        {"batch": 64, "seq": 16},
        {"batch": 2, "seq": 8},
        {"batch": 2, "seq": 512},
        {"batch": 1, "seq": 8},
        {"batch": 64, "seq": 512},
    )


def test_corners_are_told_once() -> None:
    assert corners((Dim(name="batch", min=2, max=4, example=2),)) == ({"batch": 2}, {"batch": 4})
    assert corners(()) == ({},)


def test_a_range_without_an_end_has_its_example_for_one() -> None:
    endless = Dim(name="seq", min=4, max=None, example=8)
    auto = Dim(name="rows", example=3, auto=True)
    assert corners((endless, auto)) == ({"seq": 8, "rows": 3}, {"seq": 4, "rows": 3})
