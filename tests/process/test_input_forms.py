"""Artifacts take inputs in the form of the manifest, in a process without batchexport; batchexport.load takes both."""

from __future__ import annotations

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

[defaults.dims]
b = { min = 1, max = 16, example = 3 }
"""
MODELS = """
import dataclasses
import typing

import torch
from torch import nn


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)

    def forward(self, x, /, y, *rest, scale=2.0, **more):
        found = self.linear(x) - y * scale
        for at, one in enumerate([*rest, *more.values()], 3):
            found = found + one * at
        return found


def wrapped():
    return nn.DataParallel(torch.compile(Positions()))


@dataclasses.dataclass
class State:
    h: torch.Tensor
    cell: typing.Any = None


class Pair(typing.NamedTuple):
    left: typing.Any
    right: typing.Any


torch.export.register_dataclass(State, serialized_type_name="taking.State")
torch.utils._pytree._register_namedtuple(Pair, serialized_type_name="taking.Pair")


class Nested(nn.Module):
    def forward(self, tree, pair):
        (table, bias) = tree
        return table["x"] * bias - pair.left[0].h, pair.right + 1


class Steps(nn.Module):
    def forward(self, x, n):
        return x[:, :1].expand(-1, n) * n
"""
X = '{ shape = ["b", 4] }'
BY_NAME = f"{{ z = {X}, y = {X}, x = {X}, rest = [ {X} ] }}"
LEFT = f'[ {{ type = "taking:State", fields = {{ h = {X} }} }} ]'
PAIR = f'{{ type = "taking:Pair", fields = {{ left = {LEFT}, right = {X} }} }}'
NESTED = f"[ {{ tuple = [ {{ x = {X} }}, {{ shape = [4] }} ] }}, {PAIR} ]"
NUMBER = f'{{ x = {X}, n = {{ dim = "n" }} }}\ndims = {{ n = {{ min = 3, max = 9, example = 4 }} }}'
JOBS = {
    "by-position": f'model = "taking:Positions"\ninputs = [ {X}, {X}, {X} ]',
    "by-name": f'model = "taking:Positions"\ninputs = {BY_NAME}',
    "wrapped": f'model = "taking:wrapped"\ninputs = {BY_NAME}',
    "nested": f'model = "taking:Nested"\ninputs = {NESTED}',
    "steps": f'model = "taking:Steps"\ninputs = {NUMBER}\ncompile = {{ format = "none" }}',
    "compiled-steps": f'model = "taking:Steps"\ninputs = {NUMBER}',
}
CALLS = """
import sys, torch
import taking

SIZES = (1, 5, 16, 2, 7)


def calls():
    for call, size in enumerate(SIZES):
        generator = torch.Generator().manual_seed(call)
        def t(*shape):
            return torch.randn(*shape, generator=generator)
        a, b, c, d = (t(size, 4) for _ in range(4))
        yield "by-position", taking.Positions(), (a, b, c), {}
        yield "by-name", taking.Positions(), (a, b, c), {"z": d}
        yield "wrapped", taking.Positions(), (a, b, c), {"z": d}
        yield "nested", taking.Nested(), (({"x": a}, t(4)), taking.Pair([taking.State(h=b)], c)), {}
        yield "steps", taking.Steps(), (), {"x": a, "n": 3 + call}


def compare(artifact_of):
    for name, model, args, kwargs in calls():
        with torch.no_grad():
            for run in artifact_of(name):
                torch.testing.assert_close(run(*args, **kwargs), model(*args, **kwargs), rtol=1e-5, atol=1e-6)
"""
PLAIN_TORCH = """
import functools


@functools.cache
def artifacts(name):
    found = [torch.export.load(f"dist/{name}@cpu/exported.pt2").module()]
    if name != "steps":
        found.append(torch._inductor.aoti_load_package(f"dist/{name}@cpu/compiled.pt2"))
    return found


compare(artifacts)
assert "batchexport" not in sys.modules
"""
LOADED = """
import batchexport

compare(lambda name: [] if name == "steps" else [batchexport.load(f"dist/{name}@cpu")])
x, y, z = torch.ones(2, 4), torch.ones(2, 4) * 2, torch.ones(2, 4) * 3
run = batchexport.load("dist/nested@cpu")
given = {"tree": ({"x": x}, torch.ones(4)), "pair": taking.Pair([taking.State(h=y)], z)}
torch.testing.assert_close(run(**given), run(*given.values()))
for wrong in ((), {"pair": given["pair"]}), ((given["tree"],), given), ((1, 2, 3), {}), ((), {**given, "other": 1}):
    try:
        run(*wrong[0], **wrong[1])
    except TypeError as error:
        print(error)
"""
REFUSALS = """\
the input 'tree' is missing; the inputs are tree, pair
the input 'tree' is given twice; the inputs are tree, pair
at most 2 inputs are taken by position, and 3 are given
the input 'other' is unknown; the inputs are tree, pair
"""


def python(folder: Path, code: str) -> str:
    """Run code in a process of its own, and return what it printed."""
    command = [sys.executable, "-c", CALLS + code]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GUARD, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_artifacts_are_called_as_the_manifest_calls_the_model(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("taking.py", MODELS)
    project.manifest(*(f'name = "{name}"\n{lines}' for name, lines in JOBS.items()), head=HEAD)
    ran = project.run()
    assert {name for name, job in ran.jobs.items() if not job["ok"]} == {"compiled-steps@cpu"}, ran.stdout
    refused = ran.error("compiled-steps@cpu")
    assert (refused["stage"], refused["kind"]) == ("compile", "compile")
    assert refused["message"] == "input['n'] is a number that varies, and compiled code takes tensors only"
    python(tmp_path, PLAIN_TORCH)
    assert python(tmp_path, LOADED) == REFUSALS
