"""Fixes are written into the text of a manifest where a user would write them, and nothing else changes."""

from __future__ import annotations

import difflib
import textwrap
from typing import Any

import pytest

from batchexport.core.edits import Edit
from batchexport.manifest.agreement import NotWrittenError, agreed
from batchexport.manifest.fixes import FixedManifest, fixed

NARROW = {"dims.n": {"min": 8, "max": 64, "multiple_of": 4}}


def edits(values: dict[str, Any]) -> tuple[Edit, ...]:
    paths = {key: tuple(int(part) if part.isdecimal() else part for part in key.split(".")) for key in values}
    return tuple(Edit(path=paths[key], value=value) for key, value in values.items())


def fix(text: str, values: dict[str, Any], entry: str = "a") -> FixedManifest:
    return fixed(textwrap.dedent(text), {entry: {"a@cpu": edits(values)}})


def changed(text: str, values: dict[str, Any], entry: str = "a") -> list[str]:
    """The lines that a fix takes away and adds."""
    made = fix(text, values, entry)
    assert made.refused == ()
    lines = difflib.ndiff(textwrap.dedent(text).splitlines(), made.text.splitlines())
    return [line for line in lines if line.startswith(("- ", "+ ")) and line.strip() not in ("+", "-")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(
            """
            schema = 1
            [[entry]]
            name = "a"
            model = "m:M"
            inputs.x = { shape = ["n"] }
            [entry.dims]   # ranges
            n = { min = 1, max = 64, example = 8 }  # rows
            """,
            [
                "- n = { min = 1, max = 64, example = 8 }  # rows",
                "+ n = { min = 8, max = 64, multiple_of = 4 }  # rows",
            ],
            id="an inline table, whose comment stays",
        ),
        pytest.param(
            """
            schema = 1
            [[entry]]
            name = "a"
            model = "m:M"
            inputs.x = { shape = ["n"] }
            [entry.dims.n]
            min = 1  # one
            max = 64  # many
            example = 8
            """,
            ["- min = 1  # one", "+ min = 8  # one", "- example = 8", "+ multiple_of = 4"],
            id="a table of its own, key by key",
        ),
        pytest.param(
            """
            schema = 1
            [[entry]]
            name = "a"
            model = "m:M"
            inputs.x = { shape = ["n"] }
            dims.n.max = 64
            """,
            ["+ dims.n.min = 8", "+ dims.n.multiple_of = 4"],
            id="dotted keys",
        ),
        pytest.param(
            """
            schema = 1
            entry = [{ name = "a", model = "m:M", inputs.x.shape = ["n"], dims = { n = { max = 64 } } }]
            """,
            [
                f'{sign} entry = [{{ name = "a", model = "m:M", inputs.x.shape = ["n"], dims = {{ n = {n} }} }}]'
                for sign, n in (("-", "{ max = 64 }"), ("+", "{ min = 8, max = 64, multiple_of = 4 }"))
            ],
            id="an entry in one line",
        ),
        pytest.param(
            """
            schema = 1
            [[entry]]
            name = "a"
            model = "m:M"
            inputs.x = { shape = ["n"] }

            [[entry]]
            name = "b"
            model = "m:M"
            """,
            ["+ [entry.dims]", "+ n = { min = 8, max = 64, multiple_of = 4 }"],
            id="no dims before",
        ),
        pytest.param(
            """
            schema = 1
            [defaults.dims]
            n = { min = 1, max = 64 }
            [[entry]]
            name = "a"
            model = "m:M"
            inputs.x = { shape = ["n"] }
            [[entry]]
            name = "b"
            model = "m:M"
            inputs.x = { shape = ["n"] }
            """,
            ["+ [entry.dims]", "+ n = { min = 8, max = 64, multiple_of = 4 }"],
            id="a dim of the defaults, which other entries use too",
        ),
    ],
)
def test_a_range_goes_where_the_entry_has_it(text: str, lines: list[str]) -> None:
    assert changed(text, NARROW) == lines


