"""Edits of what a model asks the system: links, sizes, kinds, names, the user, versions, databases."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from differential.kinds import Change, for_all, kind
from differential.package import THIRD, P
from differential.project import database
from differential.verdicts import ALLOWED, PROGRAM, Verdict
from differential.world import Link, World

A = P + "data/asked/"


def _change(world: World, note: str, verdict: Verdict = PROGRAM, leads_to: str | None = None) -> Change | None:
    jobs = world.jobs_of("asker")
    return Change(expected=for_all(jobs, verdict), note=note, leads_to=leads_to) if jobs else None


@kind("link that model code resolves")
def link(world: World, rng: Random) -> Change | None:
    now = "v10" if world.state.files[A + "latest"] == Link("v1") else "v1"
    world.state.files[A + "latest"] = Link(now)
    return _change(world, f"latest -> {now}", leads_to=now)


@kind("target of a dangling link")
def dangling(world: World, rng: Random) -> Change | None:
    path = A + "store/large"
    gone = world.state.files.pop(path, None) is not None
    if not gone:
        world.state.files[path] = world.number().encode()
    return _change(world, path, leads_to="no target" if gone else None)


@kind("size of a file that is not read")
def size(world: World, rng: Random) -> Change | None:
    world.state.files[A + "sizes/two"] = b"2" * (3 + world.fresh())
    return _change(world, "sizes/two")


@kind("bytes of a file of which only the size counts")
def same_size(world: World, rng: Random) -> Change | None:
    content = world.state.files[A + "sizes/two"]
    assert isinstance(content, bytes)
    world.state.files[A + "sizes/two"] = bytes(rng.choice(b"abc") for _ in content)
    return _change(world, "sizes/two", ALLOWED)


@kind("folder in a tree that is walked")
def folder(world: World, rng: Random) -> Change | None:
    world.state.files[A + f"tree/folder-{world.fresh()}/file"] = b""
    return _change(world, "tree")


@kind("name of a variable that model code looks for in all")
def name(world: World, rng: Random) -> Change | None:
    world.state.env[f"ASK_{world.fresh()}"] = "1"
    return _change(world, "ASK_")


@kind("name of the user")
def user(world: World, rng: Random) -> Change | None:
    world.state.env["LOGNAME"] = "u" * (4 + world.fresh())
    change = _change(world, "LOGNAME")
    outside = for_all(world.jobs_of("outside"), ALLOWED)  # paths outside the project may have been found by the user
    return None if change is None else replace(change, expected={**change.expected, **outside})


@kind("version of a distribution that is not imported")
def version(world: World, rng: Random) -> Change | None:
    for path in [path for path in world.state.files if path.startswith(THIRD + "labmeta")]:
        del world.state.files[path]
    now = f"{world.fresh()}.5"
    text = f"Metadata-Version: 2.1\nName: labmeta\nVersion: {now}\n"
    world.state.files[THIRD + f"labmeta-{now}.dist-info/METADATA"] = text.encode()
    return _change(world, now)


@kind("row of a database that a URI names")
def row(world: World, rng: Random) -> Change | None:
    world.state.files[A + "a.db"] = database(world.fresh())
    return _change(world, "a.db")
