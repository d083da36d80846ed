"""torch's texts about violated constraints are solved for the dims of a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from batchexport.core.dims import Dim
from batchexport.core.sizes import Affine
from batchexport.pipeline.confirm import confirmed_changes, remedy_with
from batchexport.pipeline.constraints import Source, in_words_of_the_manifest, solve, telling
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.guards import UnknownGuardError, parse_guard
from batchexport.pipeline.manifest_lines import Changes, Sizes, applied, edits, uses_of, what_to_write

X, Y = "L['x'].size()[0]", "L['y'].size()[0]"
SOURCES = {
    X: Source(label="x.shape[0]", size=Affine(name="n")),
    Y: Source(label="y.shape[0]", size=Affine(name="m")),
}
INPUTS = {
    "x": {"tensor": {"shape": ["n"], "value": None}},
    "y": {"tensor": {"shape": ["m", "2*m+1"]}},
    "flag": {"value": True},
}


def dims(**given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    made = {"n": {"max": 16, "example": 5}, "m": {"max": 16, "example": 7}} | given
    return {name: Dim(name=name, **fields).to_json() for name, fields in made.items()}


SPEC = {
    "dims": dims(),
    "derived": {},
    "shapes": {},
    "fixed": {},
    "measured": (),
    "additional_inputs": (),
    "inputs": INPUTS,
    "seed": 0,
}


def solved(*reasons: str, fixes: str = "", **given: dict[str, Any]) -> Changes:
    lines = "\n".join(f"  - {reason}" for reason in reasons)
    return solve(f"Constraints violated (n)!\n{lines}\nSuggested fixes:\n{fixes}\n\nThe error", dims(**given), SOURCES)


def to_write(sizes: dict[str, Sizes], replaced: dict[str, Affine]) -> str | None:
    return what_to_write(Changes(sizes=sizes, replaced=replaced), SPEC)


def guarded(guard: str) -> str:
    return f"Not all values of n = {X} in the specified range n <= 16 satisfy the generated guard {guard}."


@pytest.mark.parametrize(
    ("guard", "sizes"),
    [
        (f"2 <= {X} and {X} <= 6", Sizes(first=1, last=6)),
        (f"{X} != 7", Sizes(first=1, last=6)),
        (f"({X} % 5) == 0", Sizes(first=5, last=15, step=5)),
        (f"({X} % 3) == 2", Sizes(first=2, last=14, step=3)),
        (f"max(1, {X} + (-1)*({X} // 2)) >= 3", Sizes(first=5, last=16)),
        (f"{X} == 5", Sizes(first=5, last=5)),
        (f"10 // ({X} - 4) >= 2", Sizes(first=5, last=9)),
        (f"not {X} == 8", Sizes(first=1, last=7)),
    ],
)
def test_a_guard_is_solved_around_the_example(guard: str, sizes: Sizes) -> None:
    assert solved(guarded(guard)).sizes == {"n": sizes}


@pytest.mark.parametrize(
    "guard",
    ["f(3)", f"{X}.real == 3", f"{X} ** 9 ** 9 == 3", "L['z'].size()[0] == 3", f"({X} == 3", f"{X} in [3]"],
)
def test_a_guard_that_is_no_arithmetic_of_sizes_is_left_out(guard: str) -> None:
    with pytest.raises(UnknownGuardError):
        parse_guard(guard, SOURCES)
    assert solved(guarded(guard)).sizes == {}


@pytest.mark.parametrize("guard", ["1" * 3000, "(" * 900 + X + ")" * 900])
def test_a_guard_that_is_too_long_or_deep_is_left_out(guard: str) -> None:
    with pytest.raises(UnknownGuardError):
        parse_guard(guard, SOURCES)


def test_a_guard_over_two_dims_is_left_out() -> None:
    assert solved(guarded(f"{X} + {Y} <= 6")).sizes == {}


def test_what_holds_far_from_the_example_has_no_end() -> None:
    free = {"min": 1, "max": None, "example": 8}
    assert solved(guarded(f"({X} % 4) == 0"), n=free).sizes == {"n": Sizes(first=4, last=None, step=4)}


def test_an_end_far_from_the_example_is_tried() -> None:
    wide = {"min": 1, "max": 1_000_002, "example": 500_000}
    assert solved(guarded(f"({X} % 4) == 0"), n=wide).sizes == {"n": Sizes(first=4, last=1_000_000, step=4)}


@pytest.mark.parametrize(
    ("fixes", "sizes"),
    [
        ("  n = Dim('n', min=3, max=8)", Sizes(first=3, last=8)),
        ("  n = 5", None),
        ("  _n = Dim('_n', min=1, max=3)\n  n = 5*_n", Sizes(first=5, last=15, step=5)),
        ("  _n = Dim('_n', max=oo)\n  n = 3*_n - 1", Sizes(first=2, last=14, step=3)),
    ],
)
def test_what_torch_suggests_is_read(fixes: str, sizes: Sizes | None) -> None:
    assert solved(fixes=fixes).sizes.get("n") == sizes


def test_suggestions_for_a_dim_in_steps_are_about_its_parts() -> None:
    steps = {"min": 4, "max": 64, "example": 16, "multiple_of": 4}
    assert solved(fixes="  _n = Dim('_n', min=2, max=8)", n=steps).sizes == {"n": Sizes(first=8, last=32, step=4)}
    twice = "  __n = Dim('__n', min=1, max=8)\n  _n = 2*__n"
    assert solved(fixes=twice, n=steps).sizes == {"n": Sizes(first=8, last=64, step=8)}


def test_a_size_that_the_model_fixes_is_solved_for_the_dim() -> None:
    marked = "You marked 2*n + 1 as dynamic but your code specialized it to be a constant (11). If you're using"
    assert solved(marked).sizes == {"n": Sizes(first=5, last=5)}
    assert in_words_of_the_manifest(marked, SOURCES, dims()) == (
        "the model fixes 2*n + 1 at 11, and the manifest lets it vary"
    )


@pytest.mark.parametrize(
    ("relation", "size"),
    [("m = n + 2", Affine(name="n", offset=2)), ("m = 3*n - 8", Affine(coefficient=3, name="n", offset=-8))],
)
def test_a_derived_size_takes_the_place_of_a_dim(relation: str, size: Affine) -> None:
    found = solved(fixes=f"  {relation}")
    assert found.replaced == {"m": size}
    assert found.sizes["n"].last == (16 - size.offset) // size.coefficient


def test_a_relation_without_words_in_a_manifest_fixes_both_dims() -> None:
    found = solved(f"The values of m = {Y} must always be related to the values of n = {X} by m = 12 - n.")
    assert found.sizes == {"n": Sizes(first=5, last=5), "m": Sizes(first=7, last=7)}


def test_the_reason_that_is_told_is_one() -> None:
    reasons = [guarded(f"({X} // 2) <= {X}"), guarded(f"({X} // 2) != 1")]
    assert telling(reasons, dims(), SOURCES) == reasons[1]
    assert telling(reasons[:1], dims(), SOURCES) == reasons[0]
    assert telling([], dims(), SOURCES) is None


def test_parts_of_a_dim_in_steps_are_told_as_the_dim() -> None:
    told = in_words_of_the_manifest(f"4*_n = {X} in 1 <= _n", SOURCES, dims(n={"example": 8, "multiple_of": 4}))
    assert told == "n = x.shape[0] in 1 <= n/4"


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        (Sizes(first=2, last=8), "n = { min = 2, max = 8, example = 5 }"),
        (Sizes(first=5, last=None), "n = { min = 5 }"),
        (Sizes(first=6, last=16), "n = { min = 6, max = 16, example = 6 }"),
        (Sizes(first=5, last=15, step=5), "n = { min = 5, max = 15, example = 10, multiple_of = 5 }"),
        (Sizes(first=5, last=5), "n = 5"),
        (Sizes(first=0, last=1), "n = 1"),
    ],
)
def test_the_line_of_a_dim_keeps_its_example_where_it_fits(sizes: Sizes, line: str) -> None:
    assert to_write({"n": sizes}, {}) == f"write `{line}` in [entry.dims]"


def test_every_size_of_a_dim_that_is_replaced_is_told_with_its_inputs() -> None:
    told = to_write({}, {"m": Affine(coefficient=2, name="n", offset=1)})
    assert (
        told == 'write "2*n+1" in place of "m" and "4*n+3" in place of "2*m+1" in y, and leave `m` out of [entry.dims]'
    )


def test_sizes_in_additional_inputs_are_replaced_too() -> None:
    spec = {**SPEC, "inputs": {"x": {"tensor": {"shape": ["n"]}}}, "additional_inputs": [{"x": {"dim": ["m"]}}, "m:f"]}
    found = changes(m=TWICE)
    told = what_to_write(found, spec)
    assert told == ('write "2*n" in place of "m" in x of additional_inputs[0], and leave `m` out of [entry.dims]')
    changed = applied(found, spec)
    assert changed is not None
    assert changed["additional_inputs"] == [{"x": {"dim": ["2*n"]}}, "m:f"]


SHAPES = {**SPEC, "inputs": "m:f", "shapes": {"x": ["n", 3], "tree.y": ["2*m"], "k": "m"}}


def test_what_is_in_the_shapes_of_a_factory_is_told_with_its_table() -> None:
    assert what_to_write(changes(m=TWICE), SHAPES) == (
        'write "4*n" in place of "2*m" and "2*n" in place of "m" in tree.y of [entry.shapes] and k of [entry.shapes], '
        "and leave `m` out of [entry.dims]"
    )
    # Without an example, a dim would have the size of the inputs for one.
    five = Sizes(first=5, last=None)
    assert what_to_write(changes({"n": five}), SHAPES) == "write `n = { min = 5, example = 5 }` in [entry.dims]"


def test_a_dim_of_a_factory_that_is_fixed_keeps_its_name() -> None:
    changed = applied(changes({"n": Sizes(first=5, last=5)}, m=TWICE), SHAPES)
    assert changed is not None
    assert changed["shapes"] == SHAPES["shapes"]
    assert (changed["dims"], changed["fixed"], changed["measured"]) == ({}, {"n": 5, "m": 10}, ())


def test_nothing_is_told_where_all_is_as_the_manifest_has_it() -> None:
    assert to_write({"n": Sizes.of(dims()["n"])}, {}) is None


def test_the_sizes_of_all_forms_of_inputs_are_found() -> None:
    size, tensor = Affine(name="n"), {"tensor": {"shape": ["n", 3]}}
    nodes = [tensor, {"dim": ["n"]}, {"tuple": [tensor]}, {"table": {"a": {"list": [tensor]}}}]
    nodes.append({"object": {"type": "m:T", "fields": {"h": tensor}}})
    found = uses_of(nodes, {})
    assert {use.size for use in found} == {size}
    assert [use.input for use in found] == [
        "inputs[0]", "inputs[1]", "inputs[2][0]", "inputs[3].a[0]", "inputs[4].h",
    ]  # fmt: skip
    assert [use.path[1:] for use in found] == [
        (0, "shape", 0), (1, "dim"), (2, "tuple", 0, "shape", 0), (3, "a", 0, "shape", 0),
        (4, "fields", "h", "shape", 0),
    ]  # fmt: skip
    assert str(applied(changes({"n": Sizes(first=5, last=5)}), {**SPEC, "inputs": nodes})["inputs"]).count("[5") == 5
    assert uses_of("m:factory", {}) == ()


def changes(sizes: dict[str, Sizes] | None = None, **replaced: Affine) -> Changes:
    return Changes(sizes=sizes or {}, replaced=replaced)


TWICE = Affine(coefficient=2, name="n")


def test_changes_are_applied_to_a_spec_as_the_user_would() -> None:
    changed = applied(changes({"n": Sizes(first=4, last=8, step=2)}, m=TWICE), SPEC)
    assert changed["inputs"] == {**INPUTS, "y": {"tensor": {"shape": ["2*n", "4*n+1"]}}}
    assert changed["dims"] == {"n": Dim(name="n", min=4, max=8, example=4, multiple_of=2).to_json()}


def test_a_fixed_dim_is_a_number_wherever_it_stands() -> None:
    changed = applied(changes({"n": Sizes(first=5, last=5)}, m=TWICE), SPEC)
    assert (changed["dims"], changed["inputs"]["x"]) == ({}, {"tensor": {"shape": [5], "value": None}})
    assert changed["inputs"]["y"] == {"tensor": {"shape": [10, 21]}}


DERIVED = {**SPEC, "derived": {"d": "2*m", "e": "n+1"}, "inputs": {"x": {"table": {"value": {"dim": ["d"]}}}}}


def test_a_derived_dim_is_written_anew_where_its_dim_is_replaced() -> None:
    found = changes({"n": Sizes(first=2, last=8)}, m=TWICE)
    assert what_to_write(found, DERIVED) == (
        'write `n = { min = 2, max = 8, example = 5 }` and `d = "4*n"` in [entry.dims], '
        "and leave `m` out of [entry.dims]"
    )
    changed = applied(found, DERIVED)
    assert changed["derived"] == {"d": "4*n", "e": "n+1"}
    assert changed["inputs"] == DERIVED["inputs"]


def test_a_size_of_a_dim_that_is_fixed_is_a_number() -> None:
    changed = applied(changes({"n": Sizes(first=5, last=5)}, m=TWICE), DERIVED)
    assert (changed["derived"], changed["inputs"]) == ({}, {"x": {"table": {"value": {"dim": [20]}}}})


def test_a_dim_that_stands_in_its_own_place_takes_those_derived_from_it_along() -> None:
    changed = applied(changes({"n": Sizes(first=2, last=14, step=3)}, m=TWICE), SPEC)
    assert changed["inputs"]["x"] == {"tensor": {"shape": ["3*n+2"], "value": None}}
    assert changed["inputs"]["y"] == {"tensor": {"shape": ["6*n+4", "12*n+9"]}}
    assert changed["dims"] == {"n": Dim(name="n", min=0, max=4, example=2).to_json()}


def test_changes_are_edits_of_the_keys_that_the_words_name() -> None:
    assert edits(changes({"n": Sizes(first=4, last=8, step=2)}, m=TWICE), SPEC) == [
        {"path": ["inputs", "y", "shape", 0], "value": "2*n"},
        {"path": ["inputs", "y", "shape", 1], "value": "4*n+1"},
        {"path": ["dims", "n"], "value": {"min": 4, "max": 8, "example": 4, "multiple_of": 2}},
        {"path": ["dims", "m"], "value": None},
    ]


def test_later_changes_are_of_the_manifest_that_earlier_ones_give() -> None:
    later = changes({"k": Sizes(first=2, last=4)}, n=Affine(name="k", offset=1))
    both = changes({"n": Sizes(first=3, last=8)}, m=TWICE).then(later)
    assert both.replaced == {"m": Affine(coefficient=2, name="k", offset=2), "n": Affine(name="k", offset=1)}
    assert both.sizes["k"] == Sizes(first=2, last=4)


def failure(sizes: Sizes, more: str = "") -> StageFailure:
    made = StageFailure(Kind.SHAPES, "no", (to_write({"n": sizes}, {}) or "") + more)
    made.changes = changes({"n": sizes})
    return made


def test_a_remedy_takes_in_what_the_next_export_refuses() -> None:
    tried = []

    def attempt(spec: Any) -> None:
        tried.append(spec["dims"]["n"]["min"])
        if tried[-1] < 4:
            raise failure(Sizes(first=4, last=16))

    first = failure(Sizes(first=2, last=16), ", or wait")
    assert first.changes is not None
    found = confirmed_changes(first.changes, SPEC, attempt)
    assert found is not None
    assert remedy_with(first, found, SPEC) == "write `n = { min = 4, max = 16, example = 5 }` in [entry.dims], or wait"
    assert tried == [2, 4]


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), StageFailure(Kind.EXPORT, "no"), failure(Sizes(first=2, last=9))]
)
def test_nothing_is_confirmed_where_no_change_helps(error: Exception) -> None:
    def attempt(_: Any) -> None:
        raise error

    assert confirmed_changes(changes({"n": Sizes(first=2, last=16)}), SPEC, attempt) is None
