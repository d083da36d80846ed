"""Run tools/fuzz/check.py for a short while: what is delivered is right, and what is refused is refused rightly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.torch]
TOOL = Path(__file__).parents[2] / "tools/fuzz/check.py"


def test_random_models_are_delivered_right_or_refused_rightly(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--models", "5", "--seed", "4", "--compile-every", "0"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "report.json")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["findings"] == []
    assert report["verdicts"]["ok"] >= 3
