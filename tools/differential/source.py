"""A source is what a Python file means, apart from how it is written down; its text is a function of both."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from string import Template


@dataclass(slots=True)
class Source:
    """A template, the values in it and code that nobody calls; and a style with its seed, and remarks.

    No template has a string or a bracket that goes over more than one line, so that a remark or an empty
    line may stand between any two.
    """

    template: str
    values: dict[str, str] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    style: tuple[str, int] = ("plain", 0)

    def meaning(self) -> list[object]:
        """All that a build may depend on."""
        return [self.template, sorted(self.values.items()), self.dead]

    def text(self) -> bytes:
        """The file."""
        plain = Template(self.template).substitute(self.values) + "".join(self.dead)
        name, seed = self.style
        lines = STYLES[name](plain, Random(seed)).split("\n")
        for number, remark in enumerate(self.remarks):
            # Never on the first line: a byte order mark must stay where it is.
            lines.insert(1 + Random(f"{seed} {number}").randrange(len(lines)), f"# {remark}")
        return "\n".join(lines).encode()


def _spaced(text: str, rng: Random) -> str:
    return "\n".join(line + "\n" * (rng.random() < 0.3) for line in text.split("\n"))


def _trailing(text: str, rng: Random) -> str:
    return "\n".join(line + " " * rng.randrange(3) for line in text.split("\n"))


def _bracketed(text: str, rng: Random) -> str:
    return re.sub(r"(?m)^( +return) (.+)$", r"\1 (\n\2\n)", text)


def _narrow(text: str, rng: Random) -> str:
    return re.sub(r"(?m)^ +", lambda indent: " " * (len(indent[0]) // 2), text)


def _tabbed(text: str, rng: Random) -> str:
    return re.sub(r"(?m)^ +", lambda indent: "\t" * (len(indent[0]) // 4), text)


STYLES: dict[str, Callable[[str, Random], str]] = {
    "plain": lambda text, rng: text,
    "unparsed": lambda text, rng: ast.unparse(ast.parse(text)),
    "spaced": _spaced,
    "trailing": _trailing,
    "bracketed": _bracketed,
    "narrow": _narrow,
    "tabbed": _tabbed,
    "other line ends": lambda text, rng: text.replace("\n", "\r\n"),
    "encoding line": lambda text, rng: "# -*- coding: utf-8 -*-\n" + text,
    "byte order mark": lambda text, rng: "\ufeff" + text,
}
