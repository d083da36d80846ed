"""Paths to what inputs hold: `x`, `state.h`, `xs[0]`, `table['a key']`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = re.compile(r"[^\W\d]\w*")
_STEP = re.compile(r"\.(?P<word>[^\W\d]\w*)|\[(?P<index>\d{1,9})\]|\[(?P<quote>['\"])(?P<key>[^'\"\\]*)(?P=quote)\]")

InputPath = tuple[str | int, ...]  # the name of a parameter, then fields, keys, and items counted from 0


def parse_input_path(text: str) -> InputPath | None:
    """Parse a path; return None for what is none. `table['key']` is `table.key`."""
    head = _NAME.match(text)
    if head is None:
        return None
    parts: list[str | int] = [head[0]]
    at = head.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        word = step["key"] if step["word"] is None else step["word"]
        parts.append(int(step["index"]) if word is None else word)
        at = step.end()
    return tuple(parts)


def input_path(parts: Sequence[object]) -> str:
    """Return a path as text, which `parse_input_path` reads back."""
    text = str(parts[0])
    for part in parts[1:]:
        is_word = isinstance(part, str) and _NAME.fullmatch(part)
        text += f".{part}" if is_word else f"[{part!r}]"
    return text
