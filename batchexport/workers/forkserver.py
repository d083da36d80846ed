"""The coordinator's side of the fork server: start it when the first stage must run, and receive how children end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.errors import EnvironmentProblem
from batchexport.workers import memory, native_opens, process
from batchexport.workers.protocol import Channel, StageRequest

_LAG_SECONDS = 0.1  # the file system's clock lags a little behind
_CLOSE_SECONDS = 10.0  # for killed processes to be gone; the kernel may first have to free gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a child ended: exit status (negative: killed by that signal), seconds, peak RSS in bytes.

    `status` is None where the fork server itself died.
    """

    id: str
    status: int | None
    seconds: float = 0.0
    peak_rss_bytes: int | None = None


class ForkServer:
    """One fork server and its children. The server starts with `environment` and writes its output to `log`."""

    def __init__(self, *, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._reaper: subprocess.Popen[bytes] | None = None
        self._watchdog = -1
        self._server = 0
        self._launched = 0.0
        self._first_party: list[str] = []  # files of modules that the server loaded before any model
        self._channel: Channel | None = None
        self._ready = False
        # The pid of every started child by the id of its request; None until the server has sent it.
        self._pids: dict[str, int | None] = {}
        self._exits: list[ProcessExit] = []
        self.note: str | None = None

    def open(self) -> None:
        """Start the server, which imports torch while the coordinator does other work."""
        if self._channel is None:
            self._launch()

    def start(self, request: StageRequest) -> None:
        """Start a child for `request`; the first start waits for torch's import.

        Raises EnvironmentProblem where torch can't be imported.
        """
        self.open()
        assert self._channel is not None
        self._pids[request.id] = None
        with contextlib.suppress(OSError):  # `wait` finds out that the server died
            self._channel.send({"do": "start", "request": request.to_json()})
        while not self._ready:
            messages = self._channel.receive()
            if messages is None:
                return
            self._exits += self._handle(messages)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process group of a child."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send({"do": "signal", "id": name, "signal": number})

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        """Return the children that ended, after waiting up to `timeout` seconds for a message."""
        if self._exits:
            exits, self._exits = self._exits, []
            return exits
        if self._channel is None:
            time.sleep(timeout or 0)
            return []
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            if not selector.select(timeout):
                return []
        messages = self._channel.receive()
        return self._server_died() if messages is None else self._handle(messages)

    def _handle(self, messages: list[dict[str, Any]]) -> list[ProcessExit]:
        exits = []
        for message in messages:
            if message["event"] == "broken":
                self.close()
                raise EnvironmentProblem(
                    f"torch can't be imported here: {message['error']}; see {self._log} and `batchexport doctor`"
                )
            if message["event"] == "ready":
                self._ready = True
                self._server = message["pid"]
                self._first_party = message["first_party"]
                if message["threads"] != 1:
                    self.note = (
                        f"the fork server has {message['threads']} threads after its imports, "
                        "so every stage is spawned, which costs seconds each"
                    )
            if message["event"] == "started":
                self._pids[message["id"]] = message["pid"]
            if message["event"] == "ended":
                self._pids.pop(message["id"], None)
                exits.append(
                    ProcessExit(
                        id=message["id"],
                        status=message["status"],
                        seconds=message["seconds"],
                        peak_rss_bytes=message["peak_rss_bytes"],
                    )
                )
        return exits

    @property
    def serves(self) -> bool:
        """Return True unless the server has ended, or a first-party file was edited that it loaded as it started."""
        if self._reaper is None:
            return True
        return self._reaper.poll() is None and not any(map(self._was_edited, self._first_party))

    def _was_edited(self, path: str) -> bool:
        try:
            found = os.stat(path)
        except OSError:
            return True
        return max(found.st_mtime, found.st_ctime) > self._launched - _LAG_SECONDS

    def end_children(self) -> None:
        """Kill every child and wait until each has ended; the server stays, unless that takes too long."""
        for name in self._pids:
            self.signal(name, signal.SIGKILL)
        until = time.monotonic() + _CLOSE_SECONDS
        while self._pids and (left := until - time.monotonic()) > 0:
            self.wait(left)
        self._exits.clear()
        if self._pids:
            self.close()

    def resident_bytes(self, *, exact: bool) -> dict[str, int]:
        """Return the bytes that each child holds with all that it started; see `memory.resident_bytes`."""
        pids = {pid: name for name, pid in self._pids.items() if pid is not None}
        return {pids[pid]: count for pid, count in memory.resident_bytes(pids, exact=exact).items()}

    def close(self) -> None:
        """End the server and its children; none of their processes is left when this returns."""
        channel, self._channel = self._channel, None
        reaper, self._reaper = self._reaper, None
        if self._watchdog >= 0:
            os.close(self._watchdog)
            self._watchdog = -1
        if reaper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                reaper.wait(timeout=_CLOSE_SECONDS)
            if reaper.returncode and channel is not None:  # it was killed: the server ends its children itself
                channel.hang_up(_CLOSE_SECONDS)
                process.wait_for(self._server, _CLOSE_SECONDS)
                for pid in self._pids.values():
                    if pid is not None:
                        process.kill_group(pid)
        if channel is not None:
            channel.close()
        self._pids.clear()

    def _launch(self) -> None:
        self._launched = time.time()
        ours, theirs = socket.socketpair()
        watched, self._watchdog = os.pipe()
        # -P: keep the current folder off the import path of models.
        python = [sys.executable, "-P", "-m"]
        server = [*python, "batchexport.workers.server", str(theirs.fileno())]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, os.fdopen(watched), self._log.open("ab") as log:
            self._reaper = subprocess.Popen(
                [*python, "batchexport.workers.reaper", str(watched), *server],
                pass_fds=[theirs.fileno(), watched],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=native_opens.preloaded(self._environment),
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._ready = False

    def _server_died(self) -> list[ProcessExit]:
        exits = [ProcessExit(id=name, status=None) for name in sorted(self._pids)]
        self.close()
        return exits
