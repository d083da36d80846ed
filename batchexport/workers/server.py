"""The fork server imports torch once, never runs a tensor operation, and forks one child per stage.

Its parent is the coordinator: when the socket between them closes, every child is killed and the server
ends. Children ask the kernel to die with the server. So nothing outlives the coordinator.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from batchexport.workers import child, process
from batchexport.workers.protocol import Channel


def main() -> None:
    """Serve on the socket whose descriptor is the first argument; the second is the coordinator's pid."""
    process.die_with_parent(int(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    try:
        importlib.import_module(child.PIPELINE).warm()
    except Exception as error:  # noqa: BLE001 - an import may raise anything
        channel.send({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return
    threads = len(os.listdir("/proc/self/task"))
    channel.send({"event": "ready", "threads": threads, "pid": os.getpid()})
    Server(channel, fork=threads == 1).serve()


class Server:
    """Starts children, reaps them, and tells the coordinator how each ended."""

    def __init__(self, channel: Channel, *, fork: bool) -> None:
        self._channel = channel
        self._fork = fork
        self._children: dict[int, tuple[str, float]] = {}
        self._wakeup, self._signal = socket.socketpair()
        for end in (self._wakeup, self._signal):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signal.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the coordinator closes its end."""
        selector = selectors.DefaultSelector()
        selector.register(self._channel, selectors.EVENT_READ)
        selector.register(self._wakeup, selectors.EVENT_READ)
        while True:
            selector.select()
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
            try:
                if self._reap_and_read(selector):
                    continue
            except OSError:
                pass
            break
        for pid in self._children:
            _kill_group(pid, signal.SIGKILL)

    def _reap_and_read(self, selector: selectors.BaseSelector) -> bool:
        self._reap()
        if not any(key.fileobj is self._channel for key, _ in selector.select(0)):
            return True
        messages = self._channel.receive()
        for message in messages or ():
            if message["do"] == "start":
                self._start(message)
            else:
                for pid, (name, _) in self._children.items():
                    if name == message["id"]:
                        _kill_group(pid, message["signal"])
        return messages is not None

    def _start(self, request: dict[str, Any]) -> None:
        pid = self._forked(request) if self._fork and not request["spawn"] else _spawned(request)
        self._children[pid] = (request["id"], time.monotonic())
        self._channel.send({"event": "started", "id": request["id"], "pid": pid})

    def _forked(self, request: dict[str, Any]) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        process.die_with_parent(server)
        self._channel.close()
        self._wakeup.close()
        self._signal.close()
        process.detach(request["log"])
        child.run_stage({**request, "forked": True})
        os._exit(1)

    def _reap(self) -> None:
        while self._children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid not in self._children:
                continue
            name, started = self._children.pop(pid)
            _kill_group(pid, signal.SIGKILL)
            self._channel.send(
                {
                    "event": "ended",
                    "id": name,
                    "status": os.waitstatus_to_exitcode(status),
                    "seconds": time.monotonic() - started,
                    # Linux gives kilobytes (getrusage(2)).
                    "peak_rss_bytes": usage.ru_maxrss * 1024,
                }
            )


def _kill_group(pid: int, number: int) -> None:
    """Signal a child and all that it started, its compilers included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _spawned(request: dict[str, Any]) -> int:
    path = Path(request["folder"], "request.json")
    path.write_text(json.dumps(request), encoding="utf-8")
    # As in the server itself: precompiled headers go below the temporary folder that torch is imported with.
    environment = {**os.environ, **request["environment"], "TMPDIR": os.environ["TMPDIR"]}
    command = [sys.executable, "-P", "-m", "batchexport.workers.child", str(path)]
    return subprocess.Popen(command, close_fds=True, env=environment).pid


if __name__ == "__main__":
    main()
