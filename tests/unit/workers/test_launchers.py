from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from batchexport.workers.launchers import LOG, installed_launcher, log_variable, wrapper_outcome


def test_a_launcher_bears_the_compiler_s_name_and_is_made_once(tmp_path: Path) -> None:
    first = installed_launcher(str(tmp_path), "/usr/bin/clang++")
    assert first is not None
    assert os.path.basename(first) == "clang++"
    before = os.stat(first).st_mtime_ns
    assert installed_launcher(str(tmp_path), "/usr/bin/clang++") == first
    assert os.stat(first).st_mtime_ns == before
    assert installed_launcher(str(tmp_path), "/opt/bin/clang++") != first


def test_every_other_command_is_the_compiler_s(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text('#!/bin/sh\necho "$0 $@"\nexit 3\n')
    compiler.chmod(0o755)
    launcher = installed_launcher(str(tmp_path), str(compiler))
    assert launcher is not None
    command = [launcher, "-O3", "a b.cpp", "-o", "c.so"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{compiler} -O3 a b.cpp -o c.so\n", 3)


def test_there_is_none_without_a_compiler_or_where_inductor_would_split_its_path(tmp_path: Path) -> None:
    assert installed_launcher(str(tmp_path), None) is None
    assert installed_launcher(str(tmp_path / "a folder"), "/usr/bin/g++") is None


def test_there_is_none_where_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "launchers").write_text("in the way")
    assert installed_launcher(str(tmp_path), "/usr/bin/g++") is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], None),
        ([{"outcome": "joined", "why": None}], "parts"),
        ([{"outcome": "whole", "why": "unknown form"}], "whole: unknown form"),
    ],
)
def test_a_stage_tells_how_its_wrapper_was_compiled(tmp_path: Path, rows: list[object], told: str | None) -> None:
    Path(log_variable(str(tmp_path))[LOG]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert wrapper_outcome(str(tmp_path)) == told


def test_a_stage_that_started_no_compiler_tells_nothing(tmp_path: Path) -> None:
    assert wrapper_outcome(str(tmp_path)) is None
