"""tomllib takes time and memory with the square of a key's parts, so a key of too many is refused before it reads."""

from __future__ import annotations

import re

_PARTS = 64
_DEEP = re.compile(r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def deep_line(text: str) -> int | None:
    """The line (from 1) with something like a key of more than 64 parts, dots between them; None if there is none."""
    if text.count(".") <= _PARTS:
        return None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _PARTS and _DEEP.search(line):
            return number
    return None
