"""Retries: every second try is granted once, and those of different reasons do not use up one another."""

from __future__ import annotations

from batchexport.engine.retries import Retries


def test_each_second_try_is_granted_once() -> None:
    retries = Retries()
    assert [retries.allow_after_input_change() for _ in range(3)] == [True, False, False]
    assert [retries.allow_after_truncated_header() for _ in range(2)] == [True, False]


def test_a_try_alone_is_granted_once_a_stage() -> None:
    retries = Retries()
    assert not retries.was_alone("export")
    assert retries.allow_alone("export")
    assert retries.was_alone("export")
    assert not retries.allow_alone("export")
    assert retries.allow_alone("compile")


def test_a_try_alone_that_ended_with_its_device_is_granted_again() -> None:
    retries = Retries()
    assert retries.allow_alone("compile")
    retries.forget_alone("compile")
    assert retries.allow_alone("compile")


def test_damaged_results_are_built_again_a_number_of_times() -> None:
    retries = Retries()
    assert [retries.allow_after_damage(2) for _ in range(3)] == [True, True, False]
