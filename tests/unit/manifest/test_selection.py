"""Selection: -k, --tag and --only narrow the jobs, in the manifest's order, and a mistake is explained."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from batchexport.core.errors import ExitCode, UsageError
from batchexport.manifest.selection import compile_expression, select


@dataclass(frozen=True)
class Job:
    name: str
    tags: tuple[str, ...] = ()


JOBS = (
    Job("bert-base@cpu", ("text", "nightly")),
    Job("bert-large@cpu", ("text",)),
    Job("bert-large@cuda", ("text",)),
    Job("resnet18[float32]@cpu", ("vision", "nightly")),
    Job("Mixer@cpu"),
)


def names(**how: object) -> list[str]:
    return [job.name for job in select(JOBS, **how)]  # type: ignore[arg-type]


def refusal(**how: object) -> str:
    with pytest.raises(UsageError) as caught:
        names(**how)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_no_condition_selects_everything() -> None:
    assert names() == [job.name for job in JOBS]
    assert names(expression="  ") == [job.name for job in JOBS]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("bert", ["bert-base@cpu", "bert-large@cpu", "bert-large@cuda"]),
        ("BERT", ["bert-base@cpu", "bert-large@cpu", "bert-large@cuda"]),
        ("mixer", ["Mixer@cpu"]),
        ("[float32]", ["resnet18[float32]@cpu"]),
        ("bert and not large", ["bert-base@cpu"]),
        ("not bert", ["resnet18[float32]@cpu", "Mixer@cpu"]),
        ("not not mixer", ["Mixer@cpu"]),
        ("mixer or resnet and float32", ["resnet18[float32]@cpu", "Mixer@cpu"]),
        ("(mixer or bert) and @cuda", ["bert-large@cuda"]),
        ("bert and not (large or cuda)", ["bert-base@cpu"]),
        ("bert-large@cpu or bert-large@cuda", ["bert-large@cpu", "bert-large@cuda"]),
        ("'bert-base' or \"Mixer\"", ["bert-base@cpu", "Mixer@cpu"]),
    ],
)
def test_an_expression_matches_parts_of_names(expression: str, expected: list[str]) -> None:
    assert names(expression=expression) == expected


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    matches = compile_expression("a or b and not c")
    assert matches("a c")
    assert matches("b")
    assert not matches("b c")


def test_an_operator_in_quotes_is_a_word() -> None:
    assert compile_expression("'and'")("sand")
    assert not compile_expression("'not'")("sand")


@pytest.mark.parametrize(
    ("expression", "message", "column"),
    [
        ("bert and", "at the end", 9),
        ("and bert", 'not "and"', 1),
        ("bert cpu", 'expected "and" or "or", not "cpu"', 6),
        ("(bert", 'expected ")" at the end', 6),
        ("bert)", 'not ")"', 5),
        ("bert or  or cpu", 'not "or"', 10),
        ("()", 'not ")"', 2),
        ("not", "at the end", 4),
        ("bert and 'cpu", "never closed", 10),
        ("bert 'cpu'", 'not "cpu"', 6),
    ],
)
def test_a_broken_expression_is_refused_with_the_place(expression: str, message: str, column: int) -> None:
    refused = refusal(expression=expression)
    assert message in refused
    assert f"column {column} of: {expression}" in refused


def test_an_expression_nested_beyond_reason_is_refused() -> None:
    assert "too deeply" in refusal(expression="(" * 100_000 + "bert" + ")" * 100_000)


def test_any_of_the_tags_is_enough() -> None:
    assert names(tags=("vision", "nightly")) == ["bert-base@cpu", "resnet18[float32]@cpu"]


def test_only_takes_exact_names_and_keeps_the_order_of_the_manifest() -> None:
    assert names(only=("Mixer@cpu", "bert-large@cpu")) == ["bert-large@cpu", "Mixer@cpu"]


def test_all_conditions_hold_at_once() -> None:
    assert names(expression="@cpu", tags=("text",), only=("bert-large@cpu", "bert-large@cuda")) == ["bert-large@cpu"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bert-bsae@cpu", 'did you mean "bert-base@cpu"?'),
        ("resnet18", 'did you mean "resnet18[float32]@cpu"?'),
        ("zzz", "the jobs are bert-base@cpu, "),
    ],
)
def test_an_unknown_name_gets_the_nearest_spelling(name: str, hint: str) -> None:
    refused = refusal(only=(name,))
    assert f'no job is named "{name}"' in refused
    assert hint in refused


def test_every_unknown_name_is_said_at_once() -> None:
    assert len(refusal(only=("x1", "x2", "Mixer@cpu")).splitlines()) == 2


def test_selecting_nothing_says_what_there_is() -> None:
    refused = refusal(expression="gpt", tags=("text",))
    assert "no job matches -k 'gpt' --tag text" in refused
    assert "bert-base@cpu" in refused


def test_an_unknown_tag_gets_the_known_ones() -> None:
    assert "the tags are nightly, text, vision" in refusal(tags=("txet",))


def test_a_manifest_without_jobs_is_said_to_be_one() -> None:
    with pytest.raises(UsageError, match="the manifest has no jobs"):
        select(())


def test_a_long_list_of_jobs_is_cut() -> None:
    with pytest.raises(UsageError, match="and 95 more"):
        select(tuple(Job(f"job{number}") for number in range(100)), expression="nothing")
