"""The server that runs share: which of them it may serve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchexport.engine.kept_servers import KeptServers
from batchexport.workers import forkserver


class Server:
    serves = True
    closed = False

    def __init__(self, **started_with: Any) -> None:
        self.started_with = started_with

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptServers:
    monkeypatch.setattr(forkserver, "ForkServer", Server)
    return KeptServers()


def get(kept: KeptServers, *, variable: str = "1", installed: str = "torch 2.13", log: str = "log") -> Any:
    return kept.get(environment={"VARIABLE": variable}, installed=installed, log=Path(log))


def test_the_next_run_has_the_same_server_wherever_its_log_would_be(kept: KeptServers) -> None:
    assert get(kept) is get(kept, log="other")


@pytest.mark.parametrize("other", [{"variable": "2"}, {"installed": "torch 2.14"}])
def test_another_environment_and_other_packages_need_another_server(kept: KeptServers, other: dict[str, str]) -> None:
    first = get(kept)
    assert get(kept, **other) is not first
    assert get(kept) is first


def test_of_too_many_servers_the_one_not_used_for_longest_ends(kept: KeptServers) -> None:
    first, second = get(kept), get(kept, variable="2")
    assert get(kept) is first
    get(kept, variable="3")
    assert (first.closed, second.closed) == (False, True)


def test_a_server_that_has_died_is_replaced(kept: KeptServers) -> None:
    first = get(kept)
    first.serves = False
    assert get(kept) is not first


def test_the_server_ends_with_the_command(kept: KeptServers) -> None:
    with kept:
        server = get(kept)
    assert server.closed


def test_runs_that_start_no_server_import_none() -> None:
    code = "import sys, batchexport.api as api; api.kept_servers().close(); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "batchexport.engine.kept_servers" in loaded
    assert not {"batchexport.workers.forkserver", "psutil"} & {*loaded}
