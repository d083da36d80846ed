"""The guard: while there is room nobody goes; then it is whoever took more than was expected of it."""

from __future__ import annotations

from batchexport.workers.memory import RESERVE, choose_victim

PLENTY = 1 << 50


def test_while_there_is_room_nobody_has_to_go() -> None:
    assert choose_victim({"a": 90, "b": 10}, {"a": 1}, pool=100, available=PLENTY) is None
    assert choose_victim({}, {}, pool=0, available=0) is None


def test_the_one_furthest_beyond_its_expectation_goes_not_the_largest() -> None:
    assert (
        choose_victim({"large": 80, "greedy": 30}, {"large": 80, "greedy": 5}, pool=100, available=PLENTY) == "greedy"
    )


def test_where_the_pool_is_overdrawn_somebody_goes_even_if_all_keep_to_what_was_expected() -> None:
    assert choose_victim({"a": 60, "b": 60}, {"a": 70, "b": 65}, pool=100, available=PLENTY) == "b"


def test_where_others_use_up_the_machine_only_the_greedy_go() -> None:
    assert choose_victim({"a": 60, "b": 20}, {"a": 60, "b": 30}, pool=100, available=RESERVE - 1) is None
    assert choose_victim({"a": 61, "b": 20}, {"a": 60, "b": 30}, pool=100, available=RESERVE - 1) == "a"
