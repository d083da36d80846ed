"""The messages between coordinator, fork server and children: JSON objects, one per line."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """Everything a child needs to run one stage, as plain data.

    `id` names job and stage. The child works in `folder`, writes its output to `log` and holds at most `memory_limit`
    bytes of data. `environment` is set over the server's; with `spawn` it is set before torch is imported, which
    takes a new process. `task` is what `pipeline.stages.run` reads.
    """

    id: str
    folder: str
    log: str
    environment: Mapping[str, str]
    memory_limit: int | None
    spawn: bool
    task: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return {
            "id": self.id,
            "folder": self.folder,
            "log": self.log,
            "environment": dict(self.environment),
            "memory_limit": self.memory_limit,
            "spawn": self.spawn,
            "task": dict(self.task),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> StageRequest:
        """Read what `to_json` wrote. Raises KeyError where a field is missing."""
        return cls(**{name: form[name] for name in cls.__slots__})


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
        """Wait for bytes and return the messages that are complete; None when the other end has closed."""
        try:
            data = self.socket.recv(_CHUNK)
        except ConnectionResetError:
            return None
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def hang_up(self, timeout: float) -> None:
        """Close this end for writing, and wait for the other end to close; at most `timeout` seconds a read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(timeout)
            while self.socket.recv(_CHUNK):
                pass

    def close(self) -> None:
        self.socket.close()
