"""Keep the fork servers of earlier runs for the next ones, so that only the first waits for the import of torch.

Runs that have nothing to do start none, so what a server needs is imported with the first one.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from batchexport.workers.forkserver import ForkServer

_KEPT = 2  # a run of one job has other threads than a run of several, and each server takes 300 MB


class KeptServers:
    """The fork servers that the runs of a command share. A context manager that ends them."""

    def __init__(self) -> None:
        self._servers: dict[str, ForkServer] = {}  # last used last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, *, environment: dict[str, str], installed: str, log: Path) -> ForkServer:
        """Return a server that was started with `environment` and imported what is `installed`, a digest.

        Where there is none that still lives, a new one writes its output to `log`; it starts when its first child
        does. The one that was not used for longest ends if there are too many.
        """
        from batchexport.workers import forkserver

        key = json.dumps([environment, installed], sort_keys=True)
        server = self._servers.pop(key, None)
        if server is not None and not server.serves:
            server.close()
            server = None
        if server is None:
            while len(self._servers) >= _KEPT:
                self._servers.pop(next(iter(self._servers))).close()
            server = forkserver.ForkServer(environment=environment, log=log)
        self._servers[key] = server
        return server

    def close(self) -> None:
        """End the servers; none of their processes is left when this returns."""
        while self._servers:
            self._servers.popitem()[1].close()
