"""Every case of torch's exportdb in one run of the product."""

from __future__ import annotations

from pathlib import Path

import pytest
from exportdb import table
from exportdb.cases import CASES

pytestmark = pytest.mark.process


def test_every_case_is_as_torch_says(tmp_path: Path) -> None:
    rows = table.run(tmp_path, list(CASES))
    assert len(rows) == len(CASES)
    assert [one for one in rows if not one.is_right] == []
