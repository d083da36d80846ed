"""An archive whose members would land outside is refused before native code sees it."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

import batchexport
from batchexport.core.archives import UnsafeArchive, vet

LEADING_OUT = ["../x", "a/../../x", "/x", "\\x", "a\\..\\..\\x", "C:\\x", "C:/x", "..", "a/.."]


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), "x")
    return path


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_member_that_leads_out_is_refused_and_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match=r"bert\.pt2 is not safe to load"):
        vet(archive(tmp_path / "bert.pt2", "bert/data", name))


@pytest.mark.parametrize("name", ["a", "a/b", "a/..b", "a../b", "...", "a/b:c", "data/weights/model.layer.0"])
def test_other_members_are_fine(tmp_path: Path, name: str) -> None:
    vet(archive(tmp_path / "bert.pt2", name))


def test_a_member_that_is_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bert.pt2", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeArchive, match="is a link"):
        vet(tmp_path / "bert.pt2")


def test_what_is_no_archive_is_left_to_its_loader(tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(b"PK\x03\x04 not really")
    vet(tmp_path / "x.pt2")
    vet(tmp_path / "missing.pt2")


def test_load_refuses_an_unsafe_package_before_it_imports_torch(tmp_path: Path) -> None:
    archive(tmp_path / "compiled.pt2", "../../evil")
    with pytest.raises(UnsafeArchive):
        batchexport.load(tmp_path)
