"""Phrases: a number is readable at any size, and foreign text can't move the cursor."""

from __future__ import annotations

import pytest

from batchexport.core.text import (
    approximate_duration,
    clean,
    clean_lines,
    counted,
    did_you_mean,
    format_bytes,
    format_duration,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (1.25, "1.2s"),
        (59.94, "59.9s"),
        (59.96, "1m 00s"),
        (123, "2m 03s"),
        (3599.6, "1h 00m"),
        (3720, "1h 02m"),
        (90000, "25h 00m"),
    ],
)
def test_a_duration_is_short_at_any_length(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "under 1s"),
        (12.3, "about 12s"),
        (89.9, "about 1 min"),
        (200, "about 3 min"),
        (3580, "about 1h 00m"),
        (6000, "about 1h 40m"),
    ],
)
def test_a_guess_is_no_more_exact_than_a_guess(seconds: float, text: str) -> None:
    assert approximate_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (2**51, "2048.0 TiB")],
)
def test_a_size_has_the_unit_that_suits_it(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bert-base@cpu", "bert-base@cpu"),
        ("naïve · ü", "naïve · ü"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\u202eevil", "\\u202eevil"),
        ("\x9b31m", "\\x9b31m"),
        ("bad \udcff name", "bad \\udcff name"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_lines_stay_lines_and_are_cleaned_one_by_one() -> None:
    assert clean_lines("a\n\tb\x07\n") == ["a", "    b\\x07"]


def test_one_is_not_many() -> None:
    assert counted(1, "job") == "1 job"
    assert counted(0, "job") == "0 jobs"


def test_letters_that_changed_places_are_nearer_than_a_shorter_word() -> None:
    assert did_you_mean("modle", ("mode", "model")) == 'did you mean "model"?'
    assert did_you_mean("modes", ("mode", "model")) == 'did you mean "mode"?'


def test_another_name_of_a_dtype_is_taken_for_the_dtype_that_torch_means() -> None:
    known = ("float64", "float32", "int64", "int32")
    assert did_you_mean("float", known) == 'did you mean "float32"?'
    assert did_you_mean("long", known) == 'did you mean "int64"?'
    assert did_you_mean("int", ("lint", "word")) == 'did you mean "lint"?'
