"""The checker: a recorded dependency is unchanged, or the change is described in words."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchexport.core.digests import bytes_digest, file_digest, listing_digest, text_digest, tree_digest
from batchexport.dependencies import file_digests
from batchexport.dependencies.checker import (
    CheckedFiles,
    DependencyChecker,
    location_digest,
    relative_to,
)
from batchexport.dependencies.dependency import Dependency, Row
from batchexport.store import statcache
from batchexport.store.store import Store
from support import builders
from support.hashing import watched

SOURCE = b"x = 1  # one\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


@pytest.fixture
def change(tmp_path: Path, root: Path, site: Path) -> Callable[..., str | None]:
    """Check a dependency as a new command does, which remembers nothing but what the store does."""
    store = Store.open(tmp_path / "cache")

    def change(*dependency: Any) -> str | None:
        return builders.checker(store, root, (str(site),)).change_reason(dependency)

    return change


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read to be hashed."""
    return watched(monkeypatch, file_digests)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make all files that are there now old enough to be remembered."""

    def pass_by() -> None:
        now = time.time()
        monkeypatch.setattr(statcache, "time", SimpleNamespace(time=lambda: now + 60))

    return pass_by


def source(path: Path) -> tuple[str, str, str, str]:
    data = path.read_bytes()
    return ("source", path.name, bytes_digest(data), tree_digest(data))


def recorded(root: str, rows: Iterable[Row], path: Sequence[str]) -> list[Row]:
    """The rows that are stored of the rows that a child observed."""
    found = relative_to(root, map(Dependency.from_row, rows), path)
    return [dependency.to_row() for dependency in found]


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_an_unedited_source_is_unchanged(root: Path, change: Callable[..., str | None]) -> None:
    (root / "m.py").write_bytes(SOURCE)
    assert change(*source(root / "m.py")) is None


def test_a_source_whose_bytes_changed_but_whose_tree_did_not_is_unchanged(
    root: Path, change: Callable[..., str | None]
) -> None:
    (root / "m.py").write_bytes(SOURCE)
    then = source(root / "m.py")
    (root / "m.py").write_bytes(b"# a comment\nx   =   1\n")
    assert change(*then) is None
    assert change(*then) is None, "also when the tree is remembered"


def test_a_source_whose_tree_changed_has_changed(root: Path, change: Callable[..., str | None]) -> None:
    (root / "m.py").write_bytes(SOURCE)
    then = source(root / "m.py")
    (root / "m.py").write_bytes(b"x = 2  # one\n")
    assert change(*then) == "source: m.py changed"
    assert change(*then) == "source: m.py changed", "also when the tree is remembered"


def test_an_edit_between_digest_and_tree_is_not_remembered_as_the_tree_of_the_digest(
    root: Path, change: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "m.py"
    path.write_bytes(SOURCE)
    then = source(path)
    path.write_bytes(b"x = 1000")

    def edited_at_once(name: str) -> str:
        digest = file_digest(name)
        path.write_bytes(SOURCE)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(file_digests, "file_digest", edited_at_once)
        change(*then)
    path.write_bytes(b"x = 1000")
    assert change(*then) == "source: m.py changed"


@pytest.mark.parametrize(("kind", "label"), [("file", "data"), ("weights", "weights")])
def test_any_other_file_counts_with_every_byte(
    root: Path, change: Callable[..., str | None], kind: str, label: str
) -> None:
    (root / "data.py").write_bytes(SOURCE)
    then = bytes_digest(SOURCE)
    assert change(kind, "data.py", then) is None
    (root / "data.py").write_bytes(SOURCE + b"#")
    assert change(kind, "data.py", then) == f"{label}: data.py changed"


@pytest.mark.parametrize("kind", ["source", "file", "weights"])
def test_a_file_that_is_gone_or_no_file_has_changed(root: Path, change: Callable[..., str | None], kind: str) -> None:
    assert "x is gone" in str(change(kind, "x", "digest", "digest"))
    (root / "x").mkdir()
    assert "x can't be read" in str(change(kind, "x", "digest", "digest"))


def test_an_absolute_path_is_not_joined_to_the_root(tmp_path: Path, change: Callable[..., str | None]) -> None:
    (tmp_path / "far").write_bytes(b"far")
    assert change("file", str(tmp_path / "far"), bytes_digest(b"far")) is None


def test_an_old_file_is_hashed_once_and_then_known_by_its_stat(
    root: Path, change: Callable[..., str | None], hashed: list[str], later: Callable[[], None]
) -> None:
    (root / "data").write_bytes(b"data")
    later()
    for _ in range(3):
        assert change("file", "data", bytes_digest(b"data")) is None
    assert hashed == ["data"]


def test_a_file_younger_than_two_seconds_is_hashed_every_time(
    root: Path, change: Callable[..., str | None], hashed: list[str]
) -> None:
    (root / "data").write_bytes(b"data")
    for _ in range(3):
        assert change("file", "data", bytes_digest(b"data")) is None
    assert hashed == ["data"] * 3


def test_new_content_of_the_same_size_under_an_older_time_is_noticed(
    root: Path, change: Callable[..., str | None], later: Callable[[], None]
) -> None:
    path = root / "data"
    path.write_bytes(b"data")
    then = path.stat()
    later()
    assert change("file", "data", bytes_digest(b"data")) is None
    path.write_bytes(b"atad")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert path.stat().st_mtime_ns == then.st_mtime_ns
    assert change("file", "data", bytes_digest(b"data")) == "data: data changed"


def test_another_file_moved_into_place_with_the_same_size_and_time_is_noticed(
    root: Path, change: Callable[..., str | None], later: Callable[[], None]
) -> None:
    path, other = root / "data", root / "other"
    path.write_bytes(b"data")
    other.write_bytes(b"atad")
    then = path.stat()
    os.utime(other, ns=(then.st_atime_ns, then.st_mtime_ns))
    later()
    assert change("file", "data", bytes_digest(b"data")) is None
    other.replace(path)
    assert change("file", "data", bytes_digest(b"data")) == "data: data changed"


def test_a_restored_older_file_is_unchanged(
    root: Path, change: Callable[..., str | None], later: Callable[[], None]
) -> None:
    path = root / "data"
    path.write_bytes(b"old")
    os.utime(path, (1, 1))
    later()
    assert change("file", "data", bytes_digest(b"old")) is None
    path.write_bytes(b"new")
    assert change("file", "data", bytes_digest(b"old")) == "data: data changed"
    path.write_bytes(b"old")
    os.utime(path, (1, 1))
    assert change("file", "data", bytes_digest(b"old")) is None


def test_a_link_is_followed_to_its_present_target(root: Path, change: Callable[..., str | None]) -> None:
    for name in ("one", "two"):
        (root / name).write_text(name)
    (root / "link").symlink_to("one")
    assert change("file", "link", bytes_digest(b"one")) is None
    (root / "link").unlink()
    (root / "link").symlink_to("two")
    assert change("file", "link", bytes_digest(b"one")) == "data: link changed"


# ── folders and existence ────────────────────────────────────────────────────────────────────────


def test_a_listing_changes_with_its_names_and_not_with_the_files(root: Path, change: Callable[..., str | None]) -> None:
    (root / "a").write_text("a")
    then = listing_digest(str(root))
    assert change("listing", ".", then) is None
    (root / "a").write_text("b")
    (root / "__pycache__").mkdir()
    assert change("listing", ".", then) is None
    (root / "b").touch()
    assert change("listing", ".", then) == "the files in folder . changed"
    assert change("listing", "none", then) == "folder none is gone"


def test_an_absent_path_may_not_appear(root: Path, change: Callable[..., str | None]) -> None:
    assert change("absent", "models/__init__.py") is None
    (root / "models").mkdir()
    assert change("absent", "models/__init__.py") is None
    (root / "models/__init__.py").symlink_to("nowhere")
    assert change("absent", "models/__init__.py") == "models/__init__.py appeared"


def test_a_present_path_may_not_vanish(root: Path, change: Callable[..., str | None]) -> None:
    (root / "flag").touch()
    assert change("present", "flag") is None
    (root / "flag").unlink()
    assert change("present", "flag") == "flag is gone"


# ── modules ──────────────────────────────────────────────────────────────────────────────────────

SUFFIXES = ["", *importlib.machinery.all_suffixes()]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("where", ["root", "site"])
def test_a_missing_module_may_not_become_importable(
    root: Path, site: Path, change: Callable[..., str | None], suffix: str, where: str
) -> None:
    assert change("no-module", "fast") is None
    made = {"root": root, "site": site}[where] / f"fast{suffix}"
    if suffix:
        made.touch()
    else:
        made.mkdir()
    assert change("no-module", "fast") == "module fast can be imported now"


def test_a_name_that_only_begins_alike_is_another_module(root: Path, change: Callable[..., str | None]) -> None:
    (root / "fast_things.py").touch()
    (root / "faster").mkdir()
    (root / "fast.txt").touch()
    assert change("no-module", "fast") is None


def test_a_missing_module_may_not_come_by_an_editable_install(
    change: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = type("Finder", (), {"__module__": "__editable___fast_finder"})
    finder.find_spec = staticmethod(lambda name, path: object() if name == "fast" else None)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert change("no-module", "fast") == "module fast can be imported now"
    assert change("no-module", "slow") is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_namespace_package_may_not_get_a_rival(
    root: Path, site: Path, change: Callable[..., str | None], suffix: str
) -> None:
    (root / "models").mkdir()
    assert change("namespace", "models") is None
    rival = site / f"models{suffix}"
    if suffix:
        rival.touch()
    else:
        rival.mkdir()
    assert change("namespace", "models") == "package models is in more than one place now"


def test_a_namespace_package_is_no_rival_to_itself(tmp_path: Path, root: Path) -> None:
    (root / "models").mkdir()
    store = Store.open(tmp_path / "cache")
    found = builders.checker(store, root, (str(root) + "/",)).change_reason(("namespace", "models"))
    assert found is None


# ── distributions, environment, location ─────────────────────────────────────────────────────────


def install(site: Path, version: str, record: str) -> str:
    folder = site / f"foo-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "RECORD").write_text(record)
    return bytes_digest(record.encode())


def test_a_distribution_is_its_version_and_its_record(site: Path, change: Callable[..., str | None]) -> None:
    then = install(site, "1.0", "foo.py,sha256=1,1")
    assert change("distribution", "foo", "1.0", then) is None
    install(site, "1.0", "foo.py,sha256=2,1")
    assert "reinstalled" in str(change("distribution", "foo", "1.0", then))


def test_a_distribution_of_another_version_has_changed(site: Path, change: Callable[..., str | None]) -> None:
    then = install(site, "2.0", "foo.py,sha256=1,1")
    assert change("distribution", "foo", "1.0", then) == "distribution foo 1.0 → 2.0"


def test_a_distribution_may_not_be_uninstalled(change: Callable[..., str | None]) -> None:
    assert change("distribution", "foo", "1.0", "digest") == "distribution foo is not installed any more"


def test_a_distribution_without_a_record_is_unchanged(site: Path, change: Callable[..., str | None]) -> None:
    (site / "foo-1.0.dist-info").mkdir()
    assert change("distribution", "foo", "1.0", "") is None
    assert change("distribution", "foo", "1.0", bytes_digest(b"")) is not None


@pytest.mark.parametrize("then", [None, "", "one"])
@pytest.mark.parametrize("now", [None, "", "one", "two", "\udcff"])
def test_an_environment_variable_is_unset_or_has_its_value(
    change: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch, then: str | None, now: str | None
) -> None:
    monkeypatch.delenv("A_FLAG", raising=False)
    if now is not None:
        monkeypatch.setenv("A_FLAG", now)
    found = change("environment", "A_FLAG", None if then is None else text_digest(then))
    assert found == (None if now == then else "environment variable A_FLAG changed")


def test_the_location_is_the_folder_the_import_path_and_the_user(
    root: Path, site: Path, change: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert change("place", location_digest(str(root), [str(site)])) is None
    assert change("place", location_digest(f"{root}/../project", [str(site)])) is None
    for other in (
        location_digest("/elsewhere", [str(site)]),
        location_digest(str(root), []),
        location_digest(str(root), [str(site), "/src"]),
    ):
        assert "import path" in str(change("place", other))
    then = location_digest(str(root), [str(site)])
    monkeypatch.setenv("HOME", "/home/somebody-else")
    assert "user" in str(change("place", then))


def test_an_unknown_kind_counts_as_a_change(change: Callable[..., str | None]) -> None:
    assert change("moon", "full") == "unknown kind of dependency 'moon'"


# ── many at once ─────────────────────────────────────────────────────────────────────────────────


def test_each_dependency_is_checked_once(tmp_path: Path, root: Path, hashed: list[str]) -> None:
    (root / "data").write_bytes(b"data")
    current = builders.checker(Store.open(tmp_path / "cache"), root)
    dependency = ["file", "data", bytes_digest(b"data")]
    assert current.change_reasons([dependency, dependency]) == []
    (root / "data").write_bytes(b"other")
    assert current.change_reasons([dependency]) == []
    assert hashed == ["data"]


def test_a_file_recorded_with_different_digests_is_hashed_once(tmp_path: Path, root: Path, hashed: list[str]) -> None:
    (root / "data").write_bytes(b"data")
    current = builders.checker(Store.open(tmp_path / "cache"), root)
    rows = [["weights", "data", bytes_digest(content)] for content in (b"old", b"older", b"data")]
    assert [current.change_reason(row) for row in rows] == ["weights: data changed"] * 2 + [None]
    assert hashed == ["data"]
    (root / "data").write_bytes(b"more data")
    assert current._files.digest(f"{root}/data") == bytes_digest(b"more data")


def test_a_file_hashed_by_one_part_of_a_command_is_known_to_another(root: Path, hashed: list[str]) -> None:
    (root / "data").write_bytes(b"data")
    known = CheckedFiles()
    for _ in range(2):
        current = DependencyChecker(root=str(root), path=[], index=NoIndex(), checked=known)
        assert current.change_reason(["file", "data", bytes_digest(b"data")]) is None
    assert hashed == ["data"]


def test_unknown_files_are_prehashed_and_a_missing_one_is_reported_by_its_check(
    tmp_path: Path, root: Path, hashed: list[str]
) -> None:
    for name in ("one", "two"):
        (root / name).write_bytes(name.encode())
    current = builders.checker(Store.open(tmp_path / "cache"), root)
    current.prehash(["one", "two", "gone"])
    assert sorted(hashed) == ["one", "two"]
    assert current.change_reason(["weights", "one", bytes_digest(b"one")]) is None
    assert current.change_reason(["weights", "two", bytes_digest(b"2")]) == "weights: two changed"
    assert current.change_reason(["weights", "gone", bytes_digest(b"")]) == "weights: gone is gone"
    assert sorted(hashed) == ["one", "two"]


def test_changes_are_returned_in_the_order_of_the_rows(tmp_path: Path, root: Path) -> None:
    current = builders.checker(Store.open(tmp_path / "cache"), root)
    rows = [["file", "b", "x"], ["absent", "none"], ["file", "a", "x"]]
    assert current.change_reasons(rows) == ["data: b is gone", "data: a is gone"]


class NoIndex:
    """An index that forgets everything."""

    def get(self, *key: Any) -> None:
        return None

    def put(self, *row: Any) -> None:
        pass


def test_without_an_index_nothing_but_time_is_lost(root: Path) -> None:
    (root / "m.py").write_bytes(SOURCE)
    then = source(root / "m.py")
    (root / "m.py").write_bytes(b"x = 1")
    current = DependencyChecker(root=str(root), path=[], index=NoIndex())
    assert current.change_reason(then) is None


# ── stored dependencies ──────────────────────────────────────────────────────────────────────────


def test_paths_below_the_root_become_relative_and_the_order_is_canonical() -> None:
    seen: list[list[Any]] = [
        ["source", "/p/b.py", "1", "2"],
        ["environment", "A", None],
        ["listing", "/p", "3"],
        ["absent", "/p/a.py"],
        ["distribution", "foo", "1.0", "4"],
    ]
    expected = [
        ["absent", "a.py"],
        ["distribution", "foo", "1.0", "4"],
        ["environment", "A", None],
        ["listing", ".", "3"],
        ["source", "b.py", "1", "2"],
    ]
    for root in ("/p", "/p/", "/q/../p"):
        assert recorded(root, seen, ["/lib"]) == expected
        assert recorded(root, reversed(seen), ["/lib"]) == expected


@pytest.mark.parametrize(
    "dependency",
    [
        ["source", "/src/m.py", "1", "2"],
        ["file", "/data/x", "1"],
        ["listing", "/data", "1"],
        ["present", "/data/x"],
        ["absent", "/data/x"],
        ["file", "/project/x", "1"],  # a neighbour whose name begins alike
    ],
    ids=str,
)
def test_a_path_outside_of_the_root_adds_a_dependency_on_the_location(dependency: list[Any]) -> None:
    assert (
        recorded("/p", [dependency], ["/lib"])
        == [dependency, ["place", location_digest("/p", ["/lib"])]][:: -1 if dependency[0] > "place" else 1]
    )


@pytest.mark.parametrize(
    "dependency", [["weights", "/w/x.pt", "1"], ["distribution", "foo", "1", "2"], ["no-module", "foo"]], ids=str
)
def test_weights_distributions_and_modules_do_not_depend_on_the_location(dependency: list[Any]) -> None:
    assert recorded("/p", [dependency], ["/lib"]) == [dependency]


def test_another_checkout_does_not_reuse_exports_of_the_first(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    for name in ("a", "b"):
        (tmp_path / name / "manifests").mkdir(parents=True)
        (tmp_path / name / "m.py").write_text(f"x = '{name}'")
    seen = [["source", *source(tmp_path / "a/m.py")[1:]]]
    seen[0][1] = str(tmp_path / "a/m.py")
    rows = recorded(str(tmp_path / "a/manifests"), seen, [])
    assert builders.checker(store, tmp_path / "a/manifests").change_reasons(rows) == []
    assert builders.checker(store, tmp_path / "b/manifests").change_reasons(rows) != []


def test_a_moved_checkout_reuses_its_exports(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/m.py").write_bytes(SOURCE)
    seen = [["source", str(tmp_path / "a/m.py"), *source(tmp_path / "a/m.py")[2:]]]
    rows = recorded(str(tmp_path / "a"), seen, [])
    (tmp_path / "a").rename(tmp_path / "b")
    assert builders.checker(store, tmp_path / "b").change_reasons(rows) == []


def test_a_path_through_a_link_to_the_root_is_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        seen = [["file", f"{tmp_path}/{name}/data", "1"]]
        assert recorded(str(tmp_path / "link"), seen, []) == [["file", "data", "1"]]
