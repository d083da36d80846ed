"""The fork server: import torch once, never run a tensor operation, and fork one child per stage.

When the coordinator closes its end of the socket, the server kills every child with its process group and exits. If
the server itself is killed, the kernel kills the children, and the reaper, its parent, what they started. So nothing
outlives the coordinator.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from batchexport.workers import child, native_opens, process
from batchexport.workers.protocol import Channel, StageRequest


def main() -> None:
    """Serve on the socket whose descriptor is the first argument; the second is the pid of the reaper."""
    process.die_with_parent(int(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    preload = native_opens.take_out(os.environ)  # programs that models and compilers start need not load it
    try:
        child.load_pipeline()
    except Exception as error:  # noqa: BLE001 - an import may raise anything
        channel.send({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return
    # From here on the socket shows when the coordinator ends, and there are children to kill before exiting.
    process.outlive_parent()
    Server(channel, preload).serve()
    # Skip the teardown of torch, which takes a second.
    os._exit(0)


class Server:
    """Start children, reap them, and report each exit to the coordinator."""

    def __init__(self, channel: Channel, preload: str | None = None) -> None:
        self._channel = channel
        self._preload = preload
        self._threads = _count_threads()
        self._compiles: bool | None = None  # whether children that compile are forked; None before the first of them
        self._children: dict[int, tuple[str, float]] = {}
        # Referenced until they are reaped here, or subprocess would reap them and their exit status would be lost.
        self._spawned: dict[int, subprocess.Popen[bytes]] = {}
        self._wakeup, self._signal = socket.socketpair()
        for end in (self._wakeup, self._signal):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signal.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Handle messages and exits until the coordinator closes its end."""
        self._channel.send({"event": "ready", "threads": self._threads, "pid": os.getpid()})
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
            _signal(pid, signal.SIGKILL)
        for pid in self._children:  # the coordinator waits for this server, and must find no child alive after it
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _reap_and_read(self, selector: selectors.BaseSelector) -> bool:
        self._reap()
        if not any(key.fileobj is self._channel for key, _ in selector.select(0)):
            return True
        messages = self._channel.receive()
        for message in messages or ():
            self._handle(message)
        return messages is not None

    def _handle(self, message: dict[str, Any]) -> None:
        if message["do"] == "start":
            self._start(StageRequest.from_json(message["request"]))
            return
        for pid, (name, _) in self._children.items():
            if name == message["id"]:
                _signal(pid, message["signal"])

    def _start(self, request: StageRequest) -> None:
        pid = self._fork(request) if self._may_fork(request) else self._spawn(request)
        self._children[pid] = (request.id, time.monotonic())
        self._channel.send({"event": "started", "id": request.id, "pid": pid})

    def _may_fork(self, request: StageRequest) -> bool:
        """Return True if this process is fit for the stage; gets ready for compiles when the first one comes."""
        if request.spawn or self._threads != 1:
            return False
        if request.task["stage"] != "compile":
            return True
        if request.environment["CUDA_VISIBLE_DEVICES"]:  # Inductor's patterns are registered for one kind of device
            return self._compiles is None
        if self._compiles is None:
            try:
                child.load_pipeline(request.task["tools"])
                self._compiles = True
            except Exception:  # noqa: BLE001 - what an interrupted warm-up left must not reach a child
                traceback.print_exc()
                self._compiles = False
            self._threads = _count_threads()
        return self._compiles and self._threads == 1

    def _fork(self, request: StageRequest) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            process.die_with_parent(server)
            self._channel.close()
            self._wakeup.close()
            self._signal.close()
            process.redirect_output(request.log)
            child.run_stage(request, preloaded=True)
        except BaseException:  # noqa: BLE001 - a child must never go on as a second server
            traceback.print_exc()
        finally:
            os._exit(1)

    def _spawn(self, request: StageRequest) -> int:
        path = Path(request.folder, "request.json")
        path.write_text(json.dumps(request.to_json()), encoding="utf-8")
        # TMPDIR as in the server: Inductor puts precompiled headers below the one that torch is imported with.
        environment = {**os.environ, **request.environment, "TMPDIR": os.environ["TMPDIR"]}
        if self._preload is not None:
            environment["LD_PRELOAD"] = self._preload
        command = [sys.executable, "-P", "-m", "batchexport.workers.child", str(path), str(os.getpid())]
        spawned = subprocess.Popen(command, close_fds=True, env=environment, start_new_session=True)
        self._spawned[spawned.pid] = spawned
        return spawned.pid

    def _reap(self) -> None:
        while self._children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid not in self._children:
                continue
            name, started = self._children.pop(pid)
            if pid in self._spawned:
                self._spawned.pop(pid).returncode = os.waitstatus_to_exitcode(status)
            # Compilers that it started, for example, may still run.
            process.kill_group(pid)
            self._channel.send(
                {
                    "event": "ended",
                    "id": name,
                    "status": os.waitstatus_to_exitcode(status),
                    "seconds": time.monotonic() - started,
                    # Linux counts in kilobytes (getrusage(2)).
                    "peak_rss_bytes": usage.ru_maxrss * 1024,
                }
            )


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _signal(pid: int, number: int) -> None:
    """Send a signal to the process group of a child that is not reaped yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # it has not made its own group yet
        os.kill(pid, number)


if __name__ == "__main__":
    main()
