"""`batchexport init` as a person meets it: the real command, one fork server for a folder of models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchexport.manifest import resolve
from support.terminal import on_a_terminal

pytestmark = pytest.mark.process

MODELS = """
import os, sys
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
    def forward(self, x):
        return self.linear(x)

class Needs(Net):
    def __init__(self, width):
        super().__init__()

class Crashes(Net):
    def __init__(self):
        os.abort()

class Exits(Net):
    def __init__(self):
        sys.exit(3)
"""


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "batchexport", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_folder_gets_an_entry_for_each_model(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    made = command(tmp_path, "init", ".")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == "next: batchexport run manifest.toml"
    assert "left out models:Crashes: building or calling it killed its process (SIGABRT)" in made.stdout
    assert "left out models:Exits: building models:Exits: it called sys.exit(3)" in made.stdout
    assert "missing 1 required positional argument: 'width'" in made.stdout
    assert "Traceback" not in made.stdout + made.stderr
    (job,) = resolve.load(tmp_path / "manifest.toml").jobs
    assert (job.name, list(job.export.dims)) == ("net@cpu", ["batch"])
    again = command(tmp_path, "init", ".")
    assert (again.returncode, again.stderr) == (
        2,
        "error: manifest.toml exists; use --output for another file, or --force to overwrite it\n",
    )


def test_a_project_to_start_from_needs_no_process(tmp_path: Path) -> None:
    made = command(tmp_path, "init")
    assert (made.returncode, made.stdout) == (
        0,
        "wrote models.py and manifest.toml\nnext: batchexport run manifest.toml\n",
    )
    assert command(tmp_path, "plan", "manifest.toml").returncode == 0


def test_a_file_in_the_place_of_a_model_names_its_classes(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    refused = command(tmp_path, "init", "models.py")
    assert refused.returncode == 2
    assert "it has models:Net, models:Needs" in refused.stderr
    assert not (tmp_path / "manifest.toml").exists()


def test_on_a_terminal_it_asks_for_file_class_and_largest_size(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "manifest.toml").write_text("mine")
    words = [sys.executable, "-P", "-m", "batchexport", "init", "models"]
    with on_a_terminal(words, tmp_path, os.environ) as terminal:
        terminal.wait_for(r"manifest\.toml exists; write to \[manifest-2\.toml\]: ")
        terminal.type("manifest.toml")
        terminal.wait_for(r"overwrite manifest\.toml \[y/N\]: ")
        terminal.type("n")
        terminal.wait_for(r"write to \[manifest-2\.toml\]: ")
        terminal.type("other.toml")
        terminal.wait_for(r"which class \(Net, Needs, Crashes, Exits\) \[Net\]: ")
        terminal.type("")
        terminal.wait_for(r"largest batch that must work \[16\]: ")
        terminal.type("2")
        terminal.wait_for(r"not in the range x>=3")
        terminal.type("100")
        terminal.wait_for(r"next: batchexport run other\.toml")
    (job,) = resolve.load(tmp_path / "other.toml").jobs
    assert (job.export.model, job.export.dims["batch"]["max"]) == ("models:Net", 100)
    assert (tmp_path / "manifest.toml").read_text() == "mine"


def test_nothing_is_asked_with_yes_or_where_nobody_can_answer(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    refused = command(tmp_path, "init", "models")  # its output is no terminal
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "it has models:Net, models:Needs" in refused.stderr
    with on_a_terminal(
        [sys.executable, "-P", "-m", "batchexport", "init", "--yes", "models"], tmp_path, os.environ
    ) as one:
        one.wait_for(r"error: MODEL: .*it has models:Net")
