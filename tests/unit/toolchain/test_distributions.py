"""Distributions: what the folders on the path say is installed, and which file belongs to whom."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from batchexport.core.digests import bytes_digest
from batchexport.toolchain.distributions import Distributions, normalized
from batchexport.toolchain.probe import import_path


def install(root: Path, name: str, version: str, *files: str, form: str = "dist-info") -> Path:
    """Put a distribution into `root`; returns its metadata folder."""
    folder = root / f"{name}-{version}.{form}"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    if files:
        (folder / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
    return folder


def test_a_distribution_has_the_digest_of_its_record(tmp_path: Path) -> None:
    folder = install(tmp_path, "Foo_Bar.baz", "1.0", "foo/__init__.py")
    found = Distributions([str(tmp_path)]).get("foo-bar-baz")
    assert found is not None
    assert (found.name, found.version) == ("foo-bar-baz", "1.0")
    rows = sorted((folder / "RECORD").read_text().splitlines())
    assert found.digest == bytes_digest("\n".join(row for row in rows if "RECORD" not in row).encode())


def test_scripts_bytecode_and_the_way_it_was_installed_are_not_in_the_digest(tmp_path: Path) -> None:
    record = install(tmp_path, "foo", "1.0", "foo/__init__.py") / "RECORD"
    found = Distributions([str(tmp_path)]).by_name["foo"]
    before, rows = found.digest, record.read_text()
    record.write_text(
        rows + "../../../bin/foo,sha256=1,1\nfoo/__pycache__/a.pyc,,\nfoo-1.0.dist-info/direct_url.json,sha256=2,1\n"
    )
    assert found.digest == before
    record.write_text(rows + "foo/more.py,sha256=1,1\n")
    assert found.digest != before


def test_a_distribution_without_a_record_has_the_digest_of_its_metadata(tmp_path: Path) -> None:
    folder = install(tmp_path, "foo", "1.0")
    found = Distributions([str(tmp_path)]).by_name["foo"]
    assert found.digest == bytes_digest((folder / "METADATA").read_bytes())


def test_an_egg_info_file_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "foo-1.0-py3.11.egg-info").write_text("Name: foo")
    found = Distributions([str(tmp_path)]).by_name["foo"]
    assert (found.version, found.digest) == ("1.0", bytes_digest(b"Name: foo"))


def test_a_distribution_whose_files_are_gone_has_an_empty_digest(tmp_path: Path) -> None:
    folder = install(tmp_path, "foo", "1.0")
    found = Distributions([str(tmp_path)]).by_name["foo"]
    (folder / "METADATA").unlink()
    assert found.digest == ""


def test_the_first_folder_that_has_a_distribution_wins(tmp_path: Path) -> None:
    install(tmp_path / "a", "foo", "1.0", "foo.py")
    install(tmp_path / "b", "foo", "2.0", "foo.py")
    assert Distributions([str(tmp_path / "b"), str(tmp_path / "a")]).by_name["foo"].version == "2.0"


def test_folders_that_are_not_there_and_files_that_mean_nothing_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "foo.dist-info").mkdir()
    (tmp_path / "foo-1.0.txt").touch()
    assert Distributions([str(tmp_path / "none"), str(tmp_path)]).by_name == {}


@pytest.mark.parametrize("name", ["foo-bar", "Foo_Bar", "foo.bar", "FOO--bar"])
def test_names_are_compared_in_their_canonical_form(name: str) -> None:
    assert normalized(name) == "foo-bar"


def test_a_file_belongs_to_the_distributions_that_own_its_top_level_name(tmp_path: Path) -> None:
    install(tmp_path, "foo", "1.0", "foo/__init__.py", "shared/foo.py", "../../bin/foo", "foo-1.0.dist-info/RECORD")
    install(tmp_path, "bar", "1.0", '"shared/b,ar.py"', "bar.py", "_bar.cpython-311-x86_64-linux-gnu.so")
    found = Distributions([str(tmp_path)])

    def owners(path: str) -> list[str]:
        return [owner.name for owner in found.of_file(f"{tmp_path}/{path}")]

    assert owners("foo/deep/down.py") == ["foo"]
    assert owners("bar.py") == ["bar"]
    assert owners("_bar.cpython-311-x86_64-linux-gnu.so") == ["bar"]
    assert sorted(owners("shared/anything.py")) == ["bar", "foo"]
    assert owners("foo-1.0.dist-info/RECORD") == []
    assert owners("unknown.py") == []
    assert found.of_file("/elsewhere/foo/__init__.py") == []


def test_the_installed_distributions_are_those_that_python_itself_finds() -> None:
    known: dict[str, str] = {}
    for found in importlib.metadata.distributions():  # the first counts; setuptools puts copies at the end of the path
        known.setdefault(normalized(found.name), found.version)
    ours = {name: found.version for name, found in Distributions(import_path()).by_name.items()}
    assert ours.items() <= known.items()
    assert {"pytest", "torch", "diskcache"} <= ours.keys()


def test_the_stamp_changes_with_whatever_is_installed_replaced_or_removed(tmp_path: Path) -> None:
    def stamp() -> str:
        return Distributions([str(tmp_path)]).stamp()

    seen = [stamp()]
    record = tmp_path / "one-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("one.py,sha256=1,1\n")
    seen.append(stamp())
    assert stamp() == seen[-1]
    os.utime(record, ns=(1, 1))
    seen.append(stamp())
    record.unlink()
    record.parent.rmdir()
    os.utime(tmp_path, ns=(2, 2))
    seen.append(stamp())
    assert len(set(seen)) == 4
