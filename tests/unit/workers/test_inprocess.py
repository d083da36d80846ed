"""In process: a stage leaves the process as it found it, for the next job and the caller."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.workers import inprocess
from batchexport.workers.inprocess import InProcess
from batchexport.workers.protocol import StageRequest


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., InProcess]:
    """Run a stand-in for the pipeline in this process."""

    def start(work: Callable[[Any, str], Any], **environment: str) -> InProcess:
        pipeline = types.ModuleType("a_pipeline")
        pipeline.run = work  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "a_pipeline", pipeline)
        monkeypatch.setattr(inprocess, "PIPELINE", "a_pipeline")
        runner = InProcess({"FOR_TORCH": "1"})
        task = {"root": str(tmp_path)}
        request = StageRequest(
            id="m:export", folder="f", log="l", environment=environment, memory_limit=None, spawn=False, task=task
        )
        runner.start(request)
        return runner

    return start


def test_a_stage_is_run_with_its_task_environment_and_folder(run: Callable[..., InProcess], tmp_path: Path) -> None:
    observed: dict[str, Any] = {}

    def work(task: Any, folder: str) -> None:
        observed.update(task=task, folder=folder, cwd=os.getcwd(), own=os.environ["OWN"], torch=os.environ["FOR_TORCH"])

    runner = run(work, OWN="x")
    assert observed == {"task": {"root": str(tmp_path)}, "folder": "f", "cwd": str(tmp_path), "own": "x", "torch": "1"}
    [process_exit] = runner.wait(None)
    assert (process_exit.id, process_exit.status) == ("m:export", 0)
    assert runner.wait(0.0) == []


def test_a_stage_leaves_the_process_as_it_was(run: Callable[..., InProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    before = dict(os.environ), os.getcwd(), list(sys.path), tempfile.tempdir

    def work(task: Any, folder: str) -> None:
        os.environ["NEW"] = "1"
        del os.environ["KEPT"]
        sys.path.insert(0, "/models")
        os.chdir("/")
        tempfile.tempdir = "/somewhere"

    run(work, OWN="x")
    assert (dict(os.environ), os.getcwd(), list(sys.path), tempfile.tempdir) == before


def test_a_stage_that_raises_leaves_the_process_as_it_was(run: Callable[..., InProcess]) -> None:
    before = dict(os.environ), os.getcwd()

    def work(task: Any, folder: str) -> None:
        os.environ["NEW"] = "1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, OWN="x")
    assert (dict(os.environ), os.getcwd()) == before
