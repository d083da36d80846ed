"""Compiled artifacts behave as their models over several calls, in a process without batchexport, or are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import GUARD, Project

pytestmark = [pytest.mark.process, pytest.mark.torch]

HEAD = """
schema = 1

[cache]
dir = "cache"

[defaults.inputs]
x = { shape = ["batch", 4] }

[defaults.dims]
batch = { min = 1, max = 16, example = 3 }
"""
OPERATORS = """
import torch


@torch.library.custom_op("calls::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@doubled.register_fake
def _(x):
    return torch.empty_like(x)
"""
MODELS = """
import argparse

import torch
from torch import nn

import operators

OPTIONS = argparse.ArgumentParser().parse_args()  # as a script does that is also a module


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        y = x + self.position
        self.position.add_(1)
        return y


class Average(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return {"centred": x - self.mean, "mean": self.mean}


class Weightless(nn.Module):
    def forward(self, x):
        return x / 255.0 - 0.5


class Numbers(nn.Module):
    def forward(self, x):
        return {"y": x + 1, "rows": x.shape[0]}


class Operator(nn.Module):
    def forward(self, x):
        return operators.doubled(x) + 1


class Flag(nn.Module):
    def forward(self, x):
        return x + 1, True
"""
PLAIN_TORCH = """
import importlib, json, sys, torch, stateful
for name in ("Average", "Weightless", "Operator"):
    for module in json.load(open(f"dist/{name}@cpu/job.json"))["imports"]:
        importlib.import_module(module)
    run = torch._inductor.aoti_load_package(f"dist/{name}@cpu/compiled.pt2")
    eager = getattr(stateful, name)().eval()
    with torch.no_grad():
        for call, batch in enumerate((5, 1, 16, 5, 2)):
            x = torch.randn(batch, 4, generator=torch.Generator().manual_seed(call))
            torch.testing.assert_close(run(x=x.clone()), eager(x), rtol=1e-5, atol=1e-6)
assert "batchexport" not in sys.modules
"""


def test_what_changes_from_call_to_call_is_right_or_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("stateful.py", MODELS)
    project.write("operators.py", OPERATORS)
    names = ("Counter", "Average", "Weightless", "Operator", "Numbers", "Flag")
    project.manifest(*(f'name = "{name}"\nmodel = "stateful:{name}"' for name in names), head=HEAD)
    ran = project.run()
    assert {name for name, job in ran.jobs.items() if job["ok"]} == {f"{name}@cpu" for name in names[1:4]}, ran.stdout
    imports = json.loads((tmp_path / "dist/Operator@cpu/job.json").read_text())["imports"]
    assert imports == ["operators"]
    lost = ran.error("Counter@cpu")
    assert (lost["stage"], lost["kind"]) == ("verify", "verify")
    assert "'position'" in lost["remedy"]
    for name, output in (("Numbers@cpu", "output['rows'] is a number"), ("Flag@cpu", "output[1] is the bool True")):
        refused = ran.error(name)
        assert (refused["stage"], refused["kind"]) == ("compile", "compile")
        assert refused["message"] == f"{output}, and compiled code returns tensors only"
    plain = [sys.executable, "-c", PLAIN_TORCH]
    ended = subprocess.run(plain, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD, check=False)
    assert ended.returncode == 0, ended.stderr
