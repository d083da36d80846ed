"""Completion in real shells, installed as `batchexport completion --help` says to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import ROOT, to_run
from support.projects import GUARD
from support.terminal import on_a_terminal

pytestmark = pytest.mark.process

(GUIDE,) = to_run("docs/guide.md", "tests/process/test_completion.py", language="sh")
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
    assert line in GUIDE.text.splitlines()
    subprocess.run(["sh", "-c", line], env=environment, check=True)
    return environment


def typed(shell: str, lines: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Type lines into an interactive shell; return what the command said to each."""
    said = []
    with on_a_terminal([shell, "-i"], folder, environment) as terminal:
        terminal.type("PS1=; echo REA''DY")
        terminal.wait_for(r"READY\r")
        for line in lines:
            terminal.type(line)
            said.append(terminal.wait_for(r"GOT (.*?) ?\r")[1])
    return said


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
