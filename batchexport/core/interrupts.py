"""Handling of SIGINT and SIGTERM: the first ends a run in good order, the second at once.

The state is global, as signal handlers belong to the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from batchexport.core.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"


@dataclass(slots=True)
class _State:
    received: int = 0
    deferrals: int = 0
    pending: bool = False


_state = _State()


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal within the block, and end the process at the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.received, _state.pending = 0, False
    before = {number: signal.signal(number, _on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer the first SIGINT or SIGTERM until the block ends, so that its writes complete."""
    _state.deferrals += 1
    try:
        yield
    finally:
        _state.deferrals -= 1
        if _state.pending and not _state.deferrals:
            _state.pending = False
            raise KeyboardInterrupt


def _on_signal(number: int, frame: FrameType | None) -> None:
    _state.received += 1
    if _state.received > 1:
        # No clean-up: the reaper kills the children, the kernel frees the locks, and the next run sweeps the rest.
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), _SHOW_CURSOR.encode())
        os._exit(ExitCode.INTERRUPTED)
    if _state.deferrals:
        _state.pending = True
        return
    raise KeyboardInterrupt
