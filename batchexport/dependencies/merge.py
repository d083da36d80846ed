"""Combine the dependencies of an export that only took new weights with those of the export whose graph it reuses.

The second export runs less code than the first, so it observes less. Everything it does observe must be as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchexport.dependencies.dependency import Dependency, DependencyKind

# A new dependency of these kinds could have led to another graph, so it may not be added silently.
_CONTENT = (DependencyKind.SOURCE, DependencyKind.FILE, DependencyKind.LISTING, DependencyKind.DISTRIBUTION)


class StaleGraph(Exception):
    """A file that the stored graph was captured from has changed."""


def merge_dependencies(known: Iterable[Dependency], observed: Iterable[Dependency]) -> list[Dependency]:
    """Return the dependencies of an export with new weights, in no particular order.

    `known` are those of the export whose graph is reused, `observed` those that the new export's own child recorded.

    Raises:
        StaleGraph: if the two differ in anything but weights, as after an edit made while the export ran.
    """
    known, observed = list(known), list(observed)
    before = {dependency.identity: dependency for dependency in known}
    content = {dependency.subject for dependency in known if dependency.kind in _CONTENT}
    for dependency in observed:
        if dependency.kind is DependencyKind.WEIGHTS:
            continue
        other = before.get(dependency.identity)
        if other is None:
            is_gone = dependency.kind is DependencyKind.ABSENT and dependency.subject in content
            differs = is_gone or dependency.kind in _CONTENT
        else:
            differs = _meaning(dependency) != _meaning(other)
        if differs:
            raise StaleGraph(dependency.subject)
    seen = {dependency.identity for dependency in observed}
    unseen = [
        dependency
        for dependency in known
        if dependency.kind is not DependencyKind.WEIGHTS and dependency.identity not in seen
    ]
    return [*observed, *unseen]


def _meaning(dependency: Dependency) -> tuple[str | None, ...]:
    """Return the digests that count: of a source file, only that of its syntax tree."""
    if dependency.kind is DependencyKind.SOURCE:
        _, tree = dependency.digests
        return (tree,)
    return dependency.digests
