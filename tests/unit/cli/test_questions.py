"""The questions of `init`: what an answer changes, and answers that are not understood."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import click.testing

from batchexport.cli import questions
from batchexport.manifest.starter import read_argument, read_input


def answered(ask: Callable[[], Any], *lines: str) -> tuple[Any, str]:
    """What a question returns when these lines are typed, and what it showed."""
    found = []
    command = click.Command("ask", callback=lambda: found.append(ask()))
    result = click.testing.CliRunner().invoke(command, [], input="".join(f"{line}\n" for line in lines))
    assert result.exception is None, result.output
    return found[0], result.output


def test_sizes_are_asked_for_until_they_are_understood() -> None:
    ask = partial(questions.ask_value, "sizes of x", read_input, example="batch,16", name="x")
    found, shown = answered(ask, "batch 4", "batch,4:float7", "batch,4")
    assert found["x"]["shape"] == ["batch", 4]
    assert "batch,4:float7 is not understood; write batch,16" in shown
    assert answered(ask, "")[0] == {}


def test_an_argument_is_asked_for_by_name_and_value() -> None:
    ask = partial(questions.ask_value, "NAME=VALUE", read_argument, example="hidden=256")
    assert answered(ask, "8", "width=8")[0] == {"width": 8}


def test_only_sizes_that_were_guessed_are_asked_for() -> None:
    lines = [
        "batch = { min = 1, max = 16, example = 3 }",
        "seq = { min = 4, max = 64, example = 8, multiple_of = 4 }",
        "free = { min = 2, example = 6, auto = true }",
    ]
    found, shown = answered(lambda: questions.ask_largest(lines), "128")
    assert found == ("batch = { min = 1, max = 128, example = 3 }", *lines[1:])
    assert shown.count("largest") == 1


def test_a_module_with_one_class_needs_no_question() -> None:
    assert answered(lambda: questions.ask_class(["models:Net"])) == ("models:Net", "")


def test_an_existing_file_is_overwritten_after_a_yes_alone(tmp_path: Path) -> None:
    file = tmp_path / "manifest.toml"
    file.touch()
    assert answered(lambda: questions.ask_file(file), str(file), "y")[0] == file
    assert answered(lambda: questions.ask_file(file), str(file), "n", "")[0] == tmp_path / "manifest-2.toml"
