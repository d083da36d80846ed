"""A project in a temporary folder: model files, a manifest, a cache, and the real command that works on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import served

GUARD = 300.0  # seconds after which a test that waits gives up; never what a test measures
_MARK = "PROJECT_OF_A_TEST"

# One input of shape [batch, 4].
COMPILED = """
schema = 1

[cache]
dir = "cache"

[defaults.inputs]
x = { shape = ["batch", 4] }

[defaults.dims]
batch = { min = 1, max = 16, example = 3 }
"""
# The same without a compile: most tests are about something else.
PLAIN = f"""{COMPILED}
[defaults.compile]
format = "none"
"""


@dataclass(frozen=True)
class Ran:
    """How one command ended, and the JSON report it left, if it did."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, Any]

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The reports of the jobs by name; a job that is in the report twice is a failure here."""
        names = [job["name"] for job in self.report["jobs"]]
        assert len(names) == len(set(names)), f"more than one report of a job: {names}"
        return {job["name"]: job for job in self.report["jobs"]}

    def outcomes(self, stage: str = "export") -> dict[str, str]:
        """What became of a stage, by job."""
        return {name: job["stages"].get(stage, {}).get("outcome") for name, job in self.jobs.items()}

    def built(self) -> set[str]:
        """The jobs of which any stage was built."""
        return {
            name
            for name, job in self.jobs.items()
            if any(stage["outcome"] == "built" for stage in job["stages"].values())
        }

    def error(self, name: str) -> dict[str, Any]:
        """The error of a failed job."""
        error: dict[str, Any] = self.jobs[name]["error"]
        assert error is not None, f"{name} did not fail: {self.jobs[name]}"
        return error


@dataclass
class Project:
    """A folder that is a project. Every process it starts, and theirs, carry its mark in their environment."""

    root: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def write(self, name: str, text: str) -> Path:
        """A file of the project, its text dedented."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def manifest(self, *entries: str, head: str = PLAIN) -> Path:
        """The manifest: `head`, then each entry's lines under `[[entry]]`."""
        parts = [textwrap.dedent(head), *(f"[[entry]]\n{textwrap.dedent(entry)}" for entry in entries)]
        return self.write("manifest.toml", "\n".join(parts))

    def environment(self, **more: str) -> dict[str, str]:
        """What a command is started with."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("BATCHEXPORT_")}
        return {**own, _MARK: self.mark, **more}

    def start(self, verb: str, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command over the manifest, in the project's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "batchexport", verb, "manifest.toml", *options],
            cwd=self.root,
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def do(self, verb: str, *options: str, env: Mapping[str, str] | None = None) -> Ran:
        """A command over the manifest, to its end."""
        return self.ended(self.start(verb, *options, env=env))

    def run(self, *options: str) -> Ran:
        """`batchexport run`, to its end, in the process that serves commands."""
        self._forget()
        environment = {name: value for name, value in self.environment().items() if name != _MARK}
        code, stdout, stderr = served.command(
            ["run", "manifest.toml", *options], folder=self.root, environment=environment
        )
        return Ran(code=code, stdout=stdout, stderr=stderr, report=self._report())

    def run_alone(self, *options: str, env: Mapping[str, str] | None = None) -> Ran:
        """`batchexport run`, to its end, in a process of its own."""
        self._forget()
        return self.do("run", *options, env=env)

    def _forget(self) -> None:
        """Remove the report of an earlier run, so that it is not taken for that of the next one."""
        (self.root / "dist" / "report.json").unlink(missing_ok=True)

    def _report(self) -> dict[str, Any]:
        path = self.root / "dist" / "report.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def ended(self, process: subprocess.Popen[str]) -> Ran:
        """What came of a command."""
        try:
            stdout, stderr = process.communicate(timeout=GUARD)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Ran(code=process.returncode, stdout=stdout, stderr=stderr, report=self._report())

    def log(self, job: str, stage: str = "export") -> str:
        """All that a stage of a job printed."""
        return (self.root / "cache" / "v1" / "logs" / job / f"{stage}.log").read_text(encoding="utf-8")

    def processes(self) -> dict[int, str]:
        """Every living process that this project's commands started, by pid: its command line."""
        return dict(_marked(f"{_MARK}={self.mark}"))


def _marked(setting: str) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if setting.encode() in environment and state not in "ZX":
            yield int(folder.name), command


def wait_for(what: Callable[[], Any], *, saying: str, during: subprocess.Popen[str] | None = None) -> Any:
    """Wait until `what()` is true and return it.

    Fails, saying for what it waited, after GUARD seconds or once the command that should bring it about has ended.
    """
    deadline = time.monotonic() + GUARD
    while not (found := what()):
        if during is not None and during.poll() is not None:
            assert what(), f"the command ended before {saying}:\n{during.communicate()}"
        assert time.monotonic() < deadline, f"waited in vain for {saying}"
        time.sleep(0.02)
    return found
