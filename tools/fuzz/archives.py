"""How two archives of one model compare: member by member, and where only ids and addresses differ, it is said."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

_NUMBERS = re.compile(rb"0x[0-9a-f]{6,}|\b\d{12,}\b")
_ID = "serialization_id"  # a digest of the other members


def compare(one: Path, other: Path) -> str | None:
    """What differs between two files, in words; None where they are the same bytes."""
    if one.read_bytes() == other.read_bytes():
        return None
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        names, others = sorted(_inner(first)), sorted(_inner(second))
        if names != others:
            return f"other members: {sorted(set(names) ^ set(others))}"
        pairs = {name: (first.read(_inner(first)[name]), second.read(_inner(second)[name])) for name in names}
    differing = [name for name, (a, b) in pairs.items() if a != b and _ID not in name]
    real = [name for name in differing if _masked(pairs[name][0]) != _masked(pairs[name][1])]
    if not real:
        return "addresses"
    return "; ".join(f"{name}: {_first(*map(_masked, pairs[name]))}" for name in real)


def _inner(archive: zipfile.ZipFile) -> dict[str, str]:
    """Name of a member below the archive's own folder → its full name."""
    return {name.partition("/")[2]: name for name in archive.namelist()}


def _masked(content: bytes) -> bytes:
    return _NUMBERS.sub(b"#", content)


def _first(one: bytes, other: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(0, at - 60) : at + 40]!r} and {other[max(0, at - 60) : at + 40]!r}"
