"""The questions of `init`: asked on a terminal alone, where a model or a folder leaves a choice."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click


def may_ask(*, never: bool) -> bool:
    """Return whether somebody can answer: both standard input and output are a terminal."""
    return not never and sys.stdin.isatty() and sys.stdout.isatty()


def ask_class(classes: Sequence[str]) -> str:
    """Ask for one of the classes of a module, each `module:Class`; the first is the default."""
    if len(classes) == 1:
        return classes[0]
    names = [one.rpartition(":")[2] for one in classes]
    name = click.prompt("which class", type=click.Choice(names), default=names[0])
    return classes[names.index(name)]


def ask_file(file: Path) -> Path:
    """Ask where to write instead of `file`, which exists; an existing answer is confirmed."""
    stem, number = file.stem, 2
    while (free := file.with_name(f"{stem}-{number}{file.suffix}")).exists():
        number += 1
    while True:
        answer: Path = click.prompt(
            f"{file} exists; write to", type=click.Path(dir_okay=False, path_type=Path), default=free
        )
        if not answer.exists() or click.confirm(f"overwrite {answer}", default=False):
            return answer


def ask_largest(dims: Sequence[str]) -> tuple[str, ...]:
    """Ask for the largest size of each dim; `dims` are lines of [entry.dims], and so is what is returned."""
    return tuple(_with_largest(line) for line in dims)


def _with_largest(line: str) -> str:
    ((name, dim),) = tomllib.loads(line).items()
    if "max" not in dim or "multiple_of" in dim:
        return line  # torch has told the sizes
    least = max(dim["min"], dim["example"])
    largest = click.prompt(f"largest {name} that must work", type=click.IntRange(min=least), default=dim["max"])
    return re.sub(r"\bmax = \d+", f"max = {largest}", line)


def ask_value(question: str, read: Callable[[str], tuple[str, Any]], *, example: str, name: str = "") -> dict[str, Any]:
    """Ask for NAME=VALUE, or for the value of `name`, until it is understood; an empty answer gives nothing."""

    def understood(text: str) -> dict[str, Any]:
        try:
            return dict([read(f"{name}={text}" if name else text)]) if text else {}
        except ValueError:
            raise click.BadParameter(f"{text} is not understood; write {example}") from None

    found: dict[str, Any] = click.prompt(question, default="", show_default=False, value_proc=understood)
    return found
