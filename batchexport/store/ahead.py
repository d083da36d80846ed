"""A copy made ahead lies beside its destination, and takes the name there only once it is wanted."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

from batchexport.store.whole import NotWanted, copy_whole


class CopyAhead:
    """A copy of `source`, whose bytes have this `digest`, for `destination`, made by a thread of its own.

    Either `place` or `drop` has to be called: the copy waits for its fate.
    """

    def __init__(self, source: Path, digest: str, destination: Path) -> None:
        self.digest = digest
        self._fate = Event()
        self._wanted = self._placed = False
        self._thread = Thread(target=self._make, args=(source, destination), daemon=True)
        self._thread.start()

    def place(self) -> bool:
        """Whether the copy is at its destination now; if it is not, nothing has changed there."""
        self._end(wanted=True)
        return self._placed

    def drop(self) -> None:
        """Remove the copy."""
        self._end(wanted=False)

    def _end(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._fate.set()
        self._thread.join()

    def _make(self, source: Path, destination: Path) -> None:
        try:
            copy_whole(source, destination, wanted=self._is_wanted)
        except (OSError, NotWanted):  # who still wants it makes another one, and tells what is in the way
            return
        self._placed = True

    def _is_wanted(self) -> bool:
        self._fate.wait()
        return self._wanted
