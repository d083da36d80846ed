"""The coordinator's end of the fork server: start it when the first stage must run, and hear how each child ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.errors import EnvironmentProblem
from batchexport.workers import memory, process
from batchexport.workers.protocol import Channel, StageRequest

_PATIENCE = 10.0  # seconds for killed processes to be gone; the kernel may first have to free gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a child ended: exit status (negative: killed by that signal), seconds, peak RSS in bytes.

    `status` is None where the fork server itself was lost.
    """

    id: str
    status: int | None
    seconds: float = 0.0
    peak_rss_bytes: int | None = None


class ForkServer:
    """One fork server and its children. `environment` is what the server starts with; `log` takes its output."""

    def __init__(self, *, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._keeper: subprocess.Popen[bytes] | None = None
        self._watchdog = -1
        self._server = 0
        self._channel: Channel | None = None
        self._ready = False
        # Every started child by its request: its pid, once that is known.
        self._running: dict[str, int | None] = {}
        self._ended: list[ProcessExit] = []
        self.note: str | None = None

    def open(self) -> None:
        """Let the server begin to import torch; the coordinator has other things to do meanwhile."""
        if self._channel is None:
            self._begin()

    def start(self, request: StageRequest) -> None:
        """Start a child for `request`; the first waits for torch's import.

        Raises EnvironmentProblem where torch can't be imported.
        """
        self.open()
        assert self._channel is not None
        self._running[request.id] = None
        with contextlib.suppress(OSError):  # a lost server is met in `wait`
            self._channel.send({"do": "start", "request": request.to_json()})
        while not self._ready:
            messages = self._channel.receive()
            if messages is None:
                return
            self._ended += self._hear(messages)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process group of a child."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send({"do": "signal", "id": name, "signal": number})

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        """The children that ended; waits up to `timeout` seconds for something to happen."""
        if self._ended:
            ended, self._ended = self._ended, []
            return ended
        if self._channel is None:
            time.sleep(timeout or 0)
            return []
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            if not selector.select(timeout):
                return []
        messages = self._channel.receive()
        return self._lost() if messages is None else self._hear(messages)

    def _hear(self, messages: list[dict[str, Any]]) -> list[ProcessExit]:
        ended = []
        for message in messages:
            if message["event"] == "broken":
                self.close()
                raise EnvironmentProblem(
                    f"torch can't be imported here: {message['error']}; see {self._log} and `batchexport doctor`"
                )
            if message["event"] == "ready":
                self._ready = True
                self._server = message["pid"]
                if message["threads"] != 1:
                    self.note = (
                        f"the fork server has {message['threads']} threads after its imports, "
                        "so every stage is spawned, which costs seconds each"
                    )
            if message["event"] == "started":
                self._running[message["id"]] = message["pid"]
            if message["event"] == "ended":
                self._running.pop(message["id"], None)
                ended.append(
                    ProcessExit(
                        id=message["id"],
                        status=message["status"],
                        seconds=message["seconds"],
                        peak_rss_bytes=message["peak_rss_bytes"],
                    )
                )
        return ended

    def held(self, *, exact: bool) -> dict[str, int]:
        """Bytes of memory that each child, and all that it started, holds; see `memory.held`."""
        pids = {pid: name for name, pid in self._running.items() if pid is not None}
        return {pids[pid]: count for pid, count in memory.resident_bytes(pids, exact=exact).items()}

    def close(self) -> None:
        """End the server and whatever still runs; nothing of it is left when this returns."""
        channel, self._channel = self._channel, None
        keeper, self._keeper = self._keeper, None
        if self._watchdog >= 0:
            os.close(self._watchdog)
            self._watchdog = -1
        if keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(timeout=_PATIENCE)
            if keeper.returncode and channel is not None:  # by somebody else: the server has to end its children itself
                channel.hang_up(_PATIENCE)
                process.wait_for(self._server, _PATIENCE)
                for pid in self._running.values():
                    if pid is not None:
                        process.kill_group(pid)
        if channel is not None:
            channel.close()
        self._running.clear()

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        watched, self._watchdog = os.pipe()
        # -P: neither the folder of a script nor the current one is on the path of models.
        python = [sys.executable, "-P", "-m"]
        server = [*python, "batchexport.workers.server", str(theirs.fileno())]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, os.fdopen(watched), self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [*python, "batchexport.workers.reaper", str(watched), *server],
                pass_fds=[theirs.fileno(), watched],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._ready = False

    def _lost(self) -> list[ProcessExit]:
        lost = [ProcessExit(id=name, status=None) for name in sorted(self._running)]
        self.close()
        return lost