EQUAL = {"inputs.y.shape.0": "n", "dims.m": None}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(
            """
            schema = 1
            [[entry]]
            name = "a"
            model = "m:M"
            [entry.inputs]
            x = { shape = ["n"] }
            y = { shape = [
              "m",  # rows
              3,
            ] }
            [entry.dims]
            n = { max = 8 }
            m = { max = 8 }  # of y
            """,
            ['-   "m",  # rows', '+   "n",  # rows', "- m = { max = 8 }  # of y"],
            id="a list over several lines",
        ),
        pytest.param(
            """
            schema = 1
            [defaults.inputs]
            x = { shape = ["n"] }
            y = { shape = ["m", 3] }
            [defaults.dims]
            n = { max = 8 }
            m = { max = 8 }
            [[entry]]
            name = "a"
            model = "m:M"
            """,
            ["- m = { max = 8 }", "+ [entry.inputs.y]", '+ shape = ["n", 3]'],
            id="inputs of the defaults, and a dim that no entry uses any more",
        ),
        pytest.param(
            """
            schema = 1
            [defaults.inputs]
            x = { shape = ["n"] }
            y = { shape = ["m", 3] }
            [defaults.dims]
            n = { max = 8 }
            m = { max = 8 }
            [[entry]]
            name = "a"
            model = "m:M"
            [[entry]]
            name = "b"
            model = "m:M"
            """,
            ["+ [entry.inputs.y]", '+ shape = ["n", 3]'],
            id="a dim of the defaults that another entry uses",
        ),
    ],
)
def test_a_size_is_replaced_in_its_input(text: str, lines: list[str]) -> None:
    assert changed(text, EQUAL) == lines


def test_positional_inputs_are_changed_in_their_list() -> None:
    text = """
        schema = 1
        [[entry]]
        name = "a"
        model = "m:M"
        inputs = [{ shape = ["n"] }, { tuple = [{ shape = [4] }, { shape = ["m"] }] }]  # two
        """
    new = 'inputs = [{ shape = ["n"] }, { tuple = [{ shape = [4] }, { shape = ["2*n+1"] }] }]  # two'
    assert changed(text, {"inputs.1.tuple.1.shape.0": "2*n+1"})[1] == f"+ {new}"


def test_a_list_of_the_defaults_is_copied_with_all_its_changes() -> None:
    text = """
        schema = 1
        [defaults]
        inputs = [{ shape = ["n", 3] }, { shape = ["m", "k"] }]
        [[entry]]
        name = "a"
        model = "m:M"
        """
    lines = changed(text, {"inputs.1.shape.0": "n", "inputs.1.shape.1": "2*n"})
    assert lines == ['+ inputs = [{ shape = ["n", 3] }, { shape = ["n", "2*n"] }]']


def test_a_range_over_that_of_the_defaults_takes_nothing_from_it() -> None:
    text = """
        schema = 1
        [defaults.dims]
        n = { min = 2, max = 64, example = 32, multiple_of = 2 }
        [[entry]]
        name = "a"
        model = "m:M"
        inputs.x = { shape = ["n"] }
        """
    lines = changed(text, {"dims.n": {"min": 4, "max": 8}})
    assert lines == ["+ [entry.dims]", "+ n = { min = 4, max = 8, multiple_of = 1, example = 4 }"]


def test_options_get_a_table_of_their_own() -> None:
    text = """
        schema = 1
        [[entry]]
        name = "a"
        model = "m:M"
        export.strict = true
        """
    lines = changed(text, {"export.prefer_deferred_runtime_asserts": True})
    assert lines == ["+ export.prefer_deferred_runtime_asserts = true"]


def test_each_change_is_told_with_its_line() -> None:
    text = """
        schema = 1
        [[entry]]
        name = "a"
        model = "m:M"
        inputs.x = { shape = ["n"] }
        inputs.y = { shape = ["m"] }
        dims.n = { max = 64 }
        dims.m = { max = 8 }
        """
    told = fix(text, {**EQUAL, **NARROW}).fixes
    assert [(one.line, one.entry, one.key, one.before, one.after) for one in told] == [
        (7, "a", "inputs.y.shape[0]", '"m"', '"n"'),
        (8, "a", "dims.m", "{ max = 8 }", None),
        (8, "a", "dims.n", "{ max = 64 }", "{ min = 8, max = 64, multiple_of = 4 }"),
    ]


