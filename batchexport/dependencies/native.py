"""Read the record of files that native code opened in this process; see `workers/native_opens.c`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any


class NativeOpens:
    """The record that the preloaded library makes, empty where it is not loaded."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._start: Callable[[], Any] | None = getattr(library, "native_opens_start", None)
        if self._start is not None:
            self._stop = library.native_opens_stop
            self._stop.restype = ctypes.c_char_p
            self._lost = library.native_opens_lost

    def start(self) -> None:
        """Begin to record."""
        if self._start is not None:
            self._start()

    def stop(self) -> Iterator[tuple[str, int]]:
        """End the record and yield each opened path, absolute and normal, with the flags of open(2)."""
        if self._start is None:
            return
        for line in dict.fromkeys(self._stop().splitlines()):
            flags, _, path = line.partition(b" ")
            yield os.path.normpath(os.fsdecode(path)), int(flags)

    @property
    def lost(self) -> int:
        """Return how many opened files are not in the record."""
        return 0 if self._start is None else int(self._lost())
