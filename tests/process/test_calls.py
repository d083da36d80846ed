"""Compiled artifacts behave as their models over several calls, in a process without batchexport, or are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import COMPILED, GUARD, Project

pytestmark = [pytest.mark.process, pytest.mark.torch]

HEAD = COMPILED.replace("min = 1", "min = 2")  # a variance needs two rows
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
import dataclasses

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


class ItsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x):
        self.last.copy_(x[0])
        return self.last, x + self.last


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rough = nn.Linear(4, 4, dtype=torch.bfloat16)
        self.register_buffer("table", torch.linspace(0, 1, 4, dtype=torch.float64) ** 9)

    def forward(self, x):
        return {"half": self.rough(x.bfloat16()), "double": x.double() + self.table, "large": x > 0}


@dataclasses.dataclass
class Answer:
    sums: torch.Tensor
    parts: list


torch.export.register_dataclass(Answer, serialized_type_name="stateful.Answer")


class Registered(nn.Module):
    def forward(self, x):
        return Answer(sums=x.sum(1), parts=[x * 2, (x * 3,)])


class Normalized(nn.Module):  # held in train mode by its author, with weights that a call renormalises
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(4)
        self.words = nn.Embedding(16, 4, max_norm=0.5)

    def forward(self, x):
        self.norm.train()
        return self.norm(x) + self.words(x.abs().long().clamp(max=15)).sum(1)


class Decays(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        with torch.no_grad():
            self.scale.mul_(0.9)
        return x * self.scale


class Flag(nn.Module):
    def forward(self, x):
        return x + 1, True
"""
PLAIN_TORCH = """
import importlib, json, sys, torch
names, sys.argv[1:] = sys.argv[1:], []
import stateful
for name in names:
    for module in json.load(open(f"dist/{name}@cpu/job.json"))["imports"]:
        importlib.import_module(module)
    archive = torch.export.load(f"dist/{name}@cpu/exported.pt2").module()
    compiled = torch._inductor.aoti_load_package(f"dist/{name}@cpu/compiled.pt2")
    for run in archive, compiled:
        eager = getattr(stateful, name)().eval()
        with torch.no_grad():
            for call, batch in enumerate((5, 2, 16, 5, 3)):
                x = torch.randn(batch, 4, generator=torch.Generator().manual_seed(call))
                got, expected = run(x=x.clone()), eager(x)
                if name == "Registered":
                    assert type(got) is type(expected)
                    got, expected = vars(got), vars(expected)
                rough = {"rtol": 2e-2, "atol": 2e-2} if name == "Mixed" else {"rtol": 1e-5, "atol": 1e-6}
                torch.testing.assert_close(got, expected, **rough)
assert "batchexport" not in sys.modules
"""


def test_what_changes_from_call_to_call_is_right_or_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("stateful.py", MODELS)
    project.write("operators.py", OPERATORS)
    right = ("Counter", "Average", "Weightless", "Operator", "ItsBuffer", "Mixed", "Registered", "Normalized", "Decays")
    names = (*right, "Numbers", "Flag")
    project.manifest(*(f'name = "{name}"\nmodel = "stateful:{name}"' for name in names), head=HEAD)
    ran = project.run()
    assert {name for name, job in ran.jobs.items() if job["ok"]} == {f"{name}@cpu" for name in right}, ran.stdout
    imports = json.loads((tmp_path / "dist/Operator@cpu/job.json").read_text())["imports"]
    assert imports == ["operators"]
    for name, output in (("Numbers@cpu", "output['rows'] is a number"), ("Flag@cpu", "output[1] is the bool True")):
        refused = ran.error(name)
        assert (refused["stage"], refused["kind"]) == ("compile", "compile")
        assert refused["message"] == f"{output}, and compiled code returns tensors only"
    plain = [sys.executable, "-c", PLAIN_TORCH, *right]
    ended = subprocess.run(plain, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD, check=False)
    assert ended.returncode == 0, ended.stderr
