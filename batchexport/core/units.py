"""Parse quantities with a unit: durations and sizes in bytes."""

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
    """Parse a duration such as `"90s"` or `"1.5h"`; return seconds. Raises ValueError for another form."""
    return _scaled(text, SECONDS)


def parse_bytes(text: str) -> int:
    """Parse a size such as `"50GiB"` or `"500MB"`; return bytes. Raises ValueError for another form."""
    return int(_scaled(text, BYTES))


def _scaled(text: str, units: dict[str, int]) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"no quantity: {text}")
    number, scale = match[1], units[match[2]]
    # Whole numbers stay whole: a float would round sizes above 2**53.
    return float(number) * scale if "." in number else int(number) * scale
