"""Run commands in a project with its own HOME and TMPDIR, so that every file that a run leaves is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_GUARD = 600.0  # seconds
_MARK = "WORKSPACE_OF_CHAOS"

MODELS = """
from torch import nn


class Small(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x):
        return self.linear(x)
"""
HEAD = """schema = 1

[cache]
dir = "cache"

[defaults]
model = "models:Small"

[defaults.inputs]
x = { shape = ["batch", 4] }

[defaults.dims]
batch = { min = 1, max = 16, example = 3 }
"""


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    code: int
    output: str


@dataclass
class Workspace:
    """`root` holds the project, its HOME and its TMPDIR. What its commands start carries its mark."""

    root: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        for folder in (self.project, self.home, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        (self.project / "models.py").write_text(MODELS)

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def data(self) -> Path:
        return self.project / "cache" / "v1"

    def manifest(self, seeds: Sequence[int], *, compiled: int | None = None) -> None:
        """One job a seed; with `compiled`, one more of that width that is compiled."""
        entry = f'[[entry]]\nname = "plain"\nmatrix = {{ seed = {list(seeds)} }}\ncompile = {{ format = "none" }}\n'
        more = f'[[entry]]\nname = "compiled"\nkwargs = {{ width = {compiled} }}\n' if compiled else ""
        (self.project / "manifest.toml").write_text(f"{HEAD}\n{entry}\n{more}")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command of batchexport in the project's folder."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("BATCHEXPORT_")}
        return subprocess.Popen(
            [sys.executable, "-m", "batchexport", *words],
            cwd=self.project,
            env={**own, "HOME": str(self.home), "TMPDIR": str(self.temporary), _MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        output, _ = process.communicate(timeout=_GUARD)
        return Ended(code=process.returncode, output=output)

    def do(self, *words: str) -> Ended:
        return self.ended(self.start(*words))

    def run(self, *options: str) -> Ended:
        return self.do("run", "manifest.toml", *options)

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        """Every living process of this workspace and its sort: coordinator, server, child or compiler."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = (process, process.ppid(), process.cmdline())
            except (psutil.Error, OSError):
                continue
        for process, parent, command in found.values():
            if "batchexport.workers.server" in command:
                above = found.get(parent)
                yield process, "child" if above and "batchexport.workers.server" in above[2] else "server"
            elif "batchexport" in command:
                yield process, "coordinator"
            elif command:
                yield process, "compiler"

    def end_all(self) -> None:
        """Kill what is left of this workspace's own processes."""
        for process, _ in self.processes():
            process.kill()

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What the last report says of each job."""
        report = json.loads((self.project / "dist" / "report.json").read_text())
        return {job["name"]: job for job in report["jobs"]}

    def outputs(self) -> dict[str, str]:
        """The digest of every delivered archive and library, by its path below `dist`."""
        dist = self.project / "dist"
        files = sorted(path for path in dist.glob("*/*") if path.suffix in (".pt2", ".so"))
        return {str(path.relative_to(dist)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def truth(self) -> dict[str, str]:
        """The same of a run with an empty cache; `dist` and the cache are as before afterwards."""
        dist, aside = self.project / "dist", self.root / "dist.aside"
        if dist.exists():
            dist.rename(aside)
        try:
            ran = self.run("--cache-dir", str(self.root / "clean"))
            assert ran.code == 0, ran.output
            return self.outputs()
        finally:
            shutil.rmtree(dist, ignore_errors=True)
            shutil.rmtree(self.root / "clean", ignore_errors=True)
            if aside.exists():
                aside.rename(dist)
