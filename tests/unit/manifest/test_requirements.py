"""What a manifest needs and is not there is told without importing anything, each thing once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchexport.manifest import resolve
from batchexport.manifest.requirements import missing_requirements

MANIFEST = """
schema = 1

[defaults]
inputs = { x = { shape = [2] } }

[[entry]]
name = "a"
model = "zoo_of_a_test.mlp:MLP"
weights = "w/a.safetensors"
data = ["tokens/*.json", "vocab.txt"]
imports = ["ops_of_a_test"]

[entry.matrix]
seed = [0, 1]

[[entry]]
name = "b"
model = "archive.pt2"
inputs = [1]
"""


def missing(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    (tmp_path / "m.toml").write_text(MANIFEST)
    manifest = resolve.load(tmp_path / "m.toml")
    return {one.what: one.jobs for one in missing_requirements(manifest.jobs, manifest.root, sys.path)}


def test_each_missing_thing_is_told_once_with_its_jobs(tmp_path: Path) -> None:
    both = ("a[0]@cpu", "a[1]@cpu")
    found = missing(tmp_path)
    assert found.pop("the file of model does not exist: archive.pt2") == ("b@cpu",)
    assert len(set(found.values())) == 1
    assert len(next(iter(found.values()))) == len(both)
    assert list(found) == [
        "the file of weights does not exist: w/a.safetensors",
        "data matches no file: tokens/*.json",
        "data matches no file: vocab.txt",
        "the module zoo_of_a_test is not found",
        "the module ops_of_a_test is not found",
    ]


def test_what_is_there_is_not_told_and_not_imported(tmp_path: Path) -> None:
    for name in ("w/a.safetensors", "tokens/one.json", "vocab.txt", "archive.pt2"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "zoo_of_a_test").mkdir()
    (tmp_path / "ops_of_a_test.py").write_text("raise SystemExit")
    assert missing(tmp_path) == {}
    assert "ops_of_a_test" not in sys.modules


@pytest.mark.parametrize(("memory", "told"), [(2 * 4 * 64 * 8 * 3, 0), (2 * 4 * 64 * 8 * 3 - 1, 1)])
def test_inputs_that_memory_can_not_hold_twice_are_told_with_the_arithmetic(
    tmp_path: Path, memory: int, told: int
) -> None:
    (tmp_path / "models.py").touch()
    (tmp_path / "m.toml").write_text(
        'schema = 1\n[[entry]]\nname = "a"\nmodel = "models:A"\ninputs = { x = [{ shape = ["n", "2*m", 3] }] }\n'
        "dims = { n = { min = 1, max = 64 }, m = { min = 1, max = 4 } }\n"
    )
    manifest = resolve.load(tmp_path / "m.toml")
    found = missing_requirements(manifest.jobs, manifest.root, sys.path, memory)
    assert len(found) == told
    for one in found:
        assert one.what.startswith("x would be float32 [64, 8, 3]: 6.0 KiB, and this machine's ")
        assert one.remedy == "lower max in [entry.dims]"
