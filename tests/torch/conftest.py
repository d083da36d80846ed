from __future__ import annotations

import getpass
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import codecache

from support.exporting import Export, Exported, export
from support.tools import inductor_folders


@pytest.fixture(scope="session", autouse=True)
def _compilers(_toolchains: None) -> Iterator[None]:
    """Share precompiled headers and probes with the tests that start the product."""
    folders = inductor_folders()
    headers = Path(folders["TMPDIR"], f"torchinductor_{getpass.getuser()}", "precompiled_headers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", folders["TORCHINDUCTOR_CACHE_DIR"])
        patch.setattr(codecache, "_HEADER_DIR", str(headers))
        patch.setattr(codecache, "_HEADER_LOCK_DIR", str(headers / "locks"))
        yield


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
