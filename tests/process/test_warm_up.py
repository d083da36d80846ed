"""What the fork server does once for all its children leaves it fit to fork, and changes nothing that they make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.job import CompileSpec
from support.tools import compile_tools, inductor_folders

pytestmark = [pytest.mark.process, pytest.mark.torch]

# Exports a model, then compiles it in a fork before and in one after the warm-up.
SCRIPT = """
import json, os, sys, warnings
import torch
from torch import nn
from batchexport.pipeline import stages, warm_up
from batchexport.pipeline.compile import compile_stage
from batchexport.pipeline.identity import concrete_program_digest
from support.tools import generated
from pathlib import Path

tools, folder, spec = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
threads = lambda: len(os.listdir("/proc/self/task"))


def in_a_child(work):
    if (pid := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def export():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LayerNorm(784), nn.Linear(784, 2)).eval()
    program = torch.export.export(model, (torch.randn(2, 3, 16, 16),))
    torch.export.save(program, folder / "exported.pt2")
    (folder / "digest").write_text(concrete_program_digest(torch.export.load(folder / "exported.pt2")))


def compile_to(name):
    def work():
        (folder / name).mkdir()
        task = {"spec": spec, "exported": str(folder / "exported.pt2"), "skeleton": (folder / "digest").read_text(),
                "modules": [], "threads": 2, "tools": tools}
        compile_stage(task, str(folder / name))
    return work


in_a_child(export)
in_a_child(compile_to("cold"))
stages.warm()
told = {"threads": [threads()]}
with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always")
    stages.warm(tools)
told["warnings"] = [str(one.message) for one in shown]
told["threads"].append(threads())
in_a_child(compile_to("warm"))
told["same"] = generated(folder / "cold") == generated(folder / "warm")
told["kinds"] = sorted(generated(folder / "warm"))
print(json.dumps(told))
"""


def run(script: str, *arguments: str) -> dict[str, Any]:
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", **inductor_folders()}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_warm_server_has_one_thread_and_its_children_generate_the_same_code(tmp_path: Path) -> None:
    told = run(SCRIPT, json.dumps(compile_tools()), str(tmp_path), json.dumps(CompileSpec(target="cpu").to_json()))
    assert told == {"threads": [1, 1], "warnings": [], "same": True, "kinds": ["kernel", "wrapper"]}


FAILING = """
import json, os, sys
from unittest import mock
import torch._inductor
from batchexport.dependencies.preloaded import PRELOADED
from batchexport.pipeline import stages, warm_up

failed = None
with mock.patch.object(torch._inductor, "aot_compile", side_effect=RuntimeError("half of the patterns are there")):
    try:
        stages.warm(json.loads(sys.argv[1]))
    except warm_up.WarmUpFailed as error:
        failed = str(error.__cause__)
print(json.dumps({"failed": failed, "stock": PRELOADED.readers is not None}))
"""


def test_an_interrupted_warm_up_is_told_so_that_no_compile_is_forked() -> None:
    assert run(FAILING, json.dumps(compile_tools())) == {"failed": "half of the patterns are there", "stock": True}
