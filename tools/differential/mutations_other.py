"""Edits of what a run delivered, edits while it runs, and going back to an earlier state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from differential.kinds import Change, for_all, kind
from differential.package import EXTRA, LATE, M, P
from differential.source import Source
from differential.verdicts import NOTHING, PROGRAM
from differential.weights import GATED, tensors
from differential.world import World


def _delivered(world: World, rng: Random) -> tuple[Path, list[str]]:
    """A file that the last run delivered, and every job: whose it was does not matter."""
    files = sorted((world.base / "kept/outputs").glob("*/*.*"))
    return rng.choice(files), list(world.jobs)


@kind("output damaged", alone=True)
def damaged(world: World, rng: Random) -> Change:
    path, jobs = _delivered(world, rng)
    how = rng.choice(["one byte", "cut", "longer"])

    def damage() -> None:
        data = bytearray(path.read_bytes())
        if how == "one byte":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes({"one byte": data, "cut": data[: len(data) // 2], "longer": data + b"\n"}[how])

    return Change(expected=for_all(jobs, NOTHING), note=f"{path.parent.name}/{path.name}: {how}", after=damage)


@kind("output damaged, times as before", alone=True)
def damaged_in_secret(world: World, rng: Random) -> Change:
    path, jobs = _delivered(world, rng)

    def damage() -> None:
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return Change(expected=for_all(jobs, NOTHING), note=f"{path.parent.name}/{path.name}", after=damage)


@kind("output deleted", alone=True)
def deleted(world: World, rng: Random) -> Change:
    path, jobs = _delivered(world, rng)
    whole = rng.random() < 0.3
    remove: Callable[[], None] = (lambda: shutil.rmtree(path.parent)) if whole else path.unlink
    note = path.parent.name if whole else f"{path.parent.name}/{path.name}"
    return Change(expected=for_all(jobs, NOTHING), note=note, after=remove)


@kind("index of the cache lost", alone=True)
def index_lost(world: World, rng: Random) -> Change:
    """The records know all of it, but not which of them are old."""
    lost = world.base / "kept/cache/v1/index"
    return Change(expected={}, note=lost.name, after=lambda: shutil.rmtree(lost))


# ── while a run waits at the gate ────────────────────────────────────────────────────────────

G = P + "data/gated/"


def _during(name: str, edit: Callable[[World, Random], Callable[[], None] | None]) -> None:
    """Registers an edit of `gated` that happens while it is built; it returns what is to be done once on disk."""

    def make(world: World, rng: Random) -> Change | None:
        jobs = world.jobs_of("gated")
        if not jobs:
            return None
        world.source(M + "gated.py").values["START"] = world.number()  # so that there is something to build

        def during() -> None:
            after = edit(world, rng)
            world.sync()
            if after is not None:
                after()

        return Change(expected=for_all(jobs, PROGRAM), note=name, during=during)

    kind(f"during the run: {name}")(make)


def _model(world: World, rng: Random) -> None:
    world.source(M + "gated.py").values["START"] = world.number()


def _helper(world: World, rng: Random) -> None:
    world.source(M + "gate_help.py").values["HELP"] = world.number()


def _helper_remark(world: World, rng: Random) -> None:
    world.source(M + "gate_help.py").remarks.append(f"remark {world.fresh()}")


def _not_loaded_yet(world: World, rng: Random) -> None:
    world.source(M + "gate_late.py").values["FINISH"] = world.number()


def _data(world: World, rng: Random) -> Callable[[], None]:
    path = world.base / G / "scale.json"
    before = path.stat()
    world.state.files[G + "scale.json"] = f'{{"scale": {world.number()}}}'.encode()
    keep = rng.random() < 0.5
    return lambda: os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns)) if keep else None


def _weights(world: World, rng: Random) -> None:
    world.state.files[P + "weights/gated.safetensors"] = tensors(GATED, world.fresh())


def _data_there_and_back(world: World, rng: Random) -> Callable[[], None]:
    path = world.base / G / "scale.json"

    def there_and_back() -> None:
        before = path.read_bytes()
        path.write_bytes(b"{}")
        path.write_bytes(before)

    return there_and_back


def _toggle(world: World, path: str, item: Source | bytes) -> None:
    if world.state.files.pop(path, None) is None:
        world.state.files[path] = item


def _absent(world: World, rng: Random) -> None:
    _toggle(world, G + "override/shift", world.number().encode())


def _present(world: World, rng: Random) -> None:
    _toggle(world, G + "on", b"")


def _listed(world: World, rng: Random) -> None:
    _toggle(world, G + "parts/two.txt", world.number().encode())


def _shadow(world: World, rng: Random) -> None:
    shadow = Source(template=LATE.replace("finish", "help"), values={"DOC": "Shadow.", "FINISH": world.number()})
    _toggle(world, M + "gate_help/__init__.py", shadow)


def _optional(world: World, rng: Random) -> None:
    path = rng.choice([M + "gate_extra.py", P + "labopt.py"])
    _toggle(world, path, Source(template=EXTRA, values={"EXTRA": world.number()}))


_during("a module", _model)
_during("a helper", _helper)
_during("a comment in a helper", _helper_remark)
_during("a module not loaded yet", _not_loaded_yet)
_during("a data file", _data)
_during("the weights", _weights)
_during("a data file there and back", _data_there_and_back)
_during("a file whose absence was tested", _absent)
_during("a file whose presence was tested", _present)
_during("a listed folder", _listed)
_during("a package beside a loaded module", _shadow)
_during("a module that could not be imported", _optional)
