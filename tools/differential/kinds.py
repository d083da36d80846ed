"""A kind of edit makes one random change to a world and says, beforehand, what each job it may concern then needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from differential.source import Source
from differential.verdicts import Verdict
from differential.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one edit did. Jobs that are not in `expected` need nothing.

    `after` does what a state can't say (stats of files, outputs), once the world is on disk; `during`
    changes the world while a run waits at the gate. `leads_to` is set where edits of this kind go back
    and forth, and names what this one led to.
    """

    expected: Mapping[str, Verdict]
    note: str
    after: Callable[[], None] | None = None
    during: Callable[[], None] | None = None
    leads_to: str | None = None


Make = Callable[[World, Random], Change | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A name, and what makes a change, or None where none can be made now. `alone`: it concerns every job."""

    name: str
    make: Make
    alone: bool = False


KINDS: list[Kind] = []


def kind(name: str, *, alone: bool = False) -> Callable[[Make], Make]:
    """Registers a function as a kind of edit."""

    def register(make: Make) -> Make:
        KINDS.append(Kind(name=name, make=make, alone=alone))
        return make

    return register


def for_all(jobs: list[str], verdict: Verdict) -> dict[str, Verdict]:
    """The same verdict for some jobs."""
    return dict.fromkeys(jobs, verdict)


def some_source(world: World, rng: Random, value: str | None = None) -> tuple[str, Source, list[str]]:
    """A Python file of the project that some job uses, with that value in it, and the jobs that use it."""
    found = [
        (path, item, users)
        for path, item in sorted(world.state.files.items())
        if isinstance(item, Source) and path.startswith("project/") and (users := world.users(path))
        if value is None or f"${value}" in item.template
    ]
    return rng.choice(found)


def some_file(world: World, rng: Random) -> tuple[str, list[str]]:
    """A regular file of the project, and the jobs that use it."""
    found = [
        (path, world.users(path))
        for path, item in sorted(world.state.files.items())
        if isinstance(item, Source | bytes) and path.startswith("project/")
    ]
    return rng.choice(found)
