from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from batchexport.store import toolchains
from batchexport.store.compiler_cache import CompilerCache
from batchexport.store.toolchains import spent_toolchains, toolchain_folder, toolchains_root

NOW = time.time()
DAY = 86400.0


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return toolchains_root()


def used(root: Path, name: str, *, days: float, size: int = 100) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "header.gch").write_bytes(b"x" * size)
    os.utime(folder, (NOW - days * DAY,) * 2)
    return folder


def test_two_projects_share_the_folder_of_a_toolchain(root: Path, tmp_path: Path) -> None:
    first = toolchain_folder("a", tmp_path / "one" / "inductor")
    assert toolchain_folder("a", tmp_path / "two" / "inductor") == first == root / "a"
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def test_two_toolchains_share_nothing(tmp_path: Path) -> None:
    assert toolchain_folder("a", tmp_path) != toolchain_folder("b", tmp_path)


def test_one_setting_puts_results_and_toolchains_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHEXPORT_CACHE_DIR", str(tmp_path / "ci"))
    assert toolchain_folder("a", tmp_path / "fallback") == tmp_path / "ci" / "toolchains" / "a"


def test_a_folder_that_cannot_be_made_is_replaced_by_the_project_s_own(root: Path, tmp_path: Path) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("a file in its place")
    assert toolchain_folder("a", tmp_path / "fallback") == tmp_path / "fallback"


def test_a_folder_that_others_may_write_is_not_taken(root: Path, tmp_path: Path) -> None:
    used(root, "a", days=1).chmod(0o777)
    assert toolchain_folder("a", tmp_path / "fallback") == tmp_path / "fallback"


def test_a_link_is_not_taken(root: Path, tmp_path: Path) -> None:
    (root / "a").parent.mkdir(parents=True)
    (root / "a").symlink_to(used(root, "elsewhere", days=1))
    assert toolchain_folder("a", tmp_path / "fallback") == tmp_path / "fallback"


def test_gc_takes_the_toolchains_that_were_not_used_for_a_month(root: Path) -> None:
    old = used(root, "old", days=31)
    used(root, "new", days=29)
    assert spent_toolchains(NOW) == [(old, 100)]


def test_gc_takes_the_oldest_toolchains_where_all_are_too_large(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchains, "_BYTES", 250)
    older, _, _ = used(root, "a", days=9), used(root, "b", days=8), used(root, "c", days=0.1)
    assert [path for path, _ in spent_toolchains(NOW)] == [older]


def test_gc_leaves_a_toolchain_in_use_alone(root: Path) -> None:
    folder = used(root, "a", days=1)
    running = CompilerCache(folder)
    running.open()
    os.utime(folder, (NOW - 40 * DAY,) * 2)
    assert spent_toolchains(NOW) == []
    running.close()
    os.utime(folder, (NOW - 40 * DAY,) * 2)
    assert [path for path, _ in spent_toolchains(NOW)] == [folder]


def test_gc_finds_nothing_where_there_is_no_folder() -> None:
    assert spent_toolchains(NOW) == []


def test_using_a_toolchain_dates_it(root: Path, tmp_path: Path) -> None:
    used(root, "a", days=31)
    toolchain_folder("a", tmp_path)
    assert spent_toolchains(NOW) == []
