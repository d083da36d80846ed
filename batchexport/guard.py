"""Memory runs out for the child that took more than was expected of it, before it runs out for all the others."""

from __future__ import annotations

from collections.abc import Mapping

# What is left to the rest of the machine; below it the kernel is about to pick a victim itself.
RESERVE = 512 << 20


def overdrawn(held: Mapping[str, int], *, pool: int, available: int) -> bool:
    """Whether the children hold more than their pool, or so much that the machine is about to run out."""
    return sum(held.values()) > pool or available < RESERVE


def whom_to_end(held: Mapping[str, int], expected: Mapping[str, int], *, pool: int, available: int) -> str | None:
    """The child that has to go: the one furthest beyond what was expected of it.

    None while there is room, or where the memory is gone and none of the children took more than it was given.
    """
    if not held or not overdrawn(held, pool=pool, available=available):
        return None
    worst = max(sorted(held), key=lambda name: held[name] - expected.get(name, 0))
    return worst if sum(held.values()) > pool or held[worst] > expected.get(worst, 0) else None
