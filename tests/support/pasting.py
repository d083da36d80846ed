"""Remedies of shapes failures, pasted into a manifest as a user would."""

from __future__ import annotations

import re
import tomllib

_REPLACED = re.compile(r'"([^"]+)" in place of "([^"]+)"')
_SECTION = "[entry.dims]"


def pasted(text: str, remedy: str) -> str:
    """Apply what a remedy quotes to a manifest with one entry, whose dims are lines of a section [entry.dims]."""
    text = with_dims_section(text)
    remedy = remedy.partition(", or ")[0]  # the first of several ways
    shapes, _, dims = text.partition(f"{_SECTION}\n")
    # All at once, as what is written for one size may be the name of another.
    names = {f'"{old}"': f'"{new}"' for new, old in _REPLACED.findall(remedy)}
    if names:
        shapes = re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], shapes)
    before, _, left_out = remedy.partition("leave ")
    for line in re.findall(r"`(\w+ = [^`]+)`", before):
        dims = f"{_without(dims, line.partition(' ')[0])}{line}\n"
    for name in re.findall(r"`(\w+)`", left_out):
        dims = _without(dims, name)
    changed = f"{shapes}{_SECTION}\n{dims}"
    assert changed != text, f"nothing to paste in {remedy!r}"
    return changed


def with_dims_section(text: str) -> str:
    """Write the dims of an entry, however they are given, as the lines of a last section."""
    if _SECTION in text:
        return text
    inline = re.search(r"^ *dims(?:\.\w+)? = .*$", text, re.MULTILINE)
    dims = tomllib.loads(inline[0].strip())["dims"] if inline else {}
    lines = "".join(f"{name} = {_toml(value)}\n" for name, value in dims.items())
    kept = text.replace(inline[0], "") if inline else text
    return f"{kept.rstrip()}\n{_SECTION}\n{lines}"


def _without(lines: str, name: str) -> str:
    return re.sub(rf"^{name} = .*\n", "", lines, flags=re.MULTILINE)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
