"""gc never takes what is needed, and of the rest takes what was not used for longest."""

from __future__ import annotations

import random

import pytest

from batchexport.store.eviction import EvictionPolicy, RecordUse, plan_eviction


def held(word: str, *, used: float = 0.0, size: int = 1, **files: int) -> RecordUse:
    return RecordUse(name=("export", word), used=used, size=size, files=files)


def gone(*all_held: RecordUse, needed: tuple[str, ...] = (), **bounds: float | None) -> list[str]:
    choice = plan_eviction(all_held, needed={("export", word) for word in needed}, bounds=EvictionPolicy(**bounds))
    return [one.name[1] for one in choice.go]


def test_without_a_bound_nothing_goes() -> None:
    assert gone(held("a"), held("b", used=5.0)) == []


def test_the_longest_unused_goes_first_and_no_more_than_the_size_asks_for() -> None:
    records = [held("new", used=3.0, x=10), held("old", used=1.0, y=10), held("middle", used=2.0, z=10)]
    assert gone(*records, max_size=33) == []
    assert gone(*records, max_size=32) == ["old"]
    assert gone(*records, max_size=20) == ["old", "middle"]
    assert gone(*records, max_size=0) == ["old", "middle", "new"]


def test_a_shared_file_frees_its_bytes_with_the_last_record_that_names_it() -> None:
    records = [held("a", used=1.0, x=100), held("b", used=2.0, x=100), held("c", used=3.0, y=1)]
    choice = plan_eviction(records, needed=set(), bounds=EvictionPolicy(max_size=4))
    assert [one.name[1] for one in choice.go] == ["a", "b"]
    assert (choice.before, choice.after) == (104, 2)


def test_what_is_needed_stays_whatever_the_bounds() -> None:
    records = [held("a", used=1.0, x=10), held("b", used=2.0, y=10)]
    assert gone(*records, needed=("a",), max_size=0, before=9.0) == ["b"]


def test_age_counts_from_the_last_use() -> None:
    assert gone(held("a", used=1.0), held("b", used=2.0), held("c", used=3.0), before=2.0) == ["a"]


def test_what_a_run_may_be_using_is_spared() -> None:
    assert gone(held("a", used=1.0), held("b", used=5.0), max_size=0, spare_after=4.0) == ["a"]


@pytest.mark.parametrize("seed", range(50))
def test_the_sizes_told_are_those_of_what_is_left(seed: int) -> None:
    rng = random.Random(seed)
    sizes = {f"f{number}": rng.randint(0, 50) for number in range(8)}
    records = [
        held(
            f"r{number}", used=rng.random(), size=rng.randint(1, 9), **{f: sizes[f] for f in rng.sample(list(sizes), 2)}
        )
        for number in range(12)
    ]
    limit = rng.randint(0, 300)
    needed = {one.name for one in rng.sample(records, 3)}
    choice = plan_eviction(records, needed=needed, bounds=EvictionPolicy(max_size=limit))
    left = [one for one in records if one not in choice.go]
    assert choice.after == sum(one.size for one in left) + sum(sizes[f] for f in {f for one in left for f in one.files})
    assert choice.after <= limit or {one.name for one in left} <= needed
    if choice.go:  # the last one that went was still too much
        before = [*left, choice.go[-1]]
        assert sum(one.size for one in before) + sum(sizes[f] for f in {f for one in before for f in one.files}) > limit
