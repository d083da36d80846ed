"""docs/examples as docs/python.md and docs/cpp.md say to run it: one delivered package, called from Python and C++."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.pages import ROOT, to_run
from support.projects import GUARD

pytestmark = [pytest.mark.process, pytest.mark.torch]

THIS = "tests/process/test_examples.py"
CHECKED = {"AOTI_RUNTIME_CHECK_INPUTS": "1"}


def done(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    tools = [str(folder / "bin"), str(Path(sys.executable).parent)]  # cmake and python are in the second
    path = os.pathsep.join([*tools, os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=GUARD, check=False
    )


def test_a_package_is_delivered_by_the_python_example_and_called_by_both(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "docs" / "examples", tmp_path / "examples")
    delivered = done(folder, sys.executable, "deliver.py", "manifest.toml")
    assert delivered.returncode == 0, delivered.stdout + delivered.stderr
    assert delivered.stdout.splitlines() == [
        "mlp@cpu: export, compile, verify to run",
        "mlp@cpu: export (never built)",
        "mlp@cpu: compile (never compiled)",
        "mlp@cpu: verify (this artifact was not verified yet)",
        "mlp@cpu: ok [1/1]",
        "by position and by name: True",
    ]
    package = folder / "dist" / "mlp@cpu" / "compiled.pt2"
    text = "\n".join(block.text for block in to_run("docs/python.md", THIS, language="python"))
    called = done(folder, sys.executable, "-c", text)
    assert (called.returncode, called.stdout) == (0, "mlp@cpu up to date\nmlp@cpu True None\n"), called.stderr

    # What docs/python.md says that plain torch answers.
    model = torch._inductor.aoti_load_package(str(package))
    inputs = {"x": torch.full((3, 16), 0.5), "mask": torch.ones(3, 4)}
    with pytest.raises(ValueError, match=r"Got the following keywords \[\] but expected \['x', 'mask'\]"):
        model(*inputs.values())
    expected = model(**inputs).sum().item()

    program = folder / "bin" / "batchexport"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m batchexport \"$@\"\n")
    program.chmod(0o755)
    (block,) = to_run("docs/cpp.md", THIS, language="sh")
    called = done(folder, "bash", "-ec", block.text)
    assert called.returncode == 0, called.stdout + called.stderr
    shape, _, total = called.stdout.splitlines()[-1].rpartition(" ")
    assert (shape, float(total)) == ("[3, 4]", pytest.approx(expected, rel=1e-4))

    refused = done(folder, "build/call_package", str(package), "65", **CHECKED)
    assert refused.returncode == 1
    assert "input_handles[0]: dim value is too large at 0, expected to be <= 64, but got: 65" in refused.stderr
    missing = done(folder, "build/call_package", "nowhere.pt2")
    assert (missing.returncode, missing.stderr) == (1, "Failed to initialize zip archive: file open failed\n")
