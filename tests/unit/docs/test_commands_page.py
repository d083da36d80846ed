"""docs/commands.md is what tools/docs/commands.py writes."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_of_commands_is_current() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "docs" / "commands.py"))["page"]()
    current = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert current == written, "python tools/docs/commands.py writes it"
