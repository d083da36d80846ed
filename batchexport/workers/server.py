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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from batchexport.workers import child, native_opens, process
from batchexport.workers.compile_server import CompileServer
from batchexport.workers.protocol import Channel, StageRequest


def main() -> None:
    """Serve on the socket whose descriptor is the first argument; the second is the pid of the reaper."""
    process.die_with_parent(int(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    preload = native_opens.take_out(os.environ)  # programs that models and compilers start need not load it
    try:
        first_party = child.load_pipeline()
    except Exception as error:  # noqa: BLE001 - an import may raise anything
        channel.send({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return
    # From here on the socket shows when the coordinator ends, and there are children to kill before exiting.
    process.outlive_parent()
    Server(channel, preload, first_party=first_party).serve()
    # Skip the teardown of torch, which takes a second.
    os._exit(0)


class Server:
    """Start children, reap them, and report each exit to the coordinator."""

    def __init__(
        self,
        channel: Channel,
        preload: str | None = None,
        *,
        forks: bool = True,
        compiles: bool = False,
        first_party: Sequence[str] = (),
    ) -> None:
        """Serve on `channel`; `preload` is the LD_PRELOAD of children that are spawned, as all are without `forks`.

        `compiles`: this is the server for compiles. `first_party` are the files of such modules that are loaded.
        """
        self._first_party = list(first_party)
        self._channel = channel
        self._preload = preload
        self._threads = len(os.listdir("/proc/self/task"))
        self._forks = forks and self._threads == 1
        self._is_for_compiles = compiles
        self._compile_server: CompileServer | None = None
        self._selector = selectors.DefaultSelector()
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
        self._channel.send(
            {"event": "ready", "threads": self._threads, "pid": os.getpid(), "first_party": self._first_party}
        )
        for end in (self._channel, self._wakeup):
            self._selector.register(end, selectors.EVENT_READ)
        while True:
            self._selector.select()
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
            try:
                if self._reap_and_read():
                    continue
            except OSError:
                pass
            break
        if self._compile_server is not None:
            self._compile_server.close()
        for pid in self._children:
            _signal(pid, signal.SIGKILL)
        for pid in self._children:  # the coordinator waits for this server, and must find no child alive after it
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _reap_and_read(self) -> bool:
        self._reap()
        ready = [key.fileobj for key, _ in self._selector.select(0)]
        compiles = self._compile_server
        if compiles is not None and compiles.channel in ready and not compiles.relay(self._channel):
            return False  # the coordinator takes this server's end for that of all children, and starts another
        if self._channel not in ready:
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
                return
        if self._compile_server is not None:
            self._compile_server.channel.send(message)

    def _start(self, request: StageRequest) -> None:
        forks = self._forks and not request.spawn
        compiles = request.task["stage"] == "compile" and not request.environment["CUDA_VISIBLE_DEVICES"]
        if forks and compiles and not self._is_for_compiles:
            self._compiles(request.task["tools"]).channel.send({"do": "start", "request": request.to_json()})
            return
        pid = self._fork(request) if forks else self._spawn(request)
        self._children[pid] = (request.id, time.monotonic())
        self._channel.send({"event": "started", "id": request.id, "pid": pid})

    def _compiles(self, tools: Mapping[str, str] | None) -> CompileServer:
        """Return the server for compiles, forked when the first one comes: it gets ready while this one goes on."""
        if self._compile_server is None:
            ours, theirs = socket.socketpair()
            server, pid = os.getpid(), os.fork()
            if pid == 0:
                ours.close()
                self._become_compile_server(server, Channel(theirs), tools)
            theirs.close()
            self._compile_server = CompileServer(Channel(ours), pid)
            self._selector.register(self._compile_server.channel, selectors.EVENT_READ)
        return self._compile_server

    def _become_compile_server(self, server: int, channel: Channel, tools: Mapping[str, str] | None) -> NoReturn:
        try:
            self._leave()
            process.die_with_parent(server)
            forks = True
            try:
                child.load_pipeline(tools)
            except Exception:  # noqa: BLE001 - what an interrupted warm-up left must not reach a child
                traceback.print_exc()
                forks = False
            process.outlive_parent()  # from here on the channel shows its end, and there are children to kill
            Server(channel, self._preload, forks=forks, compiles=True).serve()
        finally:
            os._exit(0)

    def _leave(self) -> None:
        """Close, in a forked process, what belongs to the server."""
        signal.set_wakeup_fd(-1)
        for end in (self._selector, self._channel, self._wakeup, self._signal):
            end.close()
        if self._compile_server is not None:
            self._compile_server.channel.close()

    def _fork(self, request: StageRequest) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            self._leave()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            process.die_with_parent(server)
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


def _signal(pid: int, number: int) -> None:
    """Send a signal to the process group of a child that is not reaped yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # it has not made its own group yet
        os.kill(pid, number)


if __name__ == "__main__":
    main()
