"""Choose what gc removes, as a pure function: never what outputs need, and the least recently used first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Name = tuple[str, str]  # kind and key of a record


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUse:
    """One record: when it was last used (Unix time), its own bytes, and its files' sizes by digest."""

    name: Name
    used: float
    size: int
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionPolicy:
    """The bounds of a gc: `max_size` bytes in all, nothing last used `before` this time (Unix time); None: no bound.

    `spare_after`: what was used after this time stays, because an active run may need it.
    """

    max_size: int | None = None
    before: float | None = None
    spare_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionPlan:
    """The records to remove, in order, and the bytes of all records and files before and after."""

    go: tuple[RecordUse, ...]
    before: int
    after: int


def file_sizes(held: Iterable[RecordUse]) -> dict[str, int]:
    """Return the sizes of the files of some records, by digest."""
    return {digest: size for one in held for digest, size in one.files.items()}


def total(held: Collection[RecordUse]) -> int:
    """Return the bytes of some records and their files; shared files count once."""
    return sum(one.size for one in held) + sum(file_sizes(held).values())


def plan_eviction(held: Sequence[RecordUse], *, needed: Collection[Name], bounds: EvictionPolicy) -> EvictionPlan:
    """Return what to remove. The size may stay above its bound if what is left is needed or spared."""
    names = Counter(digest for one in held for digest in one.files)
    sizes = file_sizes(held)
    left = before = total(held)
    go = []
    for one in sorted(held, key=lambda one: (one.used, one.name)):
        too_old = bounds.before is not None and one.used < bounds.before
        too_much = bounds.max_size is not None and left > bounds.max_size
        spared = bounds.spare_after is not None and one.used > bounds.spare_after
        if one.name in needed or spared or not (too_old or too_much):
            continue
        go.append(one)
        left -= one.size
        for digest in one.files:
            names[digest] -= 1
            if not names[digest]:
                left -= sizes[digest]
    return EvictionPlan(go=tuple(go), before=before, after=left)
