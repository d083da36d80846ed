"""What the fork server finds out for its children."""

from __future__ import annotations

import sys
import types
from typing import ClassVar

import pytest

from batchexport.dependencies import preloaded
from batchexport.dependencies.preloaded import Preloaded


class Installed:
    """Stands in for the installed distributions, which own every file."""

    owners: ClassVar[dict[object, list[object]]] = {}

    def of_file(self, path: str) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(name="someone")]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Preloaded:
    monkeypatch.setattr(preloaded, "PRELOADED", Preloaded())
    monkeypatch.setattr(preloaded, "installed", Installed)
    preloaded.take_stock()
    return preloaded.PRELOADED


def test_a_module_is_known_as_long_as_it_is_the_same(taken: Preloaded) -> None:
    known = taken.get("pytest", sys.modules["pytest"])
    assert known is not None
    assert known.path == pytest.__file__
    assert known.owners == ("someone",)
    assert taken.get("pytest", types.ModuleType("pytest")) is None
    assert taken.get("imported_later", types.ModuleType("imported_later")) is None


def test_no_model_depends_on_batchexport_wherever_it_is_installed(taken: Preloaded) -> None:
    known = taken.get("batchexport", sys.modules["batchexport"])
    assert known is not None
    assert known.owners == ()


def test_nothing_is_known_without_a_fork_server() -> None:
    assert Preloaded().get("pytest", sys.modules["pytest"]) is None
    assert Preloaded().readers is None
