"""What torch's exportdb calls supported is exported and verified; the cases are not of our own imagination."""

from __future__ import annotations

import pytest

from support.exportdb import CASES, SUPPORTED
from support.exporting import Export

pytestmark = pytest.mark.torch


def test_exportdb_is_there() -> None:
    assert len(SUPPORTED) >= 30


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_supported_case_is_exported_and_verified(exported: Export, name: str) -> None:
    assert CASES[name].model is not None
    made = exported(f'model = "support.exportdb:model_{name}"\ninputs = "support.exportdb:inputs_{name}"')
    made.verify()
