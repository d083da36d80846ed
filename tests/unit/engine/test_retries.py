"""Retries: each kind of retry is granted once, and one kind does not use up another."""

from __future__ import annotations

from batchexport.engine.retries import Retries


def test_each_retry_is_granted_once() -> None:
    retries = Retries()
    assert [retries.allow_after_input_change() for _ in range(3)] == [True, False, False]
    assert [retries.allow_after_truncated_header() for _ in range(2)] == [True, False]


def test_a_retry_alone_is_granted_once_per_stage() -> None:
    retries = Retries()
    assert not retries.was_alone("export")
    assert retries.allow_alone("export")
    assert retries.was_alone("export")
    assert not retries.allow_alone("export")
    assert retries.allow_alone("compile")


def test_a_retry_alone_whose_device_was_lost_is_granted_again() -> None:
    retries = Retries()
    assert retries.allow_alone("compile")
    retries.forget_alone("compile")
    assert retries.allow_alone("compile")


def test_damaged_results_are_rebuilt_a_limited_number_of_times() -> None:
    retries = Retries()
    assert [retries.allow_after_damage(2) for _ in range(3)] == [True, True, False]
