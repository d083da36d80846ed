"""The README's table of the zoo is what the tool writes."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "zoo_table.py"
ENTRIES = [{"name": "a", "model": "transformers:bert", "head": "MaskedLM"}, {"name": "b", "model": "plain:B"}]
STATS = {"parameter_bytes": 4 * 1_234_567, "op_count": 7}


def test_the_table_in_the_readme_has_the_entries_of_the_manifest() -> None:
    ran = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout


def test_at_least_45_architectures_are_in_the_zoo() -> None:
    entries = tomllib.loads((ROOT / "manifests" / "zoo.toml").read_text())["entry"]
    assert len({entry["model"] for entry in entries}) >= 45
    assert sum("demo" in entry["tags"] for entry in entries) == 12


def test_a_row_tells_what_became_of_an_entry() -> None:
    jobs = [
        {"entry": "a", "ok": True, "stats": STATS},
        {"entry": "b", "ok": False, "stats": None, "expected": True, "error": {"kind": "export"}},
    ]
    assert runpy.run_path(str(TOOL))["rows"](ENTRIES, jobs)[2:] == [
        "| a | `transformers:bert` with `MaskedLM` | 1.2M | 7 | verified |",
        "| b | `plain:B` | 0 |  | expected: export |",
    ]
