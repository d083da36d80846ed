"""`run --apply-fixes` as a user types it: the manifest is changed, and the same command delivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.projects import Project

pytestmark = pytest.mark.process

HEAD = """
schema = 1
[cache]
dir = "cache"
[defaults.compile]
format = "none"
[defaults.dims]
n = { min = 2, max = 16, example = 5 }
"""
MODELS = """
import torch


class Adds(torch.nn.Module):
    def forward(self, x, y):
        return x + y


class Groups(torch.nn.Module):
    def __init__(self, rows=4):
        super().__init__()
        self.rows = rows

    def forward(self, x):
        return x.reshape(-1, self.rows, x.shape[1]).mean(1)


class Plain(torch.nn.Module):
    def forward(self, x):
        return x + 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("models.py", MODELS)
    return made


def test_fixes_are_written_and_the_same_command_delivers(project: Project) -> None:
    manifest = project.manifest(
        """
        name = "equal"
        model = "models:Adds"   # adds
        inputs = [{ shape = ["n"] }, { shape = ["m"] }]
        dims.m = { min = 2, max = 12, example = 5 }
        """,
        """
        name = "groups"
        model = "models:Groups"
        inputs.x = { shape = ["k", 3] }
        [entry.dims]
        k = { min = 4, max = 64, example = 8 }  # in fours
        """,
        """
        name = "plain"
        model = "models:Plain"
        inputs.x = { shape = ["n"] }
        """,
        head=HEAD,
    )
    ran = project.run("--apply-fixes")
    assert ran.code == 0, ran.stdout
    text = manifest.read_text()
    assert 'inputs = [{ shape = ["n"] }, { shape = ["n"] }]' in text
    assert "k = { min = 8, max = 64, multiple_of = 4 }  # in fours" in text
    assert 'model = "models:Adds"   # adds' in text
    assert "\nn = { min = 2, max = 16, example = 5 }\n" in text, "the range of the defaults is as it was"
    assert ran.report["totals"]["ok"] == 3
    assert [(fix["entry"], fix["key"]) for fix in ran.report["fixes"]] == [
        ("equal", "inputs[1].shape[0]"), ("equal", "dims.n"), ("equal", "dims.m"), ("groups", "dims.k"),
    ]  # fmt: skip
    assert ran.stdout.count("plain@cpu") == 1, "what was delivered did not run again"
    assert "fixed     manifest.toml:" in ran.stdout
    assert 'entry "groups", dims.k: { min = 4, max = 64, example = 8 } → { min = 8' in ran.stdout
    assert project.run().report["totals"]["export"]["cached"] == 3


def test_variants_that_need_different_sizes_agree_on_the_narrower(project: Project) -> None:
    manifest = project.manifest(
        """
        name = "groups"
        model = "models:Groups"
        inputs.x = { shape = ["k", 3] }
        [entry.dims]
        k = { min = 12, max = 60, example = 24 }
        [entry.matrix]
        "kwargs.rows" = [4, 6]
        """,
        head=HEAD.partition("[defaults.dims]")[0],
    )
    ran = project.run("--apply-fixes")
    assert ran.code == 0, ran.stdout
    assert "k = { min = 12, max = 60, example = 24, multiple_of = 12 }" in manifest.read_text()


def test_a_read_only_manifest_fails_as_without_the_option(project: Project) -> None:
    manifest = project.manifest(
        """
        name = "groups"
        model = "models:Groups"
        inputs.x = { shape = ["n", 3] }
        dims.n.example = 8
        """,
        head=HEAD,
    )
    manifest.chmod(0o444)
    ran = project.run("--apply-fixes")
    assert ran.code == 1
    assert ran.stderr.count("read-only") == 1
    assert ran.error("groups@cpu")["fix"] == [{"path": ["dims", "n"], "value": {"min": 8, "max": 16, "multiple_of": 4}}]
    assert ran.report["fixes"] == []
