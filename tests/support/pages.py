"""Code blocks of README.md and docs/*.md, for tests that check them or run them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<claim>not checked|not run|run by): (?P<about>[^\n]+) -->\n)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A code block; `place` is its page and line, `claim` and `about` are what the comment before it says."""

    place: str
    language: str
    text: str
    claim: str | None
    about: str

    def lines_to_type(self) -> list[str]:
        """The command lines of a block: all of a script, those after `$` of a session."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "sh":
            return [line for line in lines if line and not line.startswith("#")]
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def put_on_path(folder: Path) -> Path:
    """Write the command `batchexport` of this checkout into `folder`/bin, which is returned."""
    program = folder / "bin" / "batchexport"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -P -m batchexport \"$@\"\n")
    program.chmod(0o755)
    return program.parent


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(
            place=f"{page}:{line}",
            language=match["language"],
            text=match["text"],
            claim=match["claim"],
            about=match["about"] or "",
        )


def blocks(page: str, *, language: str) -> list[Block]:
    """The blocks of a page in a language, in their order."""
    found = blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))
    return [block for block in found if block.language == language]


def to_run(page: str, test: str, *, language: str) -> list[Block]:
    """The blocks of a page that are said to be run by a test, which is not empty."""
    found = [one for one in blocks(page, language=language) if one.claim == "run by" and one.about == test]
    assert found, f"{page} has no block in {language} for {test}"
    return found
