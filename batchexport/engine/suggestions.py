"""Ask a child for each model what an entry for it needs; a crash or a hang of one harms none of the others."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchexport.core.job import ExportSpec
from batchexport.toolchain.probe import import_path
from batchexport.workers.exit_status import RESULT_FILE, signal_name
from batchexport.workers.forkserver import ForkServer, ProcessExit
from batchexport.workers.protocol import StageRequest

_SECONDS = 300.0  # for one model


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to make an entry for. `given` are nodes of inputs by name, as a spec has them."""

    model: str
    head: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The lines of an entry, or the failure in words. `wanted` are inputs that have to be given.

    `derived` are inputs that a run derives by itself.
    """

    candidate: Candidate
    inputs: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    failure: str | None = None
    remedy: str | None = None
    wanted: tuple[str, ...] = ()


def suggest(candidates: Sequence[Candidate], root: Path, tell: Callable[[str], None]) -> list[Suggestion]:
    """Build each model once, and return a suggestion for each. `root` is where the manifest will lie.

    `tell` is called with the name of each model before its turn. Raises EnvironmentProblem without torch.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="batchexport-init-") as scratch:
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "TORCHINDUCTOR_CACHE_DIR": scratch,
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(import_path()),
        }
        server = ForkServer(environment=environment, log=Path(scratch, "server.log"))
        try:
            for index, candidate in enumerate(candidates):
                tell(candidate.model)
                folder = Path(scratch, str(index))
                (folder / "tmp").mkdir(parents=True)
                found.append(_ask(server, candidate, root, folder))
        finally:
            server.close()
    return found


def _ask(server: ForkServer, candidate: Candidate, root: Path, folder: Path) -> Suggestion:
    log = folder / "log"
    spec = ExportSpec(model=candidate.model, head=candidate.head, kwargs=candidate.kwargs).to_json()
    task = {
        "stage": "suggest",
        "root": str(root),
        "temporary": str(folder / "tmp"),
        "worker_threads": 1,
        "draft_report": str(folder / "draft.txt"),
        "modules": [candidate.model],
        "spec": spec,
        "given": {name: dict(node) for name, node in candidate.given.items()},
    }
    server.start(
        StageRequest(
            id=candidate.model,
            folder=str(folder),
            log=str(log),
            environment={"TMPDIR": str(folder / "tmp")},
            memory_limit=None,
            spawn=False,
            task=task,
        )
    )
    ended, timed_out = _ended(server, candidate.model)
    result = _result(folder)
    if result is None:
        what = f"it took more than {_SECONDS:.0f} s" if timed_out else f"building or calling it {_ending(ended.status)}"
        return Suggestion(candidate=candidate, failure=what)
    if not result["ok"]:
        error = result.get("error") or {"message": result.get("changed", "a file changed meanwhile"), "remedy": None}
        wanted = tuple(error.get("findings", ())) if error.get("kind") == "inputs" else ()
        return Suggestion(candidate=candidate, failure=error["message"], remedy=error["remedy"], wanted=wanted)
    output = result["output"]
    return Suggestion(
        candidate=candidate,
        inputs=tuple(output["inputs"]),
        dims=tuple(output["dims"]),
        derived=tuple(output["derived"]),
    )


def _ended(server: ForkServer, name: str) -> tuple[ProcessExit, bool]:
    """Wait for a child; return how it ended, and whether it was killed for its time."""
    deadline, timed_out = time.monotonic() + _SECONDS, False
    while True:
        for one in server.wait(1.0):
            if one.id == name:
                return one, timed_out
        if time.monotonic() > deadline and not timed_out:
            server.signal(name, signal.SIGKILL)
            timed_out = True


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed its process ({signal_name(-status)})"
    return f"ended its process (exit code {status})"


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
