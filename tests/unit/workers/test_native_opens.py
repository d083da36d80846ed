"""The library that is loaded before the C library: it compiles, and its audit hook is called for some events only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchexport.workers.native_opens import preloaded, take_out

HOOK = """
import os, sys
from batchexport.dependencies.native import add_audit_hook

seen, counted = [], []
def hook(event, args):
    seen.append((event, args))
    if args and args[0] == "/refused":
        raise PermissionError("refused")

add_audit_hook(hook, ["os.listdir", "open"])
id(seen), os.listdir("/"), compile("1", "text", "eval")
try:
    open("/refused")
except PermissionError as error:
    print(error)
others = {event for event, _ in seen} - {"os.listdir", "open"}
print(("os.listdir", ("/",)) in seen, len(others) > 0)
"""


def _output(environment: dict[str, str]) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", HOOK], env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return ended.stdout.split("\n")[:2]


@pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs g++ on Linux")
def test_the_hook_is_called_for_the_events_that_it_wants(tmp_path: Path) -> None:
    environment = preloaded({**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "CXX": "g++"})
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]
    assert _output(environment) == ["refused", "True False"]


def test_without_the_library_it_is_called_for_all_events(tmp_path: Path) -> None:
    environment = preloaded({**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "CXX": "no-such-compiler"})
    assert list(tmp_path.iterdir()) == []
    assert _output(environment) == ["refused", "True True"]


def test_the_library_is_taken_out_of_the_environment_and_others_stay() -> None:
    environment = {"LD_PRELOAD": "/cache/native_opens-0123.so /usr/lib/other.so"}
    assert take_out(environment) == "/cache/native_opens-0123.so /usr/lib/other.so"
    assert environment == {"LD_PRELOAD": "/usr/lib/other.so"}
    assert take_out(environment) is None
    assert environment == {"LD_PRELOAD": "/usr/lib/other.so"}
