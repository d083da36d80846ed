"""Run tools/fault_injection/chaos.py for a short while; runs at the same time are in test_at_once.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import GUARD

pytestmark = pytest.mark.process

TOOL = Path(__file__).parents[2] / "tools" / "fault_injection" / "chaos.py"
SHORT = {
    "kills": ("--count", "2", "--compile-every", "0"),
    "flips": ("--count", "4", "--a-round", "20"),
    "disk": ("--disks", "1"),
}


@pytest.mark.skipif(not TOOL.exists(), reason="the tools are not in a source distribution")
@pytest.mark.parametrize("part", SHORT)
def test_after_some_chaos_every_output_is_right_and_nothing_is_left_behind(part: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, str(TOOL), "--part", part, *SHORT[part], "--seed", "11", "--json", str(report)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(report.read_text())["parts"][part]
    if "skipped" in result:
        pytest.skip(result["skipped"])
    assert result["wrong"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
