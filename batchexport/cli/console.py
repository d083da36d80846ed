"""Print results to standard output and errors to standard error, whole lines at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO


def echo(lines: Iterable[str], *, to: TextIO | None = None) -> None:
    """Print lines to standard output, or to another stream; nothing if the reader has closed the pipe."""
    from batchexport.cli.progress import silence

    stream = to or sys.stdout
    try:
        for line in lines:
            stream.write(f"{line}\n")
        stream.flush()
    except BrokenPipeError:  # a reader such as `head` has read enough; this is no error
        silence(stream)
    except OSError as error:  # a full disk, say
        from batchexport.core.errors import EnvironmentProblem

        silence(stream)
        raise EnvironmentProblem(f"can't write the output: {error.strerror}") from None


def echo_error(message: str) -> None:
    """Print an error."""
    from batchexport.cli.render import error_lines

    echo([])  # flush earlier output first
    sys.stderr.write("".join(f"{line}\n" for line in error_lines(message)))


def echo_json_or_text(as_json: bool, plain: Any, lines: Iterable[str]) -> None:
    """Print data as JSON, or its rendered lines."""
    if as_json:
        import json

        lines = [json.dumps(plain, indent=2)]
    echo(lines)
