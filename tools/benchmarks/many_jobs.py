"""A project of very many jobs whose cache and outputs are what a real run of it would have left.

Building ten thousand models takes an hour, and a no-op run looks at none of what takes that long. So
the product's own coordinator builds the manifest here, and only its runner is exchanged: the first job's
stages run in a real child, and for every other job the runner leaves a copy of the files and the
result that the child left, marked with the job's seed so that no two jobs have a blob or a state in common, as
no two seeds have. Deciding, locking, staging, hashing, publishing, tracing, delivering and concluding are
the product's own code at work for every single job. So the index has the rows, the store the records and
blobs, and the output folder the files that a real run gives, under the keys it gives them.
`noop.py --check N` holds that against a manifest that was really built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from batchexport.core.options import RunOptions
from batchexport.dependencies.checker import DependencyChecker
from batchexport.engine import runner
from batchexport.planning import noop
from batchexport.store import statcache
from batchexport.store.index import Index
from batchexport.store.layout import Layout
from batchexport.toolchain import probe
from batchexport.workers import forkserver
from batchexport.workers.forkserver import ForkServer, ProcessExit
from batchexport.workers.protocol import StageRequest

MANIFEST = "manifest.toml"
RESULT = "result.json"

_MODEL = '''"""The model of every job."""

from torch import Tensor, nn


class Tiny(nn.Module):
    """One dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)
