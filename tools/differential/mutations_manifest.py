"""Edits of the manifest, of the environment and of what is installed: each reaches the stages that read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from differential.kinds import Change, Make, for_all, kind
from differential.package import THIRD
from differential.project import distribution
from differential.verdicts import (
    ALLOWED,
    ANYTHING,
    CODE,
    EXPORT,
    FOLDED,
    INPUTS,
    NOTHING,
    PROGRAM,
    TOLERANCE,
    WEIGHTS,
    Need,
    Verdict,
)
from differential.world import World

SIZED = ("chain-a", "chain-b", "reader", "ckpt", "tied", "outside", "gated")
# Some models are the same program in another form.
FORM = Verdict(export=Need.MUST, compile=Need.MAY, verify=Need.MAY)
DTYPES = ("float32", "float64", "bfloat16")
Table = dict[str, Any]


def _of(*names: str) -> Callable[[Callable[[World, Random, str, Table], Change]], Make]:
    """The edit is of one of the entries of these names, or of any at all; there is none where none of them is left."""

    def bind(edit: Callable[[World, Random, str, Table], Change]) -> Make:
        def make(world: World, rng: Random) -> Change | None:
            found = [name for name in world.state.entries if not names or name in names]
            if not found:
                return None
            name = rng.choice(found)
            return edit(world, rng, name, world.state.entries[name])

        return make

    return bind


def _compiles(table: dict[str, Any]) -> bool:
    return bool(table["compile"].get("format") != "none")


@kind("manifest: another way to write it", alone=True)
def rewritten(world: World, rng: Random) -> Change:
    if rng.random() < 0.5:
        world.state.head.append(f"# remark {world.fresh()}")
    else:
        items = list(world.state.entries.items())
        rng.shuffle(items)
        world.state.entries = dict(items)
    return Change(expected={}, note="a comment, or the order of entries")


@kind("manifest: another name of an entry", alone=True)
@_of("chain-a", "tied")
def another_name(world: World, rng: Random, name: str, table: Table) -> Change:
    table["name"] = f"{name}-{world.fresh()}"
    return Change(expected=for_all(world.jobs_of(name), NOTHING), note=table["name"])


@kind("manifest: tags")
@_of()
def tags(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["tags"] = [f"tag{world.fresh()}"]
    return Change(expected=for_all(jobs, NOTHING), note=name)


@kind("dims: another maximum")
@_of(*SIZED)
def dims(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["dims"] = {"batch": {**table["dims"]["batch"], "max": 16 + world.fresh()}}
    return Change(expected=for_all(jobs, PROGRAM), note=name)


@kind("dims: another example")
@_of(*SIZED)
def dims_example(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    batch = table["dims"]["batch"]
    table["dims"] = {"batch": {**batch, "example": rng.choice([n for n in range(2, 16) if n != batch["example"]])}}
    return Change(expected=for_all(jobs, FOLDED), note=name, leads_to=str(table["dims"]))


@kind("dtype")
@_of("chain-a", "outside", "gated", "reader")
def dtype(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["dtype"] = rng.choice([other for other in DTYPES if other != table.get("dtype", "float32")])
    return Change(expected=for_all(jobs, PROGRAM), note=f"{name}: {table['dtype']}", leads_to=name + table["dtype"])


@kind("seed")
@_of()
def seed(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["seed"] = 100 + world.fresh()
    return Change(expected=for_all(jobs, INPUTS if name in ("ckpt", "gated") else WEIGHTS), note=name)


@kind("export: another form of the program")
@_of("chain-a", "tied", "reader", "gated")
def form(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    before = table.get("export", {})
    forms: list[dict[str, Any]] = [{"ir": "training"}, {"ir": "inference"}, {"ir": "core-aten"}]
    now = rng.choice([form for form in forms if form["ir"] != before.get("ir", "training")])
    table["export"] = {**before, **now}
    return Change(expected=for_all(jobs, FORM), note=f"{name}: {now}", leads_to=f"{name}: {now}")


@kind("an argument")
@_of("chain-a", "chain-b")
def argument(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["kwargs"] = {**table["kwargs"], "lift": float(world.number())}
    return Change(expected=for_all(jobs, PROGRAM), note=name)


@kind("Inductor option")
@_of()
def option(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    table["compile"] = {**table["compile"], "options": {"realize_opcount_threshold": 30 + world.fresh()}}
    return Change(expected=for_all(jobs, CODE if _compiles(table) else NOTHING), note=name)


@kind("tolerance")
@_of()
def tolerance(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    rough = 1e-2 if table.get("dtype") == "bfloat16" else 1e-4
    table["verify"] = {"rtol": rough * (1 + world.fresh() / 4096), "atol": rough}
    return Change(expected=for_all(jobs, TOLERANCE), note=name)


# ── environment ──────────────────────────────────────────────────────────────────────────────


@kind("environment variable that a model reads")
def variable(world: World, rng: Random) -> Change | None:
    world.state.env["LAB_GAIN"] = world.number()
    return _gained(world)


def _gained(world: World) -> Change | None:
    """What another LAB_GAIN of the command asks for: nothing where the entry has its own."""
    jobs = world.jobs_of("outside")
    if not jobs:
        return None
    verdict = NOTHING if "env" in world.state.entries["outside"] else PROGRAM
    now = world.state.env.get("LAB_GAIN", "none")
    return Change(expected=for_all(jobs, verdict), note=f"LAB_GAIN: {now}", leads_to=now)


@kind("environment variable that goes or comes")
def variable_goes(world: World, rng: Random) -> Change | None:
    if world.state.env.pop("LAB_GAIN", None) is None:
        world.state.env["LAB_GAIN"] = world.number()
    change = _gained(world)
    listed = for_all(world.jobs_of("asker"), ALLOWED)  # it lists the names of all variables
    return None if change is None else replace(change, expected={**change.expected, **listed})


@kind("environment variable that nobody reads", alone=True)
def other_variable(world: World, rng: Random) -> Change:
    """A model that copies the whole environment depends on all of it."""
    world.state.env[rng.choice(["LAB_OTHER", "EDITOR"])] = f"{world.fresh()}"
    return Change(expected=for_all(world.jobs_of("outside", "asker"), ALLOWED), note="LAB_OTHER or EDITOR")


@kind("OMP_NUM_THREADS of the command", alone=True)
def threads(world: World, rng: Random) -> Change:
    """The product sets it for its children, so that its own value reaches no result; it may rebuild all the same."""
    now = rng.choice([n for n in "1234" if n != world.state.env.get("OMP_NUM_THREADS")])
    world.state.env["OMP_NUM_THREADS"] = now
    return Change(expected=for_all(list(world.jobs), ANYTHING), note=now)


@kind("OMP_NUM_THREADS of an entry")
@_of("chain-b", "tied")
def entry_threads(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    if table.pop("env", None) is None:
        table["env"] = {"OMP_NUM_THREADS": rng.choice("123")}
    verdict = Verdict(export=Need.MUST, compile=Need.MUST, verify=Need.MUST)
    now = str(table.get("env"))
    return Change(expected=for_all(jobs, verdict), note=f"{name}: {now}", leads_to=f"{name} {now}")


@kind("environment variable of an entry")
@_of("outside")
def entry_variable(world: World, rng: Random, name: str, table: Table) -> Change:
    jobs = world.jobs_of(name)
    if table.pop("env", None) is None:
        table["env"] = {"LAB_GAIN": world.number()}
    now = str(table.get("env"))
    return Change(expected=for_all(jobs, PROGRAM), note=f"{name}: {now}", leads_to=now)


# ── what is installed ────────────────────────────────────────────────────────────────────────


def _installed(world: World, *, upgraded: bool, changed: bool) -> Change | None:
    files = world.state.files
    (info,) = {path.split("/")[2] for path in files if path.startswith(THIRD + "labdist-")}
    offset = world.source(THIRD + "labdist/__init__.py").values["OFFSET"]
    version = f"1.{world.fresh()}" if upgraded else info.removeprefix("labdist-").removesuffix(".dist-info")
    for path in [path for path in files if path.startswith(THIRD + "labdist")]:
        del files[path]
    files |= distribution(version, world.number() if changed else offset)
    jobs = world.jobs_of("outside")
    return Change(expected=for_all(jobs, PROGRAM if changed else EXPORT), note=f"labdist {version}") if jobs else None


@kind("third-party version, same code")
def upgraded(world: World, rng: Random) -> Change | None:
    return _installed(world, upgraded=True, changed=False)


@kind("third-party version, other code")
def upgraded_code(world: World, rng: Random) -> Change | None:
    return _installed(world, upgraded=True, changed=True)


@kind("third-party code installed anew")
def reinstalled(world: World, rng: Random) -> Change | None:
    return _installed(world, upgraded=False, changed=True)
