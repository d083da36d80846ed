"""Remove the truncated files that a killed compiler left in Inductor's folders, before the next compile uses them.

Inductor takes every precompiled header, and every library of an ISA probe, that exists for a complete one. A truncated
header makes all later compiles fail, and a truncated library hides what the CPU can do. Removing a precompiled header
is safe even while others compile, as the compiler then reads the header's text.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from batchexport.store.errors import StoreError
from batchexport.store.locks import KeyLock, Lock

_MARKER = "compiling-"
_HEADERS = (".gch", ".pch")
_CLOCK_SECONDS = 2.0  # time stamps of files come from a coarser clock than `time.time()`


class CompilerCache:
    """The precompiled headers and probe libraries below Inductor's `folder`, as one run sees them.

    Each run holds the lock of a marker file named by its start time; a marker without a lock is that of a killed run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = KeyLock(folder)
        self._run_marker: Lock | None = None

    def open(self) -> None:
        """Remove the truncated files that killed runs left, and set the marker of this run."""
        for path in self._folder.glob(f"{_MARKER}*.lock"):
            with contextlib.suppress(StoreError, ValueError):
                marker = self._locks.try_lock(path.stem)
                if marker is not None:
                    with marker:
                        self.remove_truncated(int(path.stem.split("-")[1], 16) / 1e9)
        with contextlib.suppress(StoreError):  # starting a stage meets the same error and reports it
            self._run_marker = self._locks.try_lock(f"{_MARKER}{time.time_ns():x}-{os.getpid()}")

    def in_use(self) -> bool:
        """Return True if a run that is at work has its marker here."""
        return bool(self._locks.held(_MARKER))

    def remove_truncated(self, since: float) -> bool:
        """Remove what a killed stage that began at `since` (`time.time()`) truncated; return True if there was any."""
        removed = False
        for path in self._modified_after(since - _CLOCK_SECONDS):
            if path.suffix in _HEADERS or not is_whole(path):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed = True
        return removed

    def close(self) -> None:
        """Remove the marker: the run left nothing truncated."""
        if self._run_marker is not None:
            self._run_marker.release()
            self._run_marker = None

    def _modified_after(self, since: float) -> Iterator[Path]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if name.endswith((*_HEADERS, ".so")):
                    path = Path(folder, name)
                    with contextlib.suppress(OSError):
                        if path.stat().st_mtime >= since:
                            yield path


def is_whole(library: Path) -> bool:
    """Return True if an ELF file reaches to the end of its section table, which a linker writes last."""
    try:
        with library.open("rb") as file:
            head = file.read(64)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return False
    (sections,) = struct.unpack_from("<Q", head, 40)
    length, count = struct.unpack_from("<HH", head, 58)
    return bool(sections > 0 and sections + length * count <= size)
