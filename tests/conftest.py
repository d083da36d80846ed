from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _toolchains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Precompiled headers are made once for all tests, in no folder of the user's."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base  # by all processes of pytest-xdist
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "user-cache"))
        yield
