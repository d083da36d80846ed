"""Ask a program of the machine, such as a compiler or nvidia-smi, and wait no longer than told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence


def answer(command: Sequence[str], *, seconds: float) -> tuple[int, str]:
    """Run a command in plain English; return its exit status and all output.

    The status is -1, and the output the reason, where it could not be run to its end within `seconds`.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {seconds:.0f} s"
    except OSError as error:
        return -1, str(error)
    return done.returncode, done.stdout
