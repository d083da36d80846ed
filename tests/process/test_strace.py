"""A net that does not depend on what we thought of: strace sees every path that model code has the kernel look at.

Whatever lies in the project and is opened, listed, followed or asked about must be in the account of the observer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.dependencies import hooks, machine, path_hooks
from batchexport.dependencies.observer import Observer
from support.observing import Seen, traced_server
from support.tracing import SETUP, WAYS, observe_traced, unaccounted

Verdict = Callable[[Path, Seen, str], bool]
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strace") / "trace"


@pytest.fixture(scope="module")
def server(trace: Path) -> subprocess.Popen[str]:
    return traced_server(trace, native=True)


@pytest.fixture(scope="module")
def bare_server(trace: Path) -> subprocess.Popen[str]:
    """A server without the record of native opens, which stands in for several hooks."""
    return traced_server(trace.with_name("bare"), native=False)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a file of each kind."""
    folder = tmp_path_factory.mktemp("template")
    subprocess.run([sys.executable, "-c", SETUP], cwd=folder, check=True)
    return folder


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "project", symlinks=True)


@pytest.mark.parametrize("code", WAYS.values(), ids=WAYS)
def test_every_path_that_the_kernel_was_asked_about_is_in_the_account(
    root: Path, trace: Path, server: subprocess.Popen[str], code: str
) -> None:
    seen, traced = observe_traced(root, code, trace, server)
    assert seen.changed is None
    assert unaccounted(root, traced, seen) == set()


WITHOUT_HANDLER = """
from batchexport.dependencies.observer import Observer
original = Observer.__init__
def init(self, **more):
    original(self, **more)
    del self._handlers["{0}"]
Observer.__init__ = init
"""
WITHOUT = """
from batchexport.dependencies import {0}
{0}.{1} = lambda *args, **kwargs: {2}
"""


def is_complete(root: Path, seen: Seen, traced: str) -> bool:
    return not unaccounted(root, traced, seen)


def is_uncacheable(root: Path, seen: Seen, traced: str) -> bool:
    return bool(seen.uncacheable)


def has(kind: str, subject: str) -> Verdict:
    return lambda root, seen, traced: subject in seen.of(kind)


def has_not(kind: str, subject: str) -> Verdict:
    return lambda root, seen, traced: seen.changed is None and subject not in seen.of(kind)


def is_changed(root: Path, seen: Seen, traced: str) -> bool:
    return seen.changed is not None


