"""Run stages in the coordinator's own process, for `--in-process`, so that a debugger can step into the model."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from batchexport.workers import process
from batchexport.workers.child import PIPELINE
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.protocol import StageRequest


class InProcess:
    """A Runner like ForkServer, whose `start` returns when the stage is done."""

    note: str | None = None

    def __init__(self, environment: dict[str, str]) -> None:
        """Take the environment that torch must be imported with."""
        self._environment = environment
        self._exits: list[ProcessExit] = []

    def open(self) -> None:
        """Do nothing: the first stage imports torch."""

    def start(self, request: StageRequest) -> None:
        """Run the stage now. Raises what the stage does not catch."""
        started = time.monotonic()
        with _restored_state():
            os.environ.update(self._environment)
            stages = importlib.import_module(PIPELINE)
            process.apply_environment(request.environment, request.task["root"])
            stages.run(request.task, request.folder)
        self._exits.append(ProcessExit(id=request.id, status=0, seconds=time.monotonic() - started))

    def signal(self, name: str, number: int) -> None:
        """Do nothing: there is no child."""

    def resident_bytes(self, *, exact: bool) -> dict[str, int]:
        """Return an empty dict: there is no child."""
        return {}

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        """Return the stages that have run since the last call."""
        if not self._exits:
            time.sleep(timeout or 0)
        exits, self._exits = self._exits, []
        return exits

    def end_children(self) -> None:
        """Do nothing: there is no child."""


@contextmanager
def _restored_state() -> Iterator[None]:
    """Restore the environment, arguments, working folder, import path and temporary folder when the block ends."""
    arguments = sys.argv
    environment, folder, path, temporary = dict(os.environ), os.getcwd(), list(sys.path), tempfile.tempdir
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = arguments
        sys.path[:] = path
        tempfile.tempdir = temporary