def test_line_ends_and_the_byte_order_mark_stay() -> None:
    text = '\ufeffschema = 1\r\n[[entry]]\r\nname = "a"\r\nmodel = "m:M"\r\ninputs.x = { shape = ["n"] }\r\n'
    made = fix(text, NARROW)
    assert made.text.startswith(text)
    assert made.text.count("\n") == made.text.count("\r\n")


MATRIX = """
    schema = 1
    [[entry]]
    name = "a"
    model = "m:M"
    inputs.x = { shape = ["n"] }
    [entry.matrix]
    "dims.n.max" = [8, 64]
    """


def test_what_a_matrix_sets_is_left_to_the_user() -> None:
    made = fix(MATRIX, NARROW)
    assert (made.text, made.fixes) == (textwrap.dedent(MATRIX), ())
    why = "its matrix sets dims.n.max; paste the remedy there"
    assert made.refused == (f'the fix of entry "a" is not written: {why}',)


def test_a_fix_that_makes_no_valid_manifest_is_not_written() -> None:
    text = '[[entry]]\nname = "a"\nmodel = "m:M"\n[[entry]]\nname = "b"\nmodel = "m:M"\ninputs.x = { shape = ["n"] }\n'
    both = {"a": {"a@cpu": edits(NARROW)}, "b": {"b@cpu": edits(NARROW)}}
    made = fixed(f"schema = 1\n{text}", both)
    (why,) = made.refused
    assert 'entry "a"' in why
    assert "unused dim" in why
    assert [one.entry for one in made.fixes] == ["b"], "the other entry's fix is written"


def test_a_fix_that_is_there_already_changes_nothing() -> None:
    text = 'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\ninputs.x = { shape = ["n"] }\ndims.n = 5\n'
    made = fix(text, {"dims.n": 5, "dims.m": None})
    assert (made.text, made.fixes, made.refused) == (text, (), ())


# ── several jobs of an entry ─────────────────────────────────────────────────────────────────────


def together(*jobs: dict[str, Any]) -> dict[Any, Any]:
    found = agreed({f"a[{at}]": edits(values) for at, values in enumerate(jobs)})
    return {".".join(map(str, edit.path)): edit.value for edit in found}


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"min": 4, "max": 64}, {"min": 8, "max": 128}, {"min": 8, "max": 64}),
        ({"min": 4}, {"min": 1, "max": 9}, {"min": 4, "max": 9}),
        (
            {"min": 4, "max": 60, "multiple_of": 4},
            {"min": 6, "max": 66, "multiple_of": 6},
            {"min": 6, "max": 60, "multiple_of": 12},
        ),
        ({"min": 4, "example": 8}, {"min": 16, "example": 32}, {"min": 16, "example": 32}),
        ({"min": 4, "max": 64}, 8, 8),
        (8, 8, 8),
    ],
)  # fmt: skip
def test_ranges_narrow_each_other(one: Any, other: Any, both: Any) -> None:
    assert together({"dims.n": one}, {"dims.n": other}) == {"dims.n": both}


def test_jobs_may_be_about_different_dims() -> None:
    assert together({"dims.n": 3}, {"dims.m": 4}) == {"dims.n": 3, "dims.m": 4}


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"dims.n": 3}, {"dims.n": 4}, "no range of the dim n suits both a[0] and a[1]; split the entry"),
        ({"dims.n": {"min": 9}}, {"dims.n": {"min": 1, "max": 8}}, "no range of the dim n suits both"),
        (EQUAL, {"dims.m": {"min": 3}}, "a[0] and a[1] need different changes"),
        (EQUAL, {**EQUAL, "inputs.y.shape.0": "2*n"}, "a[0] and a[1] need different changes"),
    ],
)
def test_jobs_that_need_different_things_get_none(one: Any, other: Any, why: str) -> None:
    with pytest.raises(NotWrittenError) as problem:
        together(one, other)
    assert why in str(problem.value)
