"""Estimates: the last figures of a job or its entry, or a guess marked as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchexport.core.report import STAGES
from batchexport.planning.estimates import Timings
from batchexport.store.index import Index
from support.builders import job


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def test_a_first_time_is_guessed(index: Index) -> None:
    for stage in STAGES:
        guess = Timings(index).expected(job(), stage)
        assert not guess.known
        assert guess.seconds > 0
        assert guess.memory > 0


def test_the_last_time_is_expected_again(index: Index) -> None:
    Timings(index).learn(job(), "compile", 12.3456, 10**9)
    found = Timings(index).expected(job(), "compile")
    assert (found.seconds, found.memory, found.known) == (12.346, 10**9, True)


def test_a_stage_without_a_known_peak_has_a_known_time(index: Index) -> None:
    Timings(index).learn(job(), "compile", 1.0, None)
    found = Timings(index).expected(job(), "compile")
    assert found.known
    assert found.memory == Timings(index).expected(job("other@cpu"), "compile").memory


def test_jobs_and_stages_have_rows_of_their_own(index: Index) -> None:
    Timings(index).learn(job("a@cpu"), "compile", 1.0, 1)
    assert not Timings(index).expected(job("a@cpu"), "export").known
    assert not Timings(index).expected(job("b@cpu"), "compile").known


def test_a_new_job_of_a_known_entry_is_expected_to_be_like_the_last_of_it(index: Index) -> None:
    old, new = (job(f"bert[layers={n}]@cpu", entry="bert") for n in (4, 12))
    Timings(index).learn(old, "compile", 40.0, 5 << 30)
    found = Timings(index).expected(new, "compile")
    assert (found.seconds, found.memory, found.known) == (40.0, 5 << 30, False)
    assert Timings(index).expected(job("bert@cuda", entry="bert"), "compile").seconds != 40.0


def test_the_first_guess_at_memory_grows_with_the_weights(index: Index) -> None:
    timings = Timings(index)
    small, large = (timings.expected(job(), "compile", parameter_bytes=size).memory for size in (1, 10**10))
    assert small == timings.expected(job(), "compile").memory
    assert large > 3 * 10**10


def test_a_prefetch_changes_no_estimate(index: Index) -> None:
    Timings(index).learn(job("a@cpu"), "verify", 1.0, 1)
    prefetched = Timings(index)
    prefetched.prefetch([job("a@cpu"), job("b@cpu")])
    for name in ("a@cpu", "b@cpu"):
        for stage in STAGES:
            assert prefetched.expected(job(name), stage) == Timings(index).expected(job(name), stage)


def test_what_is_learned_in_a_run_is_expected_in_it(index: Index) -> None:
    timings = Timings(index)
    timings.prefetch([job()])
    timings.learn(job(), "export", 7.0, 1)
    assert timings.expected(job(), "export").seconds == 7.0


@pytest.mark.parametrize("row", ["text", [], [1], {"seconds": 1}, None])
def test_a_malformed_row_gives_a_guess(index: Index, row: Any) -> None:
    index.put("timing", "bert@cpu|export", row)
    assert not Timings(index).expected(job(), "export").known


def test_wall_time_is_shared_by_the_workers_but_never_below_the_longest_job(index: Index) -> None:
    timings = Timings(index)
    stages = [(job(f"{name}@cpu"), ("export", "verify")) for name in "abc"]
    for one, _ in stages:
        timings.learn(one, "export", 4.0, 1)
        timings.learn(one, "verify", 2.0, 1)
    assert timings.wall_seconds(stages, workers=1) == 18.0
    assert timings.wall_seconds(stages, workers=2) == 9.0
    assert timings.wall_seconds(stages, workers=8) == 6.0


def test_without_full_history_there_is_no_wall_time(index: Index) -> None:
    timings = Timings(index)
    timings.learn(job("a@cpu"), "export", 4.0, 1)
    assert timings.wall_seconds([], workers=1) is None
    assert timings.wall_seconds([(job("a@cpu"), ("export", "verify"))], workers=1) is None
    assert timings.wall_seconds([(job("a@cpu"), ("export",)), (job("b@cpu"), ("export",))], workers=1) is None
