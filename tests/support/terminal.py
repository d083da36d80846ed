"""A program on a terminal of its own: what it shows is awaited, and lines are typed."""

from __future__ import annotations

import os
import pty
import re
import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.projects import GUARD


class Terminal:
    """What a program shows on its terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until what was shown since the last match has this; fail if nothing comes any more."""
        while not (found := re.search(pattern, self.shown)):
            ready = select.select([self._descriptor], [], [], GUARD)[0]
            assert ready, f"no {pattern!r} in {self.shown!r}"
            try:
                self.shown += os.read(self._descriptor, 4096).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended without {pattern!r}: {self.shown!r}") from None
        self.shown = self.shown[found.end() :]
        return found

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._descriptor, text.encode() + b"\n")


@contextmanager
def on_a_terminal(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a program on a new terminal, which hangs up in the end."""
    pid, descriptor = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.execvpe(words[0], words, environment)
        finally:
            os._exit(127)
    try:
        yield Terminal(descriptor)
    finally:
        os.close(descriptor)  # the program gets SIGHUP
        os.waitpid(pid, 0)
