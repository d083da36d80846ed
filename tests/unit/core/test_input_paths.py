"""Paths to inputs are read in every form in which messages show them, and have one canonical form."""

from __future__ import annotations

import pytest

from batchexport.core.input_paths import input_path, parse_input_path


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("x", "x"),
        ("state.h", "state.h"),
        ("xs[0]", "xs[0]"),
        ("tree['a']", "tree.a"),
        ('tree["a"].b[12]', "tree.a.b[12]"),
        ("tree['a b']", "tree['a b']"),
        ("tree['0']", "tree['0']"),
        ("größe.höhe", "größe.höhe"),
    ],
)
def test_a_path_has_a_canonical_form_that_reads_back(text: str, canonical: str) -> None:
    parts = parse_input_path(text)
    assert parts is not None
    assert input_path(parts) == canonical
    assert parse_input_path(canonical) == parts


@pytest.mark.parametrize(
    "text", ["", "0", ".x", "x.", "x..y", "xs.0", "xs[-1]", "xs[a]", "x[0", "a b", "x['a\\'b']", "x()"]
)
def test_anything_else_is_no_path(text: str) -> None:
    assert parse_input_path(text) is None
