"""The table over exportdb says which case is not as it should be."""

from __future__ import annotations

import pytest
from exportdb.table import Row, lines, row

from support.reports import built, failure, job


def of(case: str, *, supported: bool, **more: str) -> Row:
    return Row(case=case, supported=supported, **{"outcome": "ok", "kind": "", "named": "", **more})


@pytest.mark.parametrize(
    ("one", "right"),
    [
        (of("a", supported=True), True),
        (of("a", supported=True, outcome="failed", kind="export", named="a"), False),
        (of("a", supported=True, outcome="not delivered"), False),
        (of("a", supported=False, outcome="failed", kind="export", named="a"), True),
        (of("a", supported=False, outcome="failed", kind="export", named="b"), False),
        (of("a", supported=False, outcome="failed", kind="shapes", named="a"), False),
        (of("a", supported=False), False),
    ],
)
def test_a_case_is_right_if_torch_says_the_same(one: Row, right: bool) -> None:
    assert one.is_right is right


def test_the_row_of_a_failure_has_the_case_that_its_message_names() -> None:
    error = failure(message="torch.export: no (torch's exportdb case list_unpack)")
    assert row(job("list_unpack@cpu", error=error).to_json()).named == "list_unpack"


def test_an_archive_that_was_not_verified_is_not_delivered() -> None:
    assert row(job("list_unpack@cpu", stages={"export": built()}).to_json()).outcome == "not delivered"


def test_what_is_wrong_stands_out_and_is_counted() -> None:
    table = lines([of("a", supported=True), of("b", supported=False)])
    assert [line[0] for line in table[1:3]] == [" ", "!"]
    assert table[-1] == "2 cases: 1 as they should be, 1 not"
