from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import settled as settled_project
from support.projects import Project


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return settled_project.build(tmp_path_factory.mktemp("settled"))


@pytest.fixture
def settled(built_once: Project) -> Iterator[Project]:
    """A project whose every job is built. A test may change its files: they are put back."""
    yield from settled_project.restored(built_once)
