"""What a killed compiler left half-written in Inductor's folders is removed before anybody compiles with it.

Inductor takes a precompiled header, or the library of an ISA probe, that exists for a whole one. A header that is
cut off makes every later compile fail, and a library that is cut off hides what the CPU can do. Without its
precompiled form a header is read as text, so to remove one is safe even while others compile.
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

_MARK = "compiling-"
_HEADERS = (".gch", ".pch")
# Time stamps of files come from a coarser clock than the one that is asked for the time.
_CLOCKS = 2.0


class CompilerCache:
    """The precompiled headers below Inductor's `folder`, as one run sees them.

    A mark that the run holds locked says since when it compiles; one that nobody holds is that of a killed run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = KeyLock(folder)
        self._run_marker: Lock | None = None

    def open(self) -> None:
        """Heal what killed runs left, and say that this run compiles from now on."""
        for path in self._folder.glob(f"{_MARK}*.lock"):
            with contextlib.suppress(StoreError, ValueError):
                mark = self._locks.try_lock(path.stem)
                if mark is not None:
                    with mark:
                        self.remove_truncated(int(path.stem.split("-")[1], 16) / 1e9)
        with contextlib.suppress(StoreError):  # met again, and told, when a stage is to start
            self._run_marker = self._locks.try_lock(f"{_MARK}{time.time_ns():x}-{os.getpid()}")

    def remove_truncated(self, since: float) -> bool:
        """A stage that began at `since`, in seconds of `time.time()`, was killed; whether it left anything cut off."""
        found = False
        for path in self._younger(since - _CLOCKS):
            if path.suffix in _HEADERS or not is_whole(path):
                with contextlib.suppress(OSError):
                    path.unlink()
                    found = True
        return found

    def close(self) -> None:
        """This run compiles no more, and left nothing cut off."""
        if self._run_marker is not None:
            self._run_marker.release()
            self._run_marker = None

    def _younger(self, since: float) -> Iterator[Path]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if name.endswith((*_HEADERS, ".so")):
                    path = Path(folder, name)
                    with contextlib.suppress(OSError):
                        if path.stat().st_mtime >= since:
                            yield path


def is_whole(library: Path) -> bool:
    """Whether an ELF file is as long as its own section table, the last thing that a linker writes, says."""
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
