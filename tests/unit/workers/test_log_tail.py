"""Log tail: the few lines of a log that say how it ended, however long, odd or absent the log is."""

from __future__ import annotations

from pathlib import Path

from batchexport.workers.log_tail import log_tail


def tail_of(folder: Path, text: str | bytes) -> tuple[str, ...]:
    path = folder / "x.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return log_tail(path)


def test_the_end_of_a_log_is_its_tail(tmp_path: Path) -> None:
    assert tail_of(tmp_path, "".join(f"line {n}\n\n" for n in range(99))) == tuple(f"line {n}" for n in range(93, 99))


def test_the_tail_of_a_crash_report_is_its_head(tmp_path: Path) -> None:
    stack = "".join(f"  File m.py, line {n}\n" for n in range(50)) + "Extension modules: " + "numpy, " * 1000
    lines = tail_of(
        tmp_path, f"before\nFatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n{stack}"
    )
    assert lines[0] == "Fatal Python error: Aborted"
    assert lines[2] == "  File m.py, line 0"
    assert len(lines) == 6


def test_long_lines_and_binary_data_are_cut(tmp_path: Path) -> None:
    lines = tail_of(tmp_path, b"\xff" * 10_000_000 + b"\nlast\n")
    assert lines[-1] == "last"
    assert all(len(line) <= 200 for line in lines)


def test_an_empty_or_missing_log_has_no_tail(tmp_path: Path) -> None:
    assert tail_of(tmp_path, "") == ()
    assert log_tail(tmp_path / "none.log") == ()
