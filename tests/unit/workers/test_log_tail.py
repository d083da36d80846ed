"""Last words: the few lines of a log that tell how it ended, however long, odd or absent the log is."""

from __future__ import annotations

from pathlib import Path

from batchexport.workers.exit_status import log_tail


def said(folder: Path, text: str | bytes) -> tuple[str, ...]:
    path = folder / "x.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return log_tail(path)


def test_the_end_of_a_log_is_told(tmp_path: Path) -> None:
    assert said(tmp_path, "".join(f"line {n}\n\n" for n in range(99))) == tuple(f"line {n}" for n in range(93, 99))


def test_of_a_crash_its_head_is_told(tmp_path: Path) -> None:
    tail = "".join(f"  File m.py, line {n}\n" for n in range(50)) + "Extension modules: " + "numpy, " * 1000
    words = said(
        tmp_path, f"before\nFatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n{tail}"
    )
    assert words[0] == "Fatal Python error: Aborted"
    assert words[2] == "  File m.py, line 0"
    assert len(words) == 6


def test_what_is_long_or_no_text_is_cut_short(tmp_path: Path) -> None:
    words = said(tmp_path, b"\xff" * 10_000_000 + b"\nlast\n")
    assert words[-1] == "last"
    assert all(len(word) <= 200 for word in words)


def test_where_nothing_was_said_there_are_no_words(tmp_path: Path) -> None:
    assert said(tmp_path, "") == ()
    assert log_tail(tmp_path / "none.log") == ()
