"""First manifests as text: they are read again, and models are found in sources without running these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchexport.manifest import resolve
from batchexport.manifest.starter import (
    PROJECT_ENTRY,
    EntryText,
    manifest_text,
    module_classes,
    read_argument,
    read_input,
)


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "manifest.toml"
    path.write_text(text, encoding="utf-8")
    return resolve.load(path)


def test_the_project_to_start_from_is_a_manifest(tmp_path: Path) -> None:
    (job,) = load(tmp_path, manifest_text([PROJECT_ENTRY])).jobs
    assert (job.name, dict(job.export.kwargs)) == ("mlp@cpu", {"hidden": 32})


def test_entries_get_names_of_their_own(tmp_path: Path) -> None:
    entries = [EntryText(model="a:BertBase"), EntryText(model="b:BertBase"), EntryText(model="nets/net.pt2")]
    assert [job.entry for job in load(tmp_path, manifest_text(entries)).jobs] == ["bert-base", "bert-base-2", "net"]


def test_what_cannot_be_built_is_a_comment_with_its_reason(tmp_path: Path) -> None:
    text = manifest_text([EntryText(model="a:A"), EntryText(model="a:B", failure="no\x1b[31m key\nanywhere")])
    assert "# a:B is left out: no[31m key anywhere\n# [[entry]]\n" in text
    assert [job.entry for job in load(tmp_path, text).jobs] == ["a"]


def test_odd_arguments_are_written_as_toml(tmp_path: Path) -> None:
    kwargs = {"path": 'a\\b"c\x7f\t', "sizes": [1, 2.5], "flag": True, "table": {"a": "b"}, "long": "ä😀" * 100}
    (job,) = load(tmp_path, manifest_text([EntryText(model="a:A", kwargs=kwargs)])).jobs
    assert job.export.kwargs == kwargs


@pytest.mark.parametrize(
    ("text", "read"),
    [("n=3", ("n", 3)), ("name=gelu", ("name", "gelu")), ('a = "x"', ("a", "x")), ("l=[1, 2]", ("l", [1, 2]))],
)
def test_arguments_are_toml_or_words(text: str, read: Any) -> None:
    assert read_argument(text) == read


@pytest.mark.parametrize("text", ["3", "=3", "a-b=3", "class=3"])
def test_an_argument_needs_a_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_argument(text)


def test_inputs_have_sizes_dtype_and_range() -> None:
    assert read_input("x=batch, 16") == (
        "x",
        {"shape": ["batch", 16], "dtype": "float32", "range": None, "value": None},
    )
    assert read_input("ids=b,s:int64:0:99")[1] == {
        "shape": ["b", "s"],
        "dtype": "int64",
        "range": [0, 99],
        "value": None,
    }


@pytest.mark.parametrize("text", ["x", "x=2*b", "x=3:int64:1", "=3"])
def test_inputs_that_are_not_understood_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_input(text)


def test_classes_of_modules_are_found_in_sources_alone(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("class P(Base): ...\n")
    (tmp_path / "nets" / "base.py").write_text("import torch\nraise SystemExit\nclass Base(torch.nn.Module): ...\n")
    (tmp_path / "a.py").write_text("class A(nn.Module): ...\nclass _Hidden(nn.Module): ...\nclass Other: ...\n")
    (tmp_path / "test_a.py").write_text("class T(nn.Module): ...\n")
    (tmp_path / "broken.py").write_text("class (\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "b.py").write_text("class B(nn.Module): ...\n")
    assert module_classes(tmp_path) == ["a:A", "nets:P", "nets.base:Base"]
