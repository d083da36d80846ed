"""Read what docs/manifest.md says of each key: its meaning, default and example. An installed package carries it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NAME = "manifest.md"
_BULLET = re.compile(r"^- (`\w+` \(.*(?:\n(?!- |\n|#).*)*)", re.MULTILINE)
_KEY = re.compile(r"`(\w+)` \((.*?)\): (.*) Example: `([^`]+)`")
_LINK = re.compile(r"\[([^][]+)\]\([^)]*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDoc:
    """A key as the page describes it. `table` is the title of its section; `default` and `example` are TOML.

    `kind` is what stands in parentheses: type and default. `default` is None where there is none, or none in TOML.
    """

    table: str
    name: str
    kind: str
    meaning: str
    default: str | None
    example: str


def read_page(text: str) -> list[KeyDoc]:
    """Return every key of the page. Raises ValueError for a bullet that has not all parts of a key."""
    found = []
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        for bullet in _BULLET.findall(body):
            line = re.sub(r"\s*\n\s*", " ", bullet).strip()
            match = _KEY.fullmatch(line)
            if match is None:
                raise ValueError(f"{title}: this key needs (type, default), a meaning and an example: {line}")
            default = re.search(r"default `([^`]+)`", match[2])
            found.append(
                KeyDoc(
                    table=title.strip("`"),
                    name=match[1],
                    kind=match[2],
                    meaning=_LINK.sub(r"\1", match[3]),
                    default=default[1] if default else None,
                    example=match[4],
                )
            )
    return found


def page() -> str:
    """Return the page: from the installed package, or from docs/ of a clone. Raises FileNotFoundError."""
    here = Path(__file__).parent
    candidates = (here / _NAME, here.parents[1] / "docs" / _NAME)
    return next((path for path in candidates if path.is_file()), candidates[0]).read_text(encoding="utf-8")
