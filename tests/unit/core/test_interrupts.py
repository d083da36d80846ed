"""Interrupts: the first is an exception, but never amid what must be whole; the second is the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from batchexport.core import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_an_exception(number: int) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.handle_signals():
        os.kill(os.getpid(), number)


def test_what_is_shielded_is_finished_first() -> None:
    done = []

    def work() -> None:
        with interrupts.handle_signals():
            with interrupts.defer_signals():
                with interrupts.defer_signals():
                    os.kill(os.getpid(), signal.SIGINT)
                    done.append("inner")
                done.append("outer")
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts.handle_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_signals_are_left_to_the_program() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupts.handle_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_second_signal_ends_the_process_whatever_it_does() -> None:
    program = """
import os, signal
from batchexport.core import interrupts
with interrupts.handle_signals(), interrupts.defer_signals():
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("never said", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "goes on\n", "")
