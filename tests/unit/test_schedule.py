"""The schedule: longest first, never more tasks than slots, never more memory than the pool has."""

from __future__ import annotations

import random

import pytest

from batchexport.schedule import Schedule, Task


def task(name: str, urgency: float = 1.0, memory: int = 0) -> Task:
    return Task(id=name, stage="export", urgency=urgency, memory=memory)


def filled(schedule: Schedule, *tasks: Task) -> Schedule:
    for one in tasks:
        schedule.add(one)
    return schedule


def started(schedule: Schedule) -> list[str]:
    """All that may start now."""
    names = []
    while (one := schedule.next()) is not None:
        names.append(one.id)
    return names


def test_the_longest_starts_first() -> None:
    schedule = filled(Schedule(slots=9), task("short", 1), task("long", 9), task("middle", 5))
    assert started(schedule) == ["long", "middle", "short"]


def test_of_equals_the_first_added_starts_first() -> None:
    names = [str(number) for number in range(20)]
    assert started(filled(Schedule(slots=99), *map(task, names))) == names


def test_no_more_run_than_there_are_slots() -> None:
    schedule = filled(Schedule(slots=2), *map(task, "abc"))
    assert started(schedule) == ["a", "b"]
    assert schedule.running == 2
    schedule.finish("a")
    assert started(schedule) == ["c"]


def test_nothing_starts_where_nothing_is_ready() -> None:
    assert Schedule(slots=1).next() is None


def test_what_does_not_fit_waits_and_what_does_goes_ahead() -> None:
    schedule = filled(Schedule(slots=9, memory=10), task("a", 9, 6), task("large", 8, 6), task("small", 1, 4))
    assert started(schedule) == ["a", "small"]
    schedule.finish("a")
    assert started(schedule) == ["large"]


def test_what_was_passed_over_keeps_its_turn() -> None:
    schedule = filled(Schedule(slots=9, memory=10), task("a", 9, 10), task("b", 8, 5), task("c", 7, 5), task("d", 6, 5))
    assert started(schedule) == ["a"]
    schedule.finish("a")
    assert started(schedule) == ["b", "c"]


def test_a_task_larger_than_the_pool_runs_alone() -> None:
    schedule = filled(Schedule(slots=9, memory=10), task("small", 1, 1), task("huge", 9, 99), task("none", 1, 0))
    assert started(schedule) == ["huge"]
    schedule.finish("huge")
    assert started(schedule) == ["small", "none"]


def test_a_task_larger_than_the_pool_waits_for_all_others() -> None:
    schedule = filled(Schedule(slots=9, memory=10), task("small", 9, 1), task("huge", 1, 99))
    assert started(schedule) == ["small"]
    schedule.finish("small")
    assert started(schedule) == ["huge"]


def test_without_a_bound_memory_does_not_matter() -> None:
    schedule = filled(Schedule(slots=9), task("a", 2, 10**15), task("b", 1, 10**15))
    assert started(schedule) == ["a", "b"]


def test_what_has_not_started_can_be_dropped_and_what_runs_goes_on() -> None:
    schedule = filled(Schedule(slots=1), task("a", 9), task("b", 1), task("c", 5))
    assert started(schedule) == ["a"]
    assert [one.id for one in schedule.drop_ready()] == ["c", "b"]
    schedule.finish("a")
    assert started(schedule) == []


def test_a_task_that_waited_elsewhere_can_be_added_again() -> None:
    schedule = filled(Schedule(slots=1), task("a"))
    assert started(schedule) == ["a"]
    schedule.finish("a")
    assert started(filled(schedule, task("a"))) == ["a"]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_events_keeps_the_bounds_and_runs_everything_once(seed: int) -> None:
    dice = random.Random(seed)
    slots, memory = dice.randint(1, 4), dice.randint(5, 20)
    tasks = {str(n): task(str(n), dice.random(), dice.randint(0, 25)) for n in range(30)}
    schedule = Schedule(slots=slots, memory=memory)
    waiting, running, done = list(tasks), set[str](), list[str]()
    while len(done) < len(tasks):
        for _ in range(dice.randint(0, 3)):
            if waiting:
                schedule.add(tasks[waiting.pop()])
        running |= set(started(schedule))
        assert len(running) == schedule.running <= slots
        assert len(running) <= 1 or sum(tasks[name].memory for name in running) <= memory
        if running:
            ended = dice.choice(sorted(running))
            schedule.finish(ended)
            running.discard(ended)
            done.append(ended)
    assert sorted(done) == sorted(tasks)