# Each hook, with model code whose account is right, as the verdict says, only if the hook is there.
HANDLERS: dict[str, tuple[str, Verdict]] = {
    "open": (WAYS["open"], is_complete),
    "import": (
        "import importlib.util as u, os; s = u.spec_from_file_location('_bisect', 'data/fast.so')\n"  # noqa: ISC004
        "m = u.module_from_spec(s); os.replace('data/other.so', 'data/fast.so')",
        is_changed,
    ),
    "ctypes.dlopen": (
        "import ctypes, _ctypes; _ctypes.dlclose(ctypes.CDLL('./data/libh.so')._handle)",
        is_complete,
    ),
    "sqlite3.connect": (WAYS["sqlite"], is_complete),
    "sqlite3.load_extension": (
        "import sys; sys.audit('sqlite3.load_extension', None, 'data/libh.so')",
        has("file", "data/libh.so"),
    ),
    "os.mkdir": ("import os; os.mkdir('made'); os.listdir('made'); os.rmdir('made')", has_not("listing", "made")),
    "os.rename": ("import os; open('t', 'w').close(); os.rename('t', 'u'); open('u').read()", has_not("file", "u")),
    "os.link": ("import os; open('t', 'w').close(); os.link('t', 'u'); open('u').read()", has_not("file", "u")),
    "os.symlink": ("import os; open('t', 'w').close(); os.symlink('t', 'u'); open('u').read()", has_not("file", "u")),
    "os.listdir": (WAYS["listdir"], is_complete),
    "os.scandir": (WAYS["scandir"], has("listing", "data")),
    "subprocess.Popen": ("import subprocess; subprocess.run(['true'])", is_uncacheable),
    "os.system": ("import os; os.system('true')", is_uncacheable),
    "os.exec": ("import sys; sys.audit('os.exec', '/bin/true', [], None)", is_uncacheable),
    "os.posix_spawn": ("import os; os.posix_spawn('/bin/true', ['true'], {})", is_uncacheable),
    "os.fork": ("import os; os.fork() or os._exit(0)", is_uncacheable),
    "os.forkpty": ("import sys; sys.audit('os.forkpty')", is_uncacheable),
    "socket.connect": (
        "import socket\ntry: socket.socket().connect(('127.0.0.1', 9))\nexcept OSError: pass",
        is_uncacheable,
    ),
}
WATCHES: dict[tuple[str, str], tuple[str, Verdict]] = {
    ("hooks", "watch_loader"): (WAYS["import a submodule"], has("source", "package/inner.py")),
    ("hooks", "watch_environment"): ("import os; os.getenv('APP_H')", has("environment", "APP_H")),
    ("hooks", "watch_processes"): (
        "import multiprocessing as m; m.get_context('spawn').Process(target=int).start()",
        is_uncacheable,
    ),
    ("hooks", "watch_metadata"): (
        "import importlib.metadata as m\ntry: m.version('never')\nexcept m.PackageNotFoundError: pass",
        has("metadata", "never"),
    ),
    ("hooks", "watch_databases"): (WAYS["sqlite attach"], is_complete),
    ("hooks", "watch_readers"): (WAYS["torch reader"], is_complete),
    ("machine", "watch_machine"): ("import os; os.cpu_count()", has("machine", "cores")),
    ("path_hooks", "watch_stats"): (WAYS["getsize"], is_complete),
    ("path_hooks", "watch_links"): (WAYS["readlink"], is_complete),
    ("path_hooks", "watch_access"): (WAYS["access"], is_complete),
    ("path_hooks", "watch_scans"): (WAYS["walk"], has("kinds", "data")),
    ("path_hooks", "watch_relative_opens"): (WAYS["os.open at a folder"], is_complete),
    ("hooks", "MissingModules"): (WAYS["an optional module"], has("absent", "package/missing.py")),
    ("observer", "mapped_files"): (WAYS["CDLL, a library behind a library"], is_complete),
    ("observer", "NativeOpens"): (WAYS["tokenizers"], is_complete),
}
NOTHING = {
    "MissingModules": "type('Nothing', (), {'find_spec': lambda *args: None})()",
    "mapped_files": "set()",
    "NativeOpens": "type('Nothing', (), {'start': lambda _: None, 'stop': lambda _: (), 'lost': 0})()",
}
MUTANTS = {
    **{name: (WITHOUT_HANDLER.format(name), *rest) for name, rest in HANDLERS.items()},
    **{
        name: (WITHOUT.format(module, name, NOTHING.get(name, "None")), *rest)
        for (module, name), rest in WATCHES.items()
    },
}


def test_every_hook_is_in_the_table_of_mutants() -> None:
    handlers = Observer(root="/", ignored=(), own_environment=frozenset())._handlers
    assert HANDLERS.keys() == handlers.keys()
    watches = {
        (m.__name__.rpartition(".")[2], n) for m in (hooks, machine, path_hooks) for n in vars(m) if "watch_" in n
    }
    assert watches - {("hooks", "_watch_torch")} <= WATCHES.keys()


@pytest.mark.parametrize(("without", "code", "verdict"), MUTANTS.values(), ids=MUTANTS)
def test_without_one_hook_the_account_is_wrong(
    root: Path,
    trace: Path,
    server: subprocess.Popen[str],
    bare_server: subprocess.Popen[str],
    without: str,
    code: str,
    verdict: Verdict,
) -> None:
    used, file = (server, trace) if "NativeOpens" in without else (bare_server, trace.with_name("bare"))
    other = shutil.copytree(root, root.with_name("other"), symlinks=True)
    assert verdict(root, *observe_traced(root, code, file, used))
    assert not verdict(other, *observe_traced(other, code, file, used, before=without))
