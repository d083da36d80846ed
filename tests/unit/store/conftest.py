from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchexport.store.store import Store

Key = Callable[[str], str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def key() -> Key:
    """A valid key made of any word."""
    return lambda word: hashlib.sha256(word.encode()).hexdigest()


@pytest.fixture
def artifact(store: Store) -> Callable[[bytes], Path]:
    """A file in staging, as a finished stage leaves it."""

    def write(data: bytes) -> Path:
        path = store.attempt("job") / "artifact"
        path.write_bytes(data)
        return path

    return write
