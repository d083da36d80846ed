"""Commands of batchexport in one process, which keeps its fork servers: only the first run waits for torch.

What is under test is the command all the same: arguments in, exit code, output and files out. Tests about processes
start a command of their own instead; see `Project.run_alone`.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class _Process:
    popen: subprocess.Popen[str] | None = None


_process = _Process()


def command(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run `batchexport` with these arguments in `folder`; return exit code, standard output and standard error."""
    popen = _started()
    assert popen.stdin is not None and popen.stdout is not None
    popen.stdin.write(json.dumps([list(arguments), str(folder), dict(environment)]) + "\n")
    popen.stdin.flush()
    answer = popen.stdout.readline()
    assert answer, "the process that serves commands has ended"
    code, out, err = json.loads(answer)
    return code, out, err


def _started() -> subprocess.Popen[str]:
    if _process.popen is None or _process.popen.poll() is not None:
        _process.popen = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(_end, _process.popen)
    return _process.popen


def _end(popen: subprocess.Popen[str]) -> None:
    if popen.stdin is not None:
        popen.stdin.close()
    popen.wait()


def _serve() -> None:
    """Run each command that comes on standard input, a line each; answer on standard output, a line each."""
    from batchexport.api import kept_servers

    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    with kept_servers() as servers:
        for line in questions:
            arguments, folder, environment = json.loads(line)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            answers.write(json.dumps(_run(arguments, servers)) + "\n")
            answers.flush()
            os.chdir("/")


def _run(arguments: Sequence[str], servers: Any) -> tuple[int, str, str]:
    from batchexport.cli.main import cli

    outputs = [os.memfd_create(name) for name in ("out", "err")]
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(output, descriptor)
    code: Any = 0
    try:
        cli.main(list(arguments), prog_name="batchexport", obj=servers)
    except SystemExit as end:
        code = end.code or 0
    texts = []
    for stream, output in zip((sys.stdout, sys.stderr), outputs, strict=True):
        stream.flush()
        os.lseek(output, 0, os.SEEK_SET)
        with os.fdopen(output, "rb") as file:
            texts.append(file.read().decode("utf-8", errors="replace"))
    return int(code), texts[0], texts[1]


if __name__ == "__main__":
    _serve()
