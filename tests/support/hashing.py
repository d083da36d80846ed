"""Which files are hashed: what a test of a cache asks."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from batchexport.core.digests import file_digest


def watched(patch: pytest.MonkeyPatch, module: ModuleType) -> list[str]:
    """The names of the files that `module` reads to hash them, as it does."""
    names: list[str] = []

    def digest(path: str) -> str:
        names.append(os.path.basename(path))
        return file_digest(path)

    patch.setattr(module, "file_digest", digest)
    return names
