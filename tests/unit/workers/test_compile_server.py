from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from batchexport.workers.compile_server import CompileServer
from batchexport.workers.protocol import Channel

STARTED = {"event": "started", "id": "a:compile", "pid": 7}
ENDED = {"event": "ended", "id": "a:compile", "status": 0}


class Ends:
    """A compile server that is a sleeping process, its end of the channel, and what the coordinator hears."""

    def __init__(self) -> None:
        self.pid = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
        ours, theirs = socket.socketpair()
        self.far = Channel(theirs)
        self.server = CompileServer(Channel(ours), self.pid)
        here, there = socket.socketpair()
        self.coordinator, self._heard = Channel(here), Channel(there)

    def heard(self) -> list[dict[str, Any]]:
        self.coordinator.close()
        found = []
        while (messages := self._heard.receive()) is not None:
            found += messages
        return found


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.server.close()


def test_what_becomes_of_children_is_passed_on_and_that_the_server_is_ready_is_not(ends: Ends) -> None:
    for message in ({"event": "ready", "threads": 1, "pid": ends.pid}, STARTED, ENDED):
        ends.far.send(message)
    assert ends.server.relay(ends.coordinator)
    assert ends.heard() == [STARTED, ENDED]


def test_its_end_is_told(ends: Ends) -> None:
    ends.far.close()
    assert not ends.server.relay(ends.coordinator)


def test_closing_it_while_it_gets_ready_does_not_wait(ends: Ends) -> None:
    ends.server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(ends.pid, 0)
