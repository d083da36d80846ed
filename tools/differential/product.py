"""The product is run as a user runs it: a command over a manifest, in a process of its own, judged by its report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from differential.world import World

LIMIT_SECONDS = 600
_OURS = ("BATCHEXPORT_", "LAB_", "OMP_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended: exit code, what it said, its wall time in seconds, and the jobs of its report."""

    code: int
    said: str
    seconds: float
    jobs: Mapping[str, Mapping[str, Any]]

    def work(self, job: str, stage: str) -> str:
        """What was done for a stage: "packed" or an outcome of the report; "" for nothing."""
        report = self.jobs[job]["stages"].get(stage, {})
        packed = report.get("outcome") == "cached" and report.get("seconds", 0) > 0
        return "packed" if packed else str(report.get("outcome", ""))

    def reason(self, job: str, stage: str) -> str:
        """Why."""
        return str(self.jobs[job]["stages"].get(stage, {}).get("reason", ""))

    def is_uncacheable(self, job: str) -> bool:
        """Whether the export is told as one that no later run may use.

        One such reason is that the model opened a file for update which an edit changed before the export ended: nobody
        can tell who changed it.
        """
        return self.work(job, "export") == "built" and "uncacheable" in self.reason(job, "export")

    def failure(self) -> str | None:
        """What went wrong, or None."""
        for name, job in self.jobs.items():
            if not job["ok"]:
                return f"{name}: {job['error']}"
        return None if self.code == 0 else f"exit code {self.code}: {self.said[-2000:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The command, over one world. `slots` is its --jobs, None for its own choice."""

    world: World
    slots: int | None

    def folder(self, name: str) -> Path:
        """The folder of a build, "kept" or "clean", with its cache and outputs."""
        return self.world.base / name

    def outputs(self, name: str) -> dict[str, Path]:
        """The folder of each job that a build has delivered, by the job's name."""
        found = (self.folder(name) / "outputs").glob("*/job.json")
        return {json.loads(path.read_text(encoding="utf-8"))["name"]: path.parent for path in found}

    def sweep(self) -> None:
        """Make the clean build's cache empty."""
        shutil.rmtree(self.folder("clean"), ignore_errors=True)

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a run of the manifest `name`."""
        folder = self.folder(name)
        (folder / "report.json").unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "batchexport", "run", str(self.world.base / f"project/{name}.toml")]
        command += ["--cache-dir", str(folder / "cache"), "--json", str(folder / "report.json")]
        command += ["--jobs", str(self.slots)] if self.slots else []
        return subprocess.Popen(
            command,
            cwd=self.world.base,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str) -> Ran:
        """A run of the manifest `name`, to its end."""
        started = time.monotonic()
        return self.ended(name, self.start(name), started)

    def ended(self, name: str, process: subprocess.Popen[str], started: float) -> Ran:
        """What came of a run that was started at `started` (monotonic seconds)."""
        try:
            said, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        path = self.folder(name) / "report.json"
        jobs = json.loads(path.read_text(encoding="utf-8"))["jobs"] if path.exists() else []
        return Ran(
            code=process.returncode,
            said=said,
            seconds=time.monotonic() - started,
            jobs={job["name"]: job for job in jobs},
        )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = [str(self.world.base / entry) for entry in self.world.state.path]
        path += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        return {**inherited, "PYTHONPATH": os.pathsep.join(path), **self.world.state.env}
