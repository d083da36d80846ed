"""Completion in real shells, installed as `batchexport completion --help` says to."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.projects import GUARD

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
# Prints the words that a completed line gave it; all else is the real command.
STUB = f"""#!/bin/sh
if [ "$1" = show ] || [ "$1" = run ]; then
    [ -z "$_BATCHEXPORT_COMPLETE" ] && exec printf 'GOT %s\\n' "$*"
fi
exec '{sys.executable}' -m batchexport "$@"
"""
MANIFEST = """
schema = 1
[[entry]]
name = "mlp"
model = "m:f"
inputs = [1]
[[entry]]
name = "conv"
model = "m:f"
inputs = [1]
[entry.matrix]
"kwargs.layers" = [4, 12]
dtype = ["float32", "bfloat16"]
"""
LINES = {
    "batchexport sh\tm.to\tmlp@\t": "show m.toml mlp@cpu",  # readline breaks words at @
    "batchexport show m.toml mlp@c\t": "show m.toml mlp@cpu",
    "batchexport show m.toml 'conv[layers=4,f\t": "show m.toml conv[layers=4,float32]@cpu",
    "batchexport run m.toml -k 'a or b' --onl\tml\t": "run m.toml -k a or b --only mlp@cpu",
}
UNQUOTED = {
    "bash": "batchexport show m.toml conv[layers=12,b\t",
    "zsh": "batchexport show m.toml conv\\[layers=12,b\t",
}


def installed(shell: str, folder: Path) -> dict[str, str]:
    """Make a home where completion is installed by the command of the help; return its environment."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = folder / "bin" / "batchexport"
    program.parent.mkdir()
    program.write_text(STUB)
    program.chmod(0o755)
    (folder / "m.toml").write_text(MANIFEST)
    home = folder / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }
    if shell == "fish":
        (home / ".config" / "fish").mkdir(parents=True)  # as fish does when it is first started
    told = subprocess.check_output(["batchexport", "completion", "--help"], env=environment, text=True)
    (line,) = re.findall(rf"{shell}: +(.*)", told)
    subprocess.run(["sh", "-c", line], env=environment, check=True)
    return environment


def typed(shell: str, lines: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Type lines into an interactive shell; return what the command said to each."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(shell, [shell, "-i"], environment)
    shown = ""

    def wait_for(pattern: str) -> list[str]:
        nonlocal shown
        end = time.monotonic() + GUARD
        while not (found := re.findall(pattern, shown)):
            assert time.monotonic() < end and select.select([terminal], [], [], GUARD)[0], shown
            shown += os.read(terminal, 4096).decode(errors="replace")
        return found

    try:
        os.write(terminal, b"PS1=; echo REA''DY\n")
        wait_for(r"READY\r")
        said = []
        for line in lines:
            shown = ""
            os.write(terminal, line.encode() + b"\n")
            said.append(wait_for(r"GOT (.*?) ?\r")[0])
        return said
    finally:
        os.close(terminal)  # the shell gets SIGHUP
        os.waitpid(pid, 0)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_files_and_jobs(shell: str, tmp_path: Path) -> None:
    environment = installed(shell, tmp_path)
    said = typed(shell, [*LINES, UNQUOTED[shell]], tmp_path, environment)
    assert said == [*LINES.values(), "show m.toml conv[layers=12,bfloat16]@cpu"]


def test_fish_completes_commands_options_files_and_jobs(tmp_path: Path) -> None:
    environment = installed("fish", tmp_path)
    lines = {
        "batchexport sh": "show",
        "batchexport show m.to": "m.toml",
        "batchexport run m.toml -k 'a or b' --onl": "--only",
        "batchexport run m.toml --only ml": "mlp@cpu",
        "batchexport show m.toml conv[layers=12,b": "conv[layers=12,bfloat16]@cpu",
    }
    words = ["fish", "-c", 'for line in $argv; complete -C "$line"; end', *lines]
    said = subprocess.check_output(words, cwd=tmp_path, env=environment, text=True, timeout=GUARD)
    assert [one.partition("\t")[0] for one in said.splitlines()] == list(lines.values())
