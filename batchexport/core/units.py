"""A quantity in a manifest is a number with a unit, and there is one way to read each."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)\s*", re.ASCII)

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
BYTES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def parse_seconds(text: str) -> float:
    """`"90s"`, `"1.5h"` in seconds. Raises ValueError when `text` has another form."""
    return _scaled(text, SECONDS)


def parse_bytes(text: str) -> int:
    """`"50GiB"`, `"500MB"` in bytes. Raises ValueError when `text` has another form."""
    return int(_scaled(text, BYTES))


def _scaled(text: str, units: dict[str, int]) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"no quantity: {text}")
    number, scale = match[1], units[match[2]]
    # Whole numbers stay whole: a float would round sizes above 2**53.
    return float(number) * scale if "." in number else int(number) * scale
