"""Edits of Python files: what changes only how a file is written down asks for nothing."""

from __future__ import annotations

import os
from random import Random

from differential.kinds import Change, for_all, kind, some_source
from differential.package import BY_FILE, EXTRA, LATE, SIDE, M, P
from differential.project import WAYS, ways
from differential.source import STYLES, Source
from differential.verdicts import ALLOWED, EXPORT, NOTHING, PROGRAM, Verdict
from differential.world import World


def _unchanged(world: World, path: str, users: list[str]) -> dict[str, Verdict]:
    """A file that model code reads as data counts with all its bytes."""
    as_data = path.endswith("late.py") and world.source(M + "senses.py").values["LATE"] in BY_FILE
    return for_all(users, ALLOWED if as_data else NOTHING)


@kind("comment")
def comment(world: World, rng: Random) -> Change:
    path, source, users = some_source(world, rng)
    source.remarks.append(f"remark {world.fresh()}: {rng.choice(['a', 'ß', '日本', 'noqa', 'type: ignore'])}")
    return Change(expected=_unchanged(world, path, users), note=path)


@kind("reformatting")
def reformatting(world: World, rng: Random) -> Change:
    path, source, users = some_source(world, rng)
    source.style = (rng.choice(sorted(set(STYLES) - {source.style[0]})), world.fresh())
    return Change(expected=_unchanged(world, path, users), note=f"{path}: {source.style[0]}")


@kind("docstring")
def docstring(world: World, rng: Random) -> Change:
    path, source, users = some_source(world, rng, "DOC")
    source.values["DOC"] = f"Words {world.fresh()}."
    return Change(expected=for_all(users, EXPORT), note=path)


@kind("renamed local variable")
def renamed(world: World, rng: Random) -> Change:
    path, source, users = some_source(world, rng, "LOCAL")
    source.values["LOCAL"] = f"local_{world.fresh()}"
    return Change(expected=for_all(users, EXPORT), note=path)


@kind("dead code")
def dead_code(world: World, rng: Random) -> Change:
    path, source, users = some_source(world, rng, "DOC")
    source.dead.append(f"\n\ndef unused_{world.fresh()}(x):\n    return x * {world.number()}\n")
    return Change(expected=for_all(users, EXPORT), note=path)


def _value(world: World, path: str, name: str) -> Change | None:
    users = world.users(path)
    if not users or path not in world.state.files:
        return None
    world.source(path).values[name] = world.number()
    return Change(expected=for_all(users, PROGRAM), note=path)


@kind("constant two imports away")
def far_constant(world: World, rng: Random) -> Change | None:
    return _value(world, M + "tuning.py", "GAIN")


@kind("default argument")
def default_argument(world: World, rng: Random) -> Change | None:
    return _value(world, M + "block.py", "FACTOR")


@kind("constant in a late import")
def late_constant(world: World, rng: Random) -> Change | None:
    if world.source(M + "senses.py").values["LATE"] not in BY_FILE and M + "late/__init__.py" in world.state.files:
        return None  # it is shadowed
    return _value(world, M + "late.py", "FINISH")


@kind("module outside of the project")
def side_constant(world: World, rng: Random) -> Change | None:
    if {P + "labside.py", "first/labside.py"} & world.state.files.keys():
        return None  # it is shadowed
    return _value(world, "side/labside.py", "BIAS")


@kind("same size and times, other constant")
def disguised(world: World, rng: Random) -> Change | None:
    """A stale `.pyc` would be taken for right."""
    path, name = rng.choice([(M + "tuning.py", "GAIN"), (M + "block.py", "FACTOR")])
    change = _value(world, path, name)
    if change is None:
        return None
    before = (world.base / path).stat()

    def restore() -> None:
        os.utime(world.base / path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return Change(expected=change.expected, note=path, after=restore)


@kind("another way of reading")
def other_way(world: World, rng: Random) -> Change | None:
    """The same is read in another way, and nothing that depends on it may get lost."""
    users = world.users(M + "senses.py")
    if not users:
        return None
    source = world.source(M + "senses.py")
    name = rng.choice(WAYS)
    before, now = source.values[name], rng.choice(sorted(set(ways(name)) - {source.values[name]}))
    source.values[name] = now
    expected = for_all(users, EXPORT)
    if name == "LATE" and (before in BY_FILE) != (now in BY_FILE) and M + "late/__init__.py" in world.state.files:
        expected |= for_all(world.jobs_of("reader"), PROGRAM)
    return Change(expected=expected, note=f"{name}: {before} → {now}", leads_to=f"{name} {now}")


def _toggle(world: World, path: str, made: Source, expected: dict[str, Verdict]) -> Change | None:
    if not expected:
        return None
    there = path in world.state.files
    if there:
        del world.state.files[path]
    else:
        world.state.files[path] = made
    note = f"{path} {'goes' if there else 'comes'}"
    return Change(expected=expected, note=note, leads_to=f"without {path}" if there else None)


@kind("package beside a module")
def package_beside(world: World, rng: Random) -> Change | None:
    by_file = world.source(M + "senses.py").values["LATE"] in BY_FILE
    name = rng.choice(["late", "tuning"])
    jobs = world.users(f"{M}{name}/__init__.py")
    if name == "late":
        made = Source(template=LATE, values={"DOC": "Shadow.", "FINISH": world.number()})
        return _toggle(world, M + "late/__init__.py", made, for_all(jobs, NOTHING if by_file else PROGRAM))
    made = Source(template="GAIN = $GAIN\n", values={"GAIN": world.number()})
    return _toggle(world, M + "tuning/__init__.py", made, for_all(jobs, PROGRAM))


@kind("module earlier on the path")
def module_earlier(world: World, rng: Random) -> Change | None:
    paths = [P + "labside.py", "first/labside.py", P + "labside/__init__.py"]
    there = [path for path in paths if path in world.state.files]
    made = Source(template=SIDE, values={"DOC": "Shadow.", "BIAS": world.number()})
    return _toggle(world, rng.choice(there or paths), made, for_all(world.jobs_of("outside"), PROGRAM))


@kind("module that could not be imported")
def optional_module(world: World, rng: Random) -> Change | None:
    paths = {M + "extra.py": "reader", P + "labextra.py": "outside", P + "labextra/__init__.py": "outside"}
    path = rng.choice(sorted(paths))
    if any(other != path and paths[other] == paths[path] and other in world.state.files for other in paths):
        return None
    made = Source(template=EXTRA, values={"EXTRA": world.number()})
    return _toggle(world, path, made, for_all(world.jobs_of(paths[path]), PROGRAM))


@kind("module that nobody imports", alone=True)
def unused(world: World, rng: Random) -> Change:
    path = rng.choice([P, M, "first/"]) + f"unused_{world.fresh()}.py"
    world.state.files[path] = Source(template=EXTRA, values={"EXTRA": world.number()})
    return Change(expected={}, note=path)
