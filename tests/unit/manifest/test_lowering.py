"""Operators that an entry keeps or decomposes: known to torch, each given once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from batchexport.core.errors import ManifestError
from batchexport.core.job import ExportSpec
from batchexport.manifest import document, resolve

KNOWN = frozenset({"aten.silu", "aten.silu.default", "aten.add", "aten.add.Tensor", "aten.add.Scalar"})


def spec(export: str, known: Collection[str] | None = KNOWN) -> ExportSpec:
    text = f'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n[entry.export]\n{export}\n'
    [job] = resolve.resolve(document.parse(text, "m.toml"), resolve.Known(operators=lambda: known)).jobs
    return job.export


def mistake(export: str, known: Collection[str] | None = KNOWN) -> str:
    with pytest.raises(ManifestError) as caught:
        spec(export, known)
    (problem,) = caught.value.problems
    return str(problem).partition("export.")[2]


def test_the_older_spelling_is_read_as_rules_of_torch() -> None:
    assert spec('decompositions = ["aten.silu"]') == spec('decompose = { "aten.silu" = true }')
    both = spec('decompositions = ["aten.silu"]\ndecompose = { "aten.add" = "models.rules:add" }')
    assert both.decompose == {"aten.silu": True, "aten.add": "models.rules:add"}


@pytest.mark.parametrize(
    ("export", "told"),
    [
        ('keep = ["aten.siluu"]', 'keep[0]: ?"aten.siluu"; did you mean "aten.silu"?'),
        ('decompose = { "aten.sliu" = true }', 'decompose."aten.sliu": ?"aten.sliu"; did you mean "aten.silu"?'),
        (
            'decompositions = ["aten.add.Tenser"]',
            'decompositions[0]: ?"aten.add.Tenser"; did you mean "aten.add.Tensor"?',
        ),
        ('keep = ["aten.qqqqq"]', 'keep[0]: ?"aten.qqqqq"'),
    ],
)
def test_an_operator_that_torch_does_not_have_is_refused_with_the_nearest_spelling(export: str, told: str) -> None:
    assert mistake(export) == told.replace("?", "the installed torch has no operator ", 1)


def test_any_operator_is_taken_where_those_of_torch_cannot_be_told() -> None:
    assert spec('keep = ["aten.siluu"]', known=None).keep == ("aten.siluu",)


def test_operators_of_other_namespaces_are_left_to_the_child() -> None:
    assert spec('keep = ["mylib.twice", "prims.add"]').keep == ("mylib.twice", "prims.add")


def test_the_operators_of_torch_are_asked_for_only_where_an_entry_names_some() -> None:
    def never() -> Any:
        raise AssertionError("the operators of torch were read")

    for export in ("", 'export.keep = ["mylib.twice"]'):
        text = f'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n{export}\n'
        resolve.resolve(document.parse(text, "m.toml"), resolve.Known(operators=never))
