"""Facts about the machine and the user that model code may ask for.

`QUESTIONS` are answered alike by the child and by every later check. What has no answer that lasts, or none that the
coordinator could give, is in `UNREPEATABLE`: a model that asks for it is built every time.
"""

from __future__ import annotations

import importlib
import os
import pwd
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# Bound before they are wrapped.
_cpu_count, _uname, _getuid, _geteuid, _getgid, _getegid, _getgroups = (
    os.cpu_count, os.uname, os.getuid, os.geteuid, os.getgid, os.getegid, os.getgroups
)  # fmt: skip
_getpwuid = pwd.getpwuid
_affinity: Callable[[int], set[int]] = getattr(os, "sched_getaffinity", lambda _: set())


def _cores() -> str:
    return f"{_cpu_count()} {sorted(_affinity(0))}"


def _host() -> str:
    return _uname().nodename


def _kernel() -> str:
    return f"{_uname().release} {_uname().version}"


def _user() -> str:
    return f"{_getuid()} {_geteuid()} {_getgid()} {_getegid()} {sorted(_getgroups())} {_password_entry()}"


def _password_entry() -> str:
    try:
        return " ".join(map(str, _getpwuid(_getuid())))
    except KeyError:
        return ""


QUESTIONS: Mapping[str, Callable[[], str]] = {"cores": _cores, "host": _host, "kernel": _kernel, "user": _user}

# The functions that ask, as module and name, and the questions; several for one that tells all at once.
ASKING: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("os", "cpu_count"): ("cores",),
    ("os", "process_cpu_count"): ("cores",),
    ("os", "sched_getaffinity"): ("cores",),
    ("os", "uname"): ("host", "kernel"),
    ("os", "getuid"): ("user",),
    ("os", "geteuid"): ("user",),
    ("os", "getgid"): ("user",),
    ("os", "getegid"): ("user",),
    ("os", "getgroups"): ("user",),
    ("os", "getlogin"): ("user",),
    ("os", "getresuid"): ("user",),
    ("pwd", "getpwuid"): ("user",),
    ("pwd", "getpwnam"): ("user",),
    ("pwd", "getpwall"): ("user",),
    ("socket", "gethostname"): ("host",),
    ("platform", "node"): ("host",),
    ("platform", "uname"): ("host", "kernel"),
    ("platform", "platform"): ("kernel",),
    ("platform", "release"): ("kernel",),
    ("platform", "version"): ("kernel",),
}

_THREADS = "model code asks for the number of threads"
_LOAD = "model code asks how busy or how large the machine is"
UNREPEATABLE: Mapping[tuple[str, str], str] = {
    ("torch", "get_num_threads"): _THREADS,
    ("torch", "get_num_interop_threads"): _THREADS,
    ("os", "getloadavg"): _LOAD,
    ("os", "statvfs"): _LOAD,
    ("os", "sysconf"): _LOAD,
    ("os", "times"): _LOAD,
    ("resource", "getrlimit"): _LOAD,
    ("resource", "getrusage"): _LOAD,
    ("uuid", "getnode"): "model code asks for the address of the network card",
}
# These ask on their own behalf: a pool of threads for its size, and platform for the name of the system.
_OWN_BEHALF = ("/concurrent/futures/thread.py", "/platform.py", "/tempfile.py")


def answer(question: str) -> str | None:
    """Return the present answer to a question; None if this version does not know the question."""
    function = QUESTIONS.get(question)
    return None if function is None else function()


def watch_machine(on_question: Callable[[str], None], on_unrepeatable: Callable[[str], None]) -> None:
    """Report each question about the machine that is asked, and each that has no lasting answer, with the reason."""

    def replace(place: tuple[str, str], report: Callable[[], None]) -> None:
        module = sys.modules.get("torch") if place[0] == "torch" else importlib.import_module(place[0])
        original = getattr(module, place[1], None)
        if original is None:
            return

        def asked(*args: Any, **kwargs: Any) -> Any:
            if not sys._getframe(1).f_code.co_filename.endswith(_OWN_BEHALF):
                report()
            return original(*args, **kwargs)

        setattr(module, place[1], asked)

    def ask(questions: tuple[str, ...]) -> None:
        for question in questions:
            on_question(question)

    for place, questions in ASKING.items():
        replace(place, partial(ask, questions))
    for place, reason in UNREPEATABLE.items():
        replace(place, partial(on_unrepeatable, reason))
