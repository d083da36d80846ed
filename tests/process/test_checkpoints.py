"""Checkpoints in shards: a changed shard is new weights and nothing else; jobs of other files are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.checkpoints import weights, write_shards
from support.projects import Project

pytestmark = pytest.mark.process

MODEL = """
from torch import nn


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)
"""
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One job with weights in two shards, and one with the same weights in a nested file."""
    made = Project(tmp_path_factory.mktemp("shards"))
    made.write("models.py", MODEL)
    write(made.root / "w", 1.0)
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights().items()}},
               made.root / "last.ckpt")  # fmt: skip
    made.manifest(
        f'name = "sharded"\nmodel = "models:Plain"\nweights = "w/{INDEX}"',
        'name = "nested"\nmodel = "models:Plain"\nweights = "last.ckpt"\n'
        'weights_key = "state_dict"\nweights_prefix = "module."',
    )
    ran = made.run()
    assert ran.code == 0, ran
    assert ran.built() == {"sharded@cpu", "nested@cpu"}
    assert set(made.run().outcomes().values()) == {"cached"}
    return made


def write(folder: Path, factor: float) -> None:
    state = weights(factor)
    write_shards(folder, {ONE: {"linear.weight": state["linear.weight"]}, TWO: {"linear.bias": state["linear.bias"]}})


def test_a_changed_shard_is_new_weights_and_nothing_else(project: Project) -> None:
    save_file({"linear.bias": torch.full((2,), 7.0)}, project.root / "w" / TWO)
    ran = project.run()
    assert ran.code == 0
    assert ran.outcomes() == {"sharded@cpu": "built", "nested@cpu": "cached"}
    stage = ran.jobs["sharded@cpu"]["stages"]["export"]
    assert stage["reason"].startswith(f"weights: w/{TWO} changed; ")
    assert stage["reason"].endswith("other inputs same; the stored graph takes them")
    program = torch.export.load(project.root / "dist/sharded@cpu/exported.pt2")
    assert program.state_dict["linear.bias"].tolist() == [7.0, 7.0]
    assert program.state_dict["linear.weight"].equal(load_file(project.root / "w" / ONE)["linear.weight"])
    delivered = (project.root / "dist/sharded@cpu/exported.pt2").read_bytes()
    project.run("--cache-dir", "clean", "--only", "sharded@cpu")
    assert (project.root / "dist/sharded@cpu/exported.pt2").read_bytes() == delivered
    assert set(project.run().outcomes().values()) == {"cached"}


def test_an_index_that_lists_the_tensors_anew_is_new_weights_too(project: Project) -> None:
    write(project.root / "w", 3.0)
    for name in (ONE, TWO):
        (project.root / "w" / name).unlink()
    write_shards(project.root / "w", {"model-00001-of-00001.safetensors": weights(3.0)})
    ran = project.run()
    assert ran.outcomes() == {"sharded@cpu": "built", "nested@cpu": "cached"}
    program = torch.export.load(project.root / "dist/sharded@cpu/exported.pt2")
    assert program.state_dict["linear.weight"].equal(weights(3.0)["linear.weight"])
    assert set(project.run().outcomes().values()) == {"cached"}


def test_a_shard_that_goes_missing_is_one_clear_message_and_comes_back(project: Project) -> None:
    write(project.root / "w", 5.0)
    assert project.run().code == 0
    content = (project.root / "w" / TWO).read_bytes()
    (project.root / "w" / TWO).unlink()
    ran = project.run()
    assert ran.code == 1
    error = ran.error("sharded@cpu")
    assert (error["kind"], error["message"]) == ("weights", f"{INDEX}: 1 of 2 shards not found beside it: {TWO}")
    assert ran.outcomes()["nested@cpu"] == "cached"
    (project.root / "w" / TWO).write_bytes(content)
    assert set(project.run().outcomes().values()) == {"cached"}


def test_another_key_or_prefix_is_another_request(project: Project) -> None:
    manifest = project.root / "manifest.toml"
    text = manifest.read_text()
    manifest.write_text(text.replace('weights_prefix = "module."\n', "").replace('weights_prefix = "module."', ""))
    ran = project.run()
    manifest.write_text(text)
    assert ran.error("nested@cpu")["remedy"] == 'write weights_prefix = "module." in [[entry]] nested'
    assert project.run().outcomes()["nested@cpu"] == "cached"
