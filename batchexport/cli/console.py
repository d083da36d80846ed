"""What a command prints: results on standard output, complaints on standard error, each line whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def echo(lines: Iterable[str]) -> None:
    """Print lines; to whom nobody listens any more, nothing."""
    from batchexport.cli.progress import silence

    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output had enough, as `head` does: no error
        silence(sys.stdout)


def echo_error(message: str) -> None:
    """Print what is wrong."""
    from batchexport.cli.render import error_lines

    echo([])  # what was printed so far comes first
    sys.stderr.write("".join(f"{line}\n" for line in error_lines(message)))


def echo_json_or_text(as_json: bool, plain: Any, lines: Iterable[str]) -> None:
    """Print plain data as JSON, or else the lines that say the same."""
    if as_json:
        import json

        lines = [json.dumps(plain, indent=2)]
    echo(lines)
