"""Compiled outputs run with plain torch, match eager at every size, and share code only where that is right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from support.projects import GUARD, Project, Ran

pytestmark = [pytest.mark.process, pytest.mark.torch]

MODELS = '''
import torch
from torch import nn


class Model(nn.Module):
    """Small tensors, which Inductor likes to write into the code; a constant, a buffer, all kinds of inputs."""

    def __init__(self, shift=1.0):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.scale = nn.Parameter(torch.rand(()) + 0.5)
        self.register_buffer("running", torch.rand(3))
        self.constant = torch.tensor([shift, shift / 2, 0.0])

    def forward(self, x, pair, *, factor, table=None):
        hidden = self.norm(self.linear(x)) * self.scale + self.running + self.constant
        return {"sum": hidden * factor + pair[0] - pair[1], "ids": table["ids"] + 1, "first": hidden[0]}


def built(seed, shift=1.0):
    torch.manual_seed(seed)
    return Model(shift).eval()


def inputs(batch):
    generator = torch.Generator().manual_seed(batch)
    return {
        "x": torch.randn(batch, 4, generator=generator),
        "pair": [torch.randn(batch, 3, generator=generator), torch.randn(3, generator=generator)],
        "factor": 2.5,
        "table": {"ids": torch.arange(batch)},
    }
'''
MANIFEST = """
schema = 1

[cache]
dir = "cache"

[defaults]
model = "models:Model"

[defaults.inputs]
x = { shape = ["batch", 4] }
pair = [{ shape = ["batch", 3] }, { shape = [3] }]
factor = 2.5
table = { ids = { shape = ["batch"], dtype = "int64", range = [0, 9] } }

[defaults.dims]
batch = { min = 1, max = 16, example = 3 }

[[entry]]
name = "seeds"
matrix = { seed = [1, 2] }

[[entry]]
name = "shifted"
kwargs = { shift = 4.0 }
seed = 1

[[entry]]
name = "weighed"
weights = "weights.pt"

[[entry]]
name = "inside"
seed = 1
compile = { weights = "embedded" }

[[entry]]
name = "library"
seed = 1
compile = { format = "so" }
"""
# Folder below dist/: the arguments of `models.built` that give the same model.
PACKAGES: dict[str, tuple[float, ...]] = {
    "seeds[seed=1]@cpu": (1,),
    "seeds[seed=2]@cpu": (2,),
    "shifted@cpu": (1, 4.0),
    "weighed@cpu": (4,),
    "inside@cpu": (1,),
}
LIBRARY = "library@cpu"

WITH_PLAIN_TORCH = """
import json, sys
import torch
import models

jobs, library, numbers = json.loads(sys.argv[1]), sys.argv[2], {}


def compare(name, run, model):
    for batch in (1, 2, 3, 7, 16):
        given = models.inputs(batch)
        with torch.no_grad():
            got, want = run(**given), model(**given)
        assert got.keys() == want.keys()
        for key in want:
            torch.testing.assert_close(got[key], want[key], rtol=1e-4, atol=1e-5, msg=f"{name} {key} at {batch}")
    numbers[name] = want["sum"].flatten()[:4].tolist()


for job, arguments in jobs.items():
    model = models.built(*arguments)
    compare(f"{job} exported", torch.export.load(f"dist/{job}/exported.pt2").module(), model)
    compare(f"{job} compiled", torch._inductor.aoti_load_package(f"dist/{job}/compiled.pt2"), model)
if library:
    compare(library, torch._export.aot_load(f"dist/{library}/compiled.so", "cpu"), models.built(1))

assert not [name for name in sys.modules if name.partition(".")[0] == "batchexport"]
print(json.dumps(numbers))
"""


def with_plain_torch(project: Project, jobs: dict[str, tuple[float, ...]], library: str = "") -> dict[str, Any]:
    """Load and run the outputs in a process that never imports batchexport; return some of the numbers."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_PLAIN_TORCH, json.dumps(jobs), library],
        cwd=project.root,
        env=project.environment(TORCHINDUCTOR_CACHE_DIR=str(project.root / "cache/v1/inductor/cache")),
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def write_weights(project: Project, *, seed: int) -> None:
    """Write the weights of `models.built(seed)` as the weights file of the entry "weighed"."""
    made: dict[str, Any] = {}
    exec(MODELS, made)
    torch.save(made["built"](seed).state_dict(), project.root / "weights.pt")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("compiled"))
    project.write("models.py", MODELS)
    project.manifest(head=MANIFEST)
    write_weights(project, seed=4)
    return project


@pytest.fixture(scope="module")
def ran(project: Project) -> Ran:
    """The one run that compiles."""
    ran = project.run()
    assert ran.code == 0, ran
    return ran


def test_every_output_runs_with_plain_torch_and_matches_eager_at_every_size(project: Project, ran: Ran) -> None:
    numbers = with_plain_torch(project, PACKAGES, LIBRARY)
    assert len(numbers) == 2 * len(PACKAGES) + 1
    # These are different models, or the comparison above would prove nothing.
    assert numbers["seeds[seed=1]@cpu compiled"] != numbers["seeds[seed=2]@cpu compiled"]
    assert numbers["seeds[seed=1]@cpu compiled"] != numbers["shifted@cpu compiled"]


