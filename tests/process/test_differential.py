"""Run tools/differential/check.py for a short while: cached runs equal clean builds, and do no more work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.torch]
TOOL = Path(__file__).parents[2] / "tools/differential/check.py"


def test_no_edit_leaves_a_wrong_hit_or_needless_work(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--edits", "24", "--seed", "7", "--together", "8", "--compile-every", "0"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "report.json")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["done"] == 24
    assert report["findings"] == []
    assert len(report["kinds"]) >= 20
