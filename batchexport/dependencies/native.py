"""Use the library that is loaded before the C library: see `workers/native_opens.c` and `workers/audit_filter.c`."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

_kept: list[object] = []  # what the library points to


def add_audit_hook(hook: Callable[[str, tuple[Any, ...]], None], events: Collection[str]) -> None:
    """Call `hook` with the name and arguments of each audit event of these names; of all if the library is missing."""
    library = ctypes.PyDLL(None)
    add = getattr(library, "audit_filter_add", None)
    names = (ctypes.c_char_p * (len(events) + 1))(*map(str.encode, events), None)
    if add is None or add(ctypes.py_object(hook), names) != 0:
        sys.addaudithook(hook)
    else:
        _kept.extend((hook, names))


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
