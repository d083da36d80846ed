"""On a machine with a GPU: the CUDA manifest compiles and verifies on it, and a second run builds nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from batchexport.manifest import resolve
from batchexport.toolchain import probe
from batchexport.toolchain.cuda import chosen

MANIFEST = Path(__file__).parents[2] / "manifests" / "cuda.toml"
DEVICES = chosen(listed=None, torch=metadata.version("torch"), runtime=probe.cuda_runtime())


def run(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BATCHEXPORT_")}
    report = folder / "report.json"
    command = [sys.executable, "-m", "batchexport", "run", str(MANIFEST), "--cache-dir", str(folder / "cache")]
    done = subprocess.run([*command, "--json", str(report), *options], cwd=folder, env=environment, check=False)
    return done.returncode, json.loads(report.read_text(encoding="utf-8"))


def test_the_manifest_has_at_least_six_architectures_for_the_gpu() -> None:
    jobs = resolve.load(MANIFEST).jobs
    assert len({job.export.model for job in jobs}) >= 6
    assert {job.target for job in jobs} == {"cuda"}


@pytest.mark.gpu
@pytest.mark.process
@pytest.mark.skipif(not DEVICES.usable, reason=DEVICES.why_none)
def test_the_architectures_compile_and_verify_on_the_gpu_and_are_cached(tmp_path: Path) -> None:
    code, report = run(tmp_path)
    assert code == 0
    for job in report["jobs"]:
        assert job["ok"], job
        assert {stage["outcome"] for stage in job["stages"].values()} <= {"built", "cached"}
        job_file = json.loads((MANIFEST.parent / job["outputs"]["compiled"]).with_name("job.json").read_text())
        assert job_file["verify"]["samples"]
    code, again = run(tmp_path)
    assert code == 0
    assert again["totals"]["compile"]["built"] == again["totals"]["export"]["built"] == 0
