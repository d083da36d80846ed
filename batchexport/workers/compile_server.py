"""The fork server's hold on a second one, which it forks for compiles.

Getting ready to compile takes a second or two, in which the first server goes on starting and reaping other stages.
What Inductor leaves in a process that is ready then reaches no model's export either.
"""

from __future__ import annotations

import contextlib
import os
import signal

from batchexport.workers.protocol import Channel


class CompileServer:
    """A server for compiles, which speaks the protocol of `server.py` on `channel`."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self.channel = channel
        self._pid = pid
        self._ready = False

    def relay(self, coordinator: Channel) -> bool:
        """Pass on what has come from the server; return False if it has ended. Raises OSError."""
        messages = self.channel.receive()
        for message in messages or ():
            if message["event"] == "ready":
                self._ready = True
            else:
                coordinator.send(message)
        return messages is not None

    def close(self) -> None:
        """End the server, and wait until it has killed its children."""
        self.channel.close()
        if not self._ready:  # it has no children yet, and would not look
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
