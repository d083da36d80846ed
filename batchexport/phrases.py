"""Times, sizes, counts and foreign text have one way to be shown, safe on any terminal."""

from __future__ import annotations


def clean(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clean_lines(text: str) -> list[str]:
    """The lines of `text`, each clean; tabs become spaces."""
    return [clean(line.expandtabs(4)) for line in text.splitlines()]


def duration(seconds: float) -> str:
    """`0.4s`, `12.3s`, `2m 03s`, `1h 02m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def about(seconds: float) -> str:
    """A guess, no more exact than a guess is: `under 1s`, `about 12s`, `about 3 min`, `about 1h 40m`."""
    if seconds < 1:
        return "under 1s"
    if seconds < 89.5:
        return f"about {round(seconds)}s"
    if seconds < 3570:
        return f"about {round(seconds / 60)} min"
    return f"about {duration(max(seconds, 3600))}"


def size(count: float) -> str:
    """`512 B`, `1.5 KiB`, `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
