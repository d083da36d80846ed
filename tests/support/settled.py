"""A project with a job of each way to depend on something; built once a session, and left as it was by every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from support.projects import Project

HELPED = """
from helper import scale

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        # doubles
        return scale(self.linear(x))
"""
READS = '''
import json
from pathlib import Path

from torch import nn


class Model(nn.Module):
    """Reads a file."""

    def __init__(self):
        super().__init__()
        self.factor = json.loads(Path(__file__).with_name("data.json").read_text())["factor"]

    def forward(self, x):
        return x * self.factor
'''
WEIGHED = """
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)
"""
LISTENS = """
import os

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return x + float(os.environ.get("OF_THE_MODEL", "1"))
"""
# Tells what its process was when the model's module was imported.
TELLS = """
import json
import os
import sys
from pathlib import Path

had = sorted({"torch", "torch.export"} & sys.modules.keys())

from torch import nn

seen = {
    "had": had,
    "parent": Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\\0"),
    "command": Path("/proc/self/cmdline").read_text().split("\\0"),
    "folder": os.getcwd(),
}
print(json.dumps(seen), flush=True)


class Model(nn.Module):
    def forward(self, x):
        return x + 1
"""
JOBS = ("helped@cpu", "twin@cpu", "reads@cpu", "listens@cpu", "weighed@cpu", "declares@cpu", "tells@cpu")


def weights(factor: float) -> dict[str, torch.Tensor]:
    return {"linear.weight": torch.full((2, 4), factor), "linear.bias": torch.zeros(2)}


def build(root: Path) -> Project:
    """Write and run it. A failure here fails every test that uses it."""
    project = Project(root)
    project.write("helper.py", "def scale(x):\n    return 2 * x\n")
    for name, text in (
        ("helped", HELPED),
        ("twin", HELPED),
        ("reads", READS),
        ("weighed", WEIGHED),
        ("listens", LISTENS),
        ("tells", TELLS),
    ):
        project.write(f"{name}.py", text)
    project.write("data.json", '{"factor": 3.0}')
    project.write("tables/one.txt", "1")
    save_file(weights(1.0), project.root / "weights.safetensors")
    project.manifest(
        'name = "helped"\nmodel = "helped:Model"\ntags = ["nightly", "small"]',
        'name = "twin"\nmodel = "twin:Model"\ntags = ["nightly"]',
        *(f'name = "{name}"\nmodel = "{name}:Model"' for name in ("reads", "listens")),
        'name = "weighed"\nmodel = "weighed:Model"\nweights = "weights.safetensors"',
        'name = "declares"\nmodel = "weighed:Model"\ndata = ["tables/*.txt"]',
        'name = "tells"\nmodel = "tells:Model"',
    )
    ran = project.run()
    assert ran.code == 0, ran
    assert ran.built() == set(JOBS)
    return project


def restored(project: Project) -> Iterator[Project]:
    """Lend the project to one test, put its sources back afterwards, and see that this makes no work."""
    before = {path: path.read_bytes() for path in _sources(project.root)}
    yield project
    for path in _sources(project.root):
        if path not in before:
            path.unlink()
    for path, content in before.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    ran = project.run()
    assert ran.code == 0
    assert set(ran.outcomes().values()) == {"cached"}, ran.jobs


def _sources(root: Path) -> list[Path]:
    mine = [path for path in root.iterdir() if path.name not in ("cache", "dist")]
    below = [inner for path in mine if path.is_dir() for inner in path.rglob("*")]
    return [path for path in (*mine, *below) if path.is_file() and "__pycache__" not in path.parts]
