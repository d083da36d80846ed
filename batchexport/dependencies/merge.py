"""Combine the dependencies of an export that only took new weights with those of the export whose graph it reuses.

The second export runs less code than the first, so it observes less. Everything it does observe must be as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchexport.dependencies.dependency import Dependency, DependencyKind

# A new dependency of these kinds could have led to another graph, so it may not be added silently.
_CONTENT = frozenset(DependencyKind) - {
    DependencyKind.WEIGHTS,
    DependencyKind.PRESENT,
    DependencyKind.ABSENT,
    DependencyKind.NO_MODULE,
    DependencyKind.NAMESPACE,
    DependencyKind.MODULES,
    DependencyKind.ENVIRONMENT,
    DependencyKind.LOCATION,
}
# Which modules are imported may differ: the second export captures nothing. All of them count then.
_EITHER = (DependencyKind.WEIGHTS, DependencyKind.MODULES)


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
        if dependency.kind in _EITHER:
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
    merged = [one for one in (*observed, *unseen) if one.kind is not DependencyKind.MODULES]
    return [*merged, *_modules(*known, *observed)]


def _modules(*dependencies: Dependency) -> Iterator[Dependency]:
    """Yield the modules of each distribution that either export imported."""
    names: dict[str, set[str]] = {}
    for kind, owner, digests in dependencies:
        if kind is DependencyKind.MODULES:
            names.setdefault(owner, set()).update((digests[0] or "").split())
    for owner, modules in names.items():
        yield Dependency(DependencyKind.MODULES, owner, (" ".join(sorted(modules)),))


def _meaning(dependency: Dependency) -> tuple[str | None, ...]:
    """Return the digests that count: of a source file, only that of its syntax tree."""
    if dependency.kind is DependencyKind.SOURCE:
        _, tree = dependency.digests
        return (tree,)
    return dependency.digests
