"""Keep the fork server of one run for the next ones, so that only the first waits for the import of torch."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from batchexport.workers.forkserver import ForkServer


class KeptServer:
    """The one fork server that the runs of a command share. A context manager that ends it."""

    def __init__(self) -> None:
        self._server: ForkServer | None = None
        self._started_with: tuple[dict[str, str], str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, *, environment: dict[str, str], installed: str, log: Path) -> ForkServer:
        """Return a server that was started with `environment` and imported what is `installed`, a digest.

        A server that was started with anything else, or that has died, is ended, and a new one writes its output to
        `log`. It starts when its first child does.
        """
        wanted = (environment, installed)
        if self._server is not None and (wanted != self._started_with or not self._server.serves):
            self.close()
        if self._server is None:
            self._server, self._started_with = ForkServer(environment=environment, log=log), wanted
        return self._server

    def close(self) -> None:
        """End the server; none of its processes is left when this returns."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
