"""Messages between coordinator, fork server and children are JSON objects, one per line."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

_CHUNK = 1 << 16


class Channel:
    """One end of a socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises OSError where the other end is gone."""
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come, after waiting for at least some bytes; None when the other end closed."""
        try:
            data = self.socket.recv(_CHUNK)
        except ConnectionResetError:
            return None
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def hang_up(self, patience: float) -> None:
        """Say that nothing more will come, and wait for the other end to close; at most `patience` seconds a read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(patience)
            while self.socket.recv(_CHUNK):
                pass

    def close(self) -> None:
        self.socket.close()