def test_other_weights_share_the_code_and_another_constant_does_not(ran: Ran) -> None:
    outcomes = ran.outcomes("compile")
    assert sorted([outcomes["seeds[seed=1]@cpu"], outcomes["seeds[seed=2]@cpu"]]) == ["built", "cached"]
    assert {outcomes[name] for name in ("shifted@cpu", "inside@cpu", LIBRARY)} == {"built"}
    # All of them are the same program.
    assert len({job["stages"]["export"]["key"] for job in ran.jobs.values()}) == 4


def test_the_evidence_of_verification_is_delivered_with_the_artifact(project: Project, ran: Ran) -> None:
    for job in ran.jobs:
        verify = json.loads((project.root / "dist" / job / "job.json").read_text())["verify"]
        assert [sample["point"]["batch"] for sample in verify["samples"]] == [3, 1, 16]
        assert all(sample["max_abs_diff"] < 1e-4 for sample in verify["samples"])
        assert verify["refused"]["point"] == {"batch": 17}


def test_the_digests_in_job_json_are_those_of_the_files(project: Project, ran: Ran) -> None:
    import hashlib

    for job, report in ran.jobs.items():
        folder = project.root / "dist" / job
        job_file = json.loads((folder / "job.json").read_text())
        for name in job_file["outputs"].values():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == job_file["digests"][name]
        assert {Path(path).name for path in report["outputs"].values()} == set(job_file["outputs"].values())


def test_new_weights_are_packed_around_the_code_without_a_compile_and_are_right(project: Project, ran: Ran) -> None:
    path = project.root / "manifest.toml"
    path.write_text(path.read_text().replace("seed = [1, 2]", "seed = [1, 2, 3]"))
    again = project.run()
    assert again.code == 0, again
    stages = again.jobs["seeds[seed=3]@cpu"]["stages"]
    assert {name: stage["outcome"] for name, stage in stages.items()} == {
        "export": "built",
        "compile": "cached",
        "verify": "built",
    }
    assert again.built() == {"seeds[seed=3]@cpu"}
    with_plain_torch(project, {"seeds[seed=3]@cpu": (3,)})


def test_a_new_weights_file_is_packed_by_the_child_that_exports_it_and_is_right(project: Project, ran: Ran) -> None:
    write_weights(project, seed=5)
    logs = project.root / "cache/v1/logs/weighed@cpu"
    (logs / "compile.log").unlink()
    again = project.run()
    assert again.code == 0, again
    assert again.built() == {"weighed@cpu"}
    compiled = again.jobs["weighed@cpu"]["stages"]["compile"]
    assert (compiled["outcome"], compiled["reason"]) == ("cached", "program unchanged, new weights")
    assert compiled["seconds"] > 0
    assert not (logs / "compile.log").exists()
    with_plain_torch(project, {"weighed@cpu": (5,)})
    # The package is what packing in a child of its own gives, byte for byte.
    package = project.root / "dist" / "weighed@cpu" / "compiled.pt2"
    content = package.read_bytes()
    (project.root / "cache/v1/entries" / compiled["key"][:2] / f"compile-{compiled['key']}.json").unlink()
    shutil.rmtree(project.root / "cache/v1/index")
    package.unlink()
    apart = project.run()
    assert apart.code == 0, apart
    assert apart.outcomes()["weighed@cpu"] == "cached"
    assert (logs / "compile.log").exists()
    assert package.read_bytes() == content


def test_new_weights_over_a_damaged_store_are_built_from_scratch(project: Project, ran: Ran) -> None:
    write_weights(project, seed=6)
    for blob in (project.root / "cache/v1/objects").glob("*/*"):
        blob.chmod(0o644)
        content = blob.read_bytes()
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"?")
    again = project.run("--only", "weighed@cpu")
    assert again.code == 0, again
    assert {name: stage["outcome"] for name, stage in again.jobs["weighed@cpu"]["stages"].items()} == {
        "export": "built",
        "compile": "built",
        "verify": "built",
    }
    with_plain_torch(project, {"weighed@cpu": (6,)})


def test_a_missing_compiler_fails_the_compile_with_kind_toolchain(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("models.py", "from torch import nn\n\n\nclass Model(nn.Identity):\n    pass\n")
    project.manifest(
        'name = "a"\nmodel = "models:Model"\ninputs = { input = { shape = [2] } }',
        head='schema = 1\n[cache]\ndir = "cache"\n',
    )
    ran = project.run_alone(env={"CXX": "/nowhere/g++"})
    assert ran.code == 3
    error = ran.error("a@cpu")
    assert (error["stage"], error["kind"]) == ("compile", "toolchain"), error
    assert "doctor" in error["remedy"]
    assert (tmp_path / error["log"]).is_file()
    assert ran.outcomes() == {"a@cpu": "built"}
    assert "Traceback" not in ran.stdout + ran.stderr
    assert project.processes() == {}
