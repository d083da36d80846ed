"""Observations: model code runs under an observer in a process of its own, as nobody can take an audit hook out.

The processes are forked from one that has the observer imported, as those of the fork server are.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from batchexport.workers.native_opens import preloaded

# What stages.py does around the export stage, without torch. Its own frames are nobody's code.
_SERVER = """
import importlib, json, os, sys, tempfile, traceback
from batchexport.dependencies.installed import installed
from batchexport.dependencies.observer import Observer
from batchexport.dependencies.observations import InputChanged
from batchexport.dependencies.zones import third_party_roots
installed().owners

def work(task):
    for name in set(os.environ) - set(task["env"]):
        del os.environ[name]
    os.environ.update(task["env"])
    os.chdir(task["root"])
    sys.path[:] = [task["root"], *task["path"], *(entry for entry in sys.path if entry != task["root"])]
    if any(entry.endswith("site-packages") for entry in task["path"]):  # as a server started now would find them
        installed.cache_clear()
        third_party_roots.cache_clear()
    exec(task["before"], globals())
    observer = Observer(
        root=task["root"], ignored=tuple(task["ignored"]), own_environment=frozenset(task["own"]),
        output_dir=task["output"], cache=task["cache"], given=task["env"],
    )
    import safetensors  # as stages.py does
    observer.install()
    for path, weights in task["declared"]:
        observer.declare(os.path.join(task["root"], path), weights=weights)
    changed, found = None, []
    os.access("/observed-begins", os.F_OK)  # a mark for strace
    module = importlib.import_module("model")
    os.access("/observed-ends", os.F_OK)
    try:
        found = [dependency.to_row() for dependency in observer.dependencies()]
    except InputChanged as error:
        changed = str(error)
    value = getattr(module, "VALUE", None)
    answer = {"found": found, "uncacheable": observer.uncacheable, "changed": changed, "value": value}
    with open(task["answer"], "w") as file:
        json.dump(answer, file)

for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork()
    if not pid:
        code = 1
        for descriptor in (0, 1):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        try:
            work(task)
            code = 0
        except BaseException:
            with open(task["answer"], "w") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(code)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@dataclass(frozen=True)
class Seen:
    """What was seen of one run of model code. Paths below the root are relative to it."""

    found: list[list[Any]]
    uncacheable: list[str]
    changed: str | None
    value: Any

    def of(self, kind: str) -> dict[str, Any]:
        """The dependencies of a kind: subject → what is recorded of it first."""
        return {subject: rest[0] if rest else None for sort, subject, *rest in self.found if sort == kind}

    def all(self) -> set[str]:
        """Every path and name that anything depends on, whatever the kind, but for what is absent."""
        return {subject for kind, subject, *_ in self.found if kind not in ("absent", "no-module", "modules")}


@cache
def _server(seed: str, *, before: str = "", trace: str | None = None, native: bool = False) -> subprocess.Popen[str]:
    """Start a server; under strace if `trace` names a file, and with the record of native opens if `native`."""
    strace = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", "trace=%file,getdents64", "-o", trace] if trace else []
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    if native:
        environment = preloaded({**environment, "TORCHINDUCTOR_CACHE_DIR": tempfile.gettempdir()})
    server = subprocess.Popen(
        [*strace, sys.executable, "-P", "-c", before + _SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # which closes its input, and so ends it
    return server


def traced_server(trace: Path, *, native: bool) -> subprocess.Popen[str]:
    """Start a server with torch, which strace records in the file `trace`."""
    return _server("0", before="import torch.export, torch.jit, torch.package\n", trace=str(trace), native=native)


def observe(
    root: Path,
    code: str,
    *,
    ignored: Sequence[Path] = (),
    output: Path | None = None,
    cache: Path | None = None,
    own: Sequence[str] = (),
    declared: Sequence[tuple[str, bool]] = (),
    path: Sequence[Path] = (),
    before: str = "",
    env: Mapping[str, str] = {},
    seed: str = "0",
    server: subprocess.Popen[str] | None = None,
) -> Seen:
    """Run `code` as the model of a project in `root`; what it calls VALUE comes back.

    `path` comes after `root` on the import path; `before` runs before anybody watches.
    """
    (root / "model.py").write_text(textwrap.dedent(code), encoding="utf-8")
    answer = root.parent / f"{root.name}.answer"
    task = {
        "root": str(root),
        "ignored": [str(folder) for folder in ignored],
        "output": str(output or ""),
        "cache": str(cache or ""),
        "own": list(own),
        "declared": list(declared),
        "path": [str(folder) for folder in path],
        "before": textwrap.dedent(before),
        "env": {**os.environ, **env},
        "answer": str(answer),
    }
    server = server or _server(seed)
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(task) + "\n")
    server.stdin.flush()
    status = server.stdout.readline().strip()
    text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    assert status == "0", f"the observed process ended with status {status}\n{text}"
    told = json.loads(text)
    told["found"] = [[kind, _below(root, subject), *rest] for kind, subject, *rest in told["found"]]
    return Seen(**told)


def _below(root: Path, subject: str) -> str:
    return "." if subject == str(root) else subject.removeprefix(f"{root}/")
