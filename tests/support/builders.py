"""Build jobs, toolchains, results and checkers for tests, from as little as a test has to say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from batchexport.core.job import CompileSpec, ExportSpec, Job, Manifest, Pools, VerifySpec
from batchexport.dependencies.checker import DependencyChecker
from batchexport.dependencies.traces import Traces
from batchexport.planning.history import History
from batchexport.planning.lookup import CacheLookup
from batchexport.store.results import Result, Results
from batchexport.store.store import Store
from batchexport.toolchain.cuda import Devices
from batchexport.toolchain.probe import Toolchain


def key(word: str) -> str:
    """A well-formed key made of any word."""
    return hashlib.sha256(word.encode()).hexdigest()


Words = Mapping[str, Any]
_NONE: Words = MappingProxyType({})


def job(
    name: str = "bert@cpu", *, export: Words = _NONE, compile: Words = _NONE, verify: Words = _NONE, **more: Any
) -> Job:
    """A job, and of its specs what differs from a plain one."""
    entry, _, target = name.partition("@")
    return Job(
        **{"name": name, "entry": entry, "target": target, "folder": name, "timeout": 60.0, **more},
        export=ExportSpec(**{"model": "models:bert", **export}),
        compile=CompileSpec(**{"target": target, **compile}),
        verify=VerifySpec(**verify),
    )


def toolchain(**more: Any) -> Toolchain:
    """A toolchain; `cxx`, `isa` and `threads` are about compiled code, all else about exported programs."""
    facts = {"python": "CPython 3.11", "torch": "2.13.0", "cxx": "g++ 13", "isa": "avx2", "threads": 2, **more}
    code = {name: facts.pop(name) for name in ("cxx", "isa", "threads")}
    return Toolchain(capture=facts, code=code)


def checker(store: Store, root: Path, path: tuple[str, ...] = ()) -> DependencyChecker:
    """The dependency checker of a new command, which remembers nothing but what the store does."""
    return DependencyChecker(root=str(root), path=path, index=store.index)


def lookup(
    store: Store,
    root: Path,
    *,
    tools: Toolchain | None = None,
    force: tuple[str, ...] = (),
    devices: Devices | None = None,
) -> CacheLookup:
    """The cache lookup of a new command."""
    return CacheLookup(
        root=root,
        toolchain=tools or toolchain(),
        traces=Traces(store, checker(store, root)),
        results=Results(store),
        history=History(store.index),
        force=force,
        devices=devices,
    )


CALL = {"args": ["x"], "kwargs": ["mask"], "positions": ["x", "mask"]}


def export_result(word: str = "export", **facts: Any) -> Result:
    """What an export gave, as the lookup sees it; `exported` and `reference` are digests."""
    files = {name: facts.pop(name, key(name)) for name in ("exported", "reference")}
    known = {name: key(name) for name in ("program", "skeleton", "layout", "folded", "state")}
    return Result(key=key(word), files=files, facts={**known, "modules": [], "reweighed": False, "call": CALL, **facts})


def manifest(root: Path, *jobs: Job, **more: Any) -> Manifest:
    """A manifest in `root`, resolved."""
    plain = Manifest(
        path=root / "manifest.toml",
        root=root,
        output_dir=root / "dist",
        cache_dir=None,
        size_limit=None,
        pools=Pools(),
        jobs=jobs,
    )
    return replace(plain, **more)
