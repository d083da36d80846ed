"""Words shared by all messages: values as in TOML, quantities with units, no terminal control characters."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)\s*", re.ASCII)

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
BYTES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def quoted(text: str, limit: int = 60) -> str:
    """Return `text` in double quotes on one line, cut at `limit` characters, with control characters escaped."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return '"' + "".join(_escaped(char) for char in cut) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return {"\n": "\\n", "\t": "\\t"}.get(char) or (
        f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
    )


def describe(value: object) -> str:
    """Describe a value of the wrong type for a message."""
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a table" if isinstance(value, dict) else "a date or time"


def number(value: float) -> str:
    """Return a number as TOML writes it, or a description if it is very long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    return repr(value)


# torch's other names of dtypes.
_OF_TORCH = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}


def did_you_mean(word: str, known: Collection[str]) -> str | None:
    """Return `did you mean "x"?` for the nearest known spelling, None when nothing is near."""
    best = _OF_TORCH.get(word)
    if best not in known:
        best = nearest(word, known)
    return f"did you mean {quoted(best)}?" if best else None


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the nearest known spelling, None when nothing is near."""
    return _nearest(word[:60], tuple(known))


@lru_cache(maxsize=1024)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    import difflib  # only needed when something is wrong

    letters = sorted(word.lower())
    if (swapped := next((one for one in known if sorted(one) == letters), None)) is not None:
        return swapped
    matches = difflib.get_close_matches(word.lower(), known, 1, 0.65)
    if matches or len(word) < 3:
        return matches[0] if matches else None
    # "minimum" for "min", "aten" for "core-aten"
    return next((one for one in known if len(one) > 2 and (one in word.lower() or word.lower() in one)), None)


def listing(words: Collection[str]) -> str:
    """Return `a, b, c`."""
    return ", ".join(words)


def clean(text: str) -> str:
    """Return `text` on one line, with control characters escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clean_lines(text: str) -> list[str]:
    """Return the lines of `text`, each cleaned; tabs become spaces."""
    return [clean(line.expandtabs(4)) for line in text.splitlines()]


def first_line(text: str) -> str:
    """Return the first line of `text`."""
    return text.partition("\n")[0]


def format_duration(seconds: float) -> str:
    """Return a duration as `0.4s`, `12.3s`, `2m 03s` or `1h 02m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def approximate_duration(seconds: float, *, guess: bool = False) -> str:
    """Return an estimated duration as `under 1s`, `about 12s`, `about 3 min` or `about 1h 40m`; a guess as `~12s`."""
    if guess:
        return f"~{approximate_duration(seconds).removeprefix('about ').removeprefix('under ')}"
    if seconds < 1:
        return "under 1s"
    if seconds < 89.5:
        return f"about {round(seconds)}s"
    if seconds < 3570:
        return f"about {round(seconds / 60)} min"
    return f"about {format_duration(max(seconds, 3600))}"


def format_bytes(count: float) -> str:
    """Return a size as `512 B`, `1.5 KiB` or `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """Return `1 job` or `2 jobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
