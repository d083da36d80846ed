"""Turn the answers that the observer recorded into dependencies: see `asked.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from batchexport.dependencies import machine
from batchexport.dependencies.answers import NO, current_stat, link_text, names_answer, text_answer, variables_digest
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.dependencies.installed import Installed
from batchexport.dependencies.observations import InputChanged, Observations
from batchexport.dependencies.zones import third_party_roots

_THERE = (DependencyKind.PRESENT, DependencyKind.STAT)
_EXISTING = {("@exists", "yes"), ("exists", "yes")}
_IMPLIED = {*_EXISTING, ("kind", "file")}


def answers(
    seen: Observations, found: Sequence[Dependency], version: Callable[[str], str | None]
) -> Iterator[Dependency]:
    """Yield the dependencies on answers; `found` are those on files and modules.

    `version` returns the version of a distribution, or None if it is not installed.

    Raises:
        InputChanged: if an answer has changed since the stage got it.
    """
    yield from _stats(seen, found)
    yield from _links(seen)
    yield from _installed(seen, version)
    yield from _surroundings(seen)


def _surroundings(seen: Observations) -> Iterator[Dependency]:
    """Yield the variables and the facts about the machine that were asked for."""
    for name, value in seen.environment.items():
        yield Dependency(DependencyKind.ENVIRONMENT, name, (None if value is None else text_answer(value),))
    if seen.variables is not None:
        names = variables_digest(seen.variables, seen.own_variables)
        yield Dependency(DependencyKind.VARIABLES, " ".join(sorted(seen.own_variables)), (names,))
    for question, answer in seen.machine.items():
        if machine.answer(question) != answer:
            seen.uncacheable.setdefault(f"the answer to {question} changed while the stage ran")
        yield Dependency(DependencyKind.MACHINE, question, (text_answer(answer),))


def _installed(seen: Observations, version: Callable[[str], str | None]) -> Iterator[Dependency]:
    """Yield what was asked about the installed distributions."""
    for name in seen.metadata:
        yield Dependency(DependencyKind.METADATA, name, (version(name),))
    now = Installed(seen.root, third_party_roots())
    for group in seen.entry_points:
        yield Dependency(DependencyKind.ENTRY_POINTS, group, (names_answer(now.entry_points(group)),))
    for what in seen.installed:
        yield Dependency(DependencyKind.INSTALLED, what, (names_answer(now.named(what)),))


def _stats(seen: Observations, found: Sequence[Dependency]) -> Iterator[Dependency]:
    """Yield the answers of stats that do not follow from another dependency."""
    contents = {one.subject for one in found if one.kind in (DependencyKind.FILE, DependencyKind.WEIGHTS)}
    there = {*contents, *seen.sources, *seen.listed, *(one.subject for one in found if one.kind in _THERE)}
    for (path, question), answer in seen.stats.items():
        if path in contents and (question, answer) in _IMPLIED | {("size", answer)}:
            continue
        if path in there and ((question, answer) in _EXISTING or (path in seen.listed and question == "kind")):
            continue
        if question != "log" and current_stat(question, path) != answer:  # a database changes its logs by itself
            if not seen.is_own(path):
                raise InputChanged(path)
            if not os.path.lexists(path):  # made and removed by the stage
                continue
            seen.uncacheable.setdefault(f"model code asks for the {question} of {path}, and changes it")
        yield Dependency(DependencyKind.STAT, path, (question, answer))
    for (path, mode), allowed in seen.accesses.items():
        if not seen.is_own(path):
            yield Dependency(DependencyKind.ACCESS, path, (mode, "yes" if allowed else NO))


def _links(seen: Observations) -> Iterator[Dependency]:
    for path, text in seen.links.items():
        if link_text(path) != text and not seen.is_own(path):
            raise InputChanged(path)
        yield Dependency(DependencyKind.LINK, path, (text,))
