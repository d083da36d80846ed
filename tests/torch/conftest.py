from __future__ import annotations

import logging
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from support.exporting import Export, Exported, export


@pytest.fixture(autouse=True)
def _as_a_child_starts() -> None:
    """No test inherits what another left in torch's compiler."""
    torch._dynamo.reset()
    # It warns with a text and arguments that do not fit, which is noise in a child and an error under pytest.
    logging.getLogger("torch._export.serde.serialize").disabled = True


@pytest.fixture
def exported(tmp_path: Path) -> Export:
    """Export the model of an entry, given as its lines. Raises StageFailure."""
    counter = count()

    def make(entry: str, base: dict[str, Any] | None = None) -> Exported:
        return export(tmp_path, tmp_path / f"export-{next(counter)}", entry, base)

    return make
