"""The first Ctrl-C or SIGTERM ends a run in good order, the second at once; neither interrupts what must be whole.

Signals belong to the process, and so does the state here.
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
    heard: int = 0
    shields: int = 0
    pending: bool = False


_state = _State()


@contextmanager
def handle_signals() -> Iterator[None]:
    """Within it the first signal raises KeyboardInterrupt, and the second ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.heard, _state.pending = 0, False
    before = {number: signal.signal(number, _on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """A first signal is heard when the block is over: what is being kept is kept whole."""
    _state.shields += 1
    try:
        yield
    finally:
        _state.shields -= 1
        if _state.pending and not _state.shields:
            _state.pending = False
            raise KeyboardInterrupt


def _on_signal(number: int, frame: FrameType | None) -> None:
    _state.heard += 1
    if _state.heard > 1:
        # No time to tidy up: the keeper ends the children, the kernel frees the locks, the next run sweeps the rest.
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), _SHOW_CURSOR.encode())
        os._exit(ExitCode.INTERRUPTED)
    if _state.shields:
        _state.pending = True
        return
    raise KeyboardInterrupt
