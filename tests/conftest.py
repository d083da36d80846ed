from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import settled as settled_project
from support.projects import Project


@pytest.fixture(scope="session", autouse=True)
def _toolchains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Precompiled headers are made once for all tests, in no folder of the user's."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base  # by all processes of pytest-xdist
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "user-cache"))
        yield


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return settled_project.build(tmp_path_factory.mktemp("settled"))


@pytest.fixture
def settled(built_once: Project) -> Iterator[Project]:
    """A project whose every job is built. A test may change its files: they are put back."""
    yield from settled_project.restored(built_once)