'''

_HEAD = """schema = 1

[output]
dir = "dist"

[cache]
dir = "cache"

[defaults.compile]
format = "none"

[defaults.inputs]
x = { shape = ["batch", 4] }

[defaults.dims]
batch = { min = 1, max = 16, example = 3 }
"""


def write_project(folder: Path, jobs: int, *, own_sources: bool = False) -> RunOptions:
    """A manifest of `jobs` entries that differ in name and seed, and with `own_sources` in their modules."""
    folder.mkdir(parents=True)
    modules = [f"tiny_{seed}_module" if own_sources else "tiny" for seed in range(jobs)]
    for module in dict.fromkeys(modules):
        (folder / f"{module}.py").write_text(_MODEL, encoding="utf-8")
    entries = [
        f'\n[[entry]]\nname = "tiny-{seed}"\nseed = {seed}\nmodel = "{module}:Tiny"\n'
        for seed, module in enumerate(modules)
    ]
    (folder / MANIFEST).write_text(_HEAD + "".join(entries), encoding="utf-8")
    return RunOptions(manifest=folder / MANIFEST, jobs=1)


def fill(options: RunOptions) -> None:
    """Leave cache and outputs as a run would. Raises RuntimeError where a job fails."""

    class Replayed(Replay):
        def __init__(self, *, environment: dict[str, str], log: Path) -> None:
            super().__init__(ForkServer(environment=environment, log=log))

    with (
        patch.object(forkserver, "ForkServer", Replayed),
        # Nothing of this has to survive a power failure, and flushing it takes most of the time.
        patch.object(os, "fsync", lambda descriptor: None),
        # A real run is slow enough for the stats of what it checked to be worth remembering.
        patch.object(statcache, "RACY_SECONDS", -1.0),
    ):
        ended = runner.run_jobs(options, lambda event: None)
    failed = [report for report in ended.reports if not report.ok]
    if failed or ended.notes:
        raise RuntimeError(f"{len(failed)} jobs failed, {failed[0].error if failed else ended.notes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a real child left of one stage."""

    ended: ProcessExit
    files: dict[str, bytes]
    result: dict[str, Any]
    module: str


class Replay:
    """A fork server: each stage runs once for real, and its outcome is repeated for the later jobs, one by one."""

    _request: StageRequest  # the one that runs: they run one by one

    def __init__(self, real: ForkServer) -> None:
        self._real = real
        self._templates: dict[str, Template] = {}

    @property
    def note(self) -> str | None:
        return self._real.note

    def open(self) -> None:
        pass

    def start(self, request: StageRequest) -> None:
        self._request = request
        if request.task["stage"] not in self._templates:
            self._real.start(request)

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        stage, folder = self._request.task["stage"], Path(self._request.folder)
        template = self._templates.get(stage)
        if template is None:
            ended = self._real.wait(timeout)
            if ended:
                self._templates[stage] = _kept(ended[0], folder, _module(self._request) if stage == "export" else "")
            return ended
        mark = hashlib.sha256(self._request.id.encode()).hexdigest()
        for name, data in template.files.items():
            (folder / name).write_bytes(data + mark.encode())
        result = template.result
        if stage == "export":
            state = [[*row[:-1], _mixed(row[-1], mark)] for row in result["output"]["state"]]
            result = {**result, "output": {**result["output"], "state": state}}
        text = json.dumps(result)
        if stage == "export":  # whatever the first job's module led to, this job's own would have
            text = text.replace(template.module, _module(self._request))
        (folder / RESULT).write_text(text, encoding="utf-8")
        return [replace(template.ended, id=self._request.id)]

    def signal(self, name: str, number: int) -> None:
        self._real.signal(name, number)

    def resident_bytes(self, *, exact: bool) -> dict[str, int]:
        return self._real.resident_bytes(exact=exact)

    @property
    def serves(self) -> bool:
        return self._real.serves

    def end_children(self) -> None:
        self._real.end_children()

    def close(self) -> None:
        self._real.close()


def _module(request: StageRequest) -> str:
    """The module of an export's model."""
    return str(request.task["spec"]["model"]).partition(":")[0]


def _kept(ended: ProcessExit, folder: Path, module: str) -> Template:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    result = json.loads(files.pop(RESULT))
    return Template(ended=ended, files=files, result=result, module=module)


def _mixed(digest: str, mark: str) -> str:
    return hashlib.sha256(f"{digest}{mark}".encode()).hexdigest()


# ── what a run looks at ──────────────────────────────────────────────────────────────────────


def forget_conclusion(options: RunOptions) -> None:
    """Take the conclusion out of the index, so that the next run goes the long way."""
    manifest = options.manifest.read_bytes()
    index = Index(_layout(options).index)
    index.delete("conclusion", noop.noop_key(options, manifest, probe.toolchain()))
    index.close()


def settle(options: RunOptions) -> None:
    """Let the newest outputs grow old, and have a run remember their stats, as any later run would find them."""
    time.sleep(statcache.RACY_SECONDS + 0.1)
    forget_conclusion(options)
    runner.run_jobs(options, lambda event: None)


def kept(options: RunOptions) -> Counter[str]:
    """What the cache holds, counted: index rows by space, records by kind, blobs."""
    layout = _layout(options)
    with closing(sqlite3.connect(layout.index / "cache.db")) as database:
        names = [name for (name,) in database.execute("SELECT key FROM Cache")]
    found = Counter(f"index rows: {name.partition(':')[0]}" for name in names)
    found.update(f"records: {path.name.partition('-')[0]}" for path in layout.entries.glob("*/*.json"))
    found["blobs"] = sum(1 for _ in layout.objects.glob("*/*"))
    return found


def _layout(options: RunOptions) -> Layout:
    return Layout((options.manifest.parent / "cache").absolute())


def looked_at(options: RunOptions, *, long: bool) -> Counter[str]:
    """What a no-op run looks at, counted: rows of the index, dependencies, stats; `long` for the long way."""
    with _counting() as seen:
        if long:
            runner.run_jobs(options, lambda event: None)
        elif noop.load(options, probe.toolchain()) is None:
            raise RuntimeError("the run was not concluded")
    return seen


@contextmanager
def _counting() -> Iterator[Counter[str]]:
    seen: Counter[str] = Counter()
    select, change, stat = Index._select, DependencyChecker.change_reason, os.stat

    def counted_select(self: Index, cache: Any, names: list[str]) -> list[tuple[str, str]]:
        rows = select(self, cache, names)
        seen["index rows"] += len(rows)
        return rows

    def counted_change(self: DependencyChecker, dependency: Any) -> str | None:
        seen["dependency checks"] += 1
        return change(self, dependency)

    def counted_stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if "/dist/" in str(path):
            seen["output stats"] += 1
        return stat(path, *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(patch.object(Index, "_select", counted_select))
        stack.enter_context(patch.object(DependencyChecker, "change_reason", counted_change))
        stack.enter_context(patch.object(os, "stat", counted_stat))
        yield seen


def remove(folder: Path) -> None:
    """Remove a project."""
    shutil.rmtree(folder, ignore_errors=True)
