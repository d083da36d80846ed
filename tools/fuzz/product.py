"""The product is run as a user runs it, and other scripts beside it; each command is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.project import Project

LIMIT_SECONDS = 6 * 3600
HERE = Path(__file__).parent
_OURS = ("BATCHEXPORT_", "OMP_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The commands over one project, with one cache. `slots` is the product's --jobs."""

    project: Project
    slots: int

    def run(self, name: str, *options: str, manifest: str = "m", cache: str = "cache") -> dict[str, Any]:
        """`batchexport run`; returns its report by job. Raises RuntimeError where it left none."""
        report = self.project.base / f"{name}.json"
        code = self._command(name, "run", manifest, cache, "--json", str(report), *options)
        return self._report(name, report, code)

    def verify(self) -> dict[str, Any]:
        """`batchexport verify`, which leaves its report with the outputs."""
        report = self.project.folder / "dist/report.json"
        report.unlink(missing_ok=True)
        return self._report("verify", report, self._command("verify", "verify", "m", "cache"))

    def unreferenced(self, jobs: Sequence[str], toolchain: Mapping[str, Any]) -> None:
        """Build jobs of `plain.toml` without eager calls, in the environment that the product gives to torch."""
        given = {name: str(value) for name, value in toolchain.items() if name.isupper()}
        manifest, cache = str(self.project.folder / "plain.toml"), str(self.project.base / "plain-cache")
        command = [sys.executable, "-P", str(HERE / "unreferenced.py"), manifest, cache, str(self.slots), *jobs]
        self._started("unreferenced", command, {**_environment(), **given})

    def bare(self, name: str, tasks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Carry out tasks in processes without the product: the results by id."""
        folder = self.project.base / name
        folder.mkdir(parents=True, exist_ok=True)
        given = {"project": str(self.project.folder), "tasks": list(tasks)}
        (folder / "tasks").write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, str(HERE / "bare.py"), str(folder / "tasks"), str(folder), str(self.slots)]
        environment = {**_environment(), "TORCHINDUCTOR_CACHE_DIR": str(self.project.base / "inductor")}
        environment.pop("PYTHONPATH", None)
        code = self._started(name, command, environment)
        if code:
            raise RuntimeError(f"bare.py ended with {code}: see {self.project.base / name}.log")
        return {task["id"]: json.loads((folder / f"{task['id']}.json").read_text(encoding="utf-8")) for task in tasks}

    def _command(self, name: str, verb: str, manifest: str, cache: str, *options: str) -> int:
        path = str(self.project.folder / f"{manifest}.toml")
        command = [sys.executable, "-P", "-m", "batchexport", verb, path, "--jobs", str(self.slots)]
        command += ["--cache-dir", str(self.project.base / cache), *options]
        return self._started(name, command, _environment())

    def _started(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
        with (self.project.base / f"{name}.log").open("wb") as log:
            done = subprocess.run(
                command,
                cwd=self.project.base,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        return done.returncode

    def _report(self, name: str, path: Path, code: int) -> dict[str, Any]:
        if code not in (0, 1) or not path.exists():
            raise RuntimeError(f"{name}: exit code {code}: see {self.project.base / name}.log")
        report = json.loads(path.read_text(encoding="utf-8"))
        return {"toolchain": report["toolchain"], "jobs": {job["name"]: job for job in report["jobs"]}}


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
