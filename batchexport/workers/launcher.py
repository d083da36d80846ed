"""Run the C++ compiler for Inductor, and compile what is the same for every model only once.

    python launcher.py COMPILER FOLDER ARGUMENT…

Inductor starts it in the compiler's place, as it would start ccache. It knows two kinds of command: the compilation of
a model's wrapper, of which most is torch's own text (see `wrapper_parts`), and the preprocessing of a header of torch's
that every process repeats to name its precompiled header. Every other command is the compiler's, untouched, and so is
one of these that can't be done in parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

if __name__ == "__main__":  # started without the folders of installed packages, which take longer to find than it runs
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from batchexport.workers.compiled_once import kept_result
from batchexport.workers.header_search import read_files, search_path, watched_folders
from batchexport.workers.launchers import LOG
from batchexport.workers.wrapper_parts import LEFT_TO_SHARED, split_wrapper

# Variables that change what g++ and clang++ read or write (their manuals, "Environment Variables").
_READ = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "SOURCE_DATE_EPOCH",
         "LANG", "LC_ALL", "LC_CTYPE", "SDKROOT", "CCC_OVERRIDE_OPTIONS")  # fmt: skip
_ERROR = re.compile(r":\d+: (?:fatal )?error: ")  # in a file, at a line


def main(arguments: Sequence[str]) -> int:
    """Do what a command asks of the compiler; return its exit status."""
    compiler, folder, *command = arguments
    output = command[command.index("-o") + 1] if "-o" in command[:-1] else ""
    source = next((word for word in command if word.endswith((".wrapper.cpp", "/header.hpp"))), "")
    if output.endswith(".wrapper.o") and "-c" in command and source.endswith(".cpp"):
        try:
            return _wrapper(compiler, folder, command, source, output)
        except (OSError, ValueError) as error:
            return _whole(compiler, command, f"{type(error).__name__}: {error}")
    if output.endswith("/header.i") and "-E" in command and source.endswith(".hpp"):
        with suppress(OSError, ValueError):
            if _preprocessed(compiler, folder, command, source, output):
                return 0
    return _untouched(compiler, command)


def _wrapper(compiler: str, folder: str, command: list[str], source: str, output: str) -> int:
    with open(source, encoding="utf-8") as file:
        text = file.read()
    parts = split_wrapper(text, source)
    if parts is None:
        return _whole(compiler, command, "unknown form")
    flags = [word for word in command if word not in (source, "-c", "-o", output)]
    key = _key(compiler, flags, parts.shared)
    shared = kept_result(f"{folder}/objects", f"{key}.o", lambda path: _shared(compiler, flags, parts.shared, path))
    if shared is None:
        return _whole(compiler, command, "the shared part does not compile by itself")
    own, own_object = f"{output}.own.cpp", f"{output}.own.o"
    _write(own, parts.own)
    try:
        if not _succeeds([compiler, own, *flags, "-c", "-o", own_object]):
            return _whole(compiler, command, "the model's part does not compile by itself")
        join = [compiler, "-r", "-nostdlib", own_object, shared, "-o", output]
        if not (_succeeds(join) and _is_complete(output)):
            return _whole(compiler, command, "the parts do not join")
    finally:
        _remove(own, own_object)
    _note("joined")
    return 0


def _shared(compiler: str, flags: list[str], text: str, path: str) -> tuple[list[str], list[str]] | None:
    """Compile the shared part to `path`; see `_with_read`."""
    source, headers = f"{path}.cpp", []
    words = list(flags)
    if "-include" in words:  # by its text: a precompiled header does not tell the files that it was made of
        place = words.index("-include") + 1
        headers = [f"{path}.h"]
        with open(words[place], encoding="utf-8") as file:
            _write(headers[0], file.read())
        words[place] = headers[0]
    _write(source, text)
    try:
        return _with_read(compiler, [source, *words, "-c"], path, without=[source, *headers])
    finally:
        _remove(source, *headers)


def _with_read(
    compiler: str, words: list[str], path: str, *, without: Sequence[str]
) -> tuple[list[str], list[str]] | None:
    """Make `path`; return the files that were read and the folders to watch, None if the text can't be compiled.

    Raises OSError where the compiler fails for another reason.
    """
    rule = f"{path}.d"
    try:
        command = [compiler, *words, "-MD", "-MF", rule, "-o", path]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode:
            if _ERROR.search(done.stderr):
                return None
            raise OSError(f"the compiler ended with {done.returncode}")  # a full disk or a kill is over some time
        with open(rule, encoding="utf-8") as file:
            files = [one for one in read_files(file.read()) if one not in without]
    finally:
        _remove(rule)
    flags = [word for word in words if word.startswith(("-I", "-nostd", "-stdlib"))]
    command = [compiler, *flags, "-E", "-v", "-x", "c++", os.devnull, "-o", os.devnull]
    listing = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return files, watched_folders(files, search_path(listing.stderr))


def _preprocessed(compiler: str, folder: str, command: list[str], source: str, output: str) -> bool:
    with open(source, encoding="utf-8") as file:
        text = file.read()
    flags = [word for word in command if word not in (source, "-o", output)]
    key = _key(compiler, flags, text)
    kept = kept_result(
        f"{folder}/objects", f"{key}.i", lambda path: _with_read(compiler, [source, *flags], path, without=[source])
    )
    if kept is not None:
        shutil.copyfile(kept, output)
    return kept is not None


def _whole(compiler: str, command: list[str], why: str) -> int:
    _note("whole", why)
    return _untouched(compiler, command)


def _untouched(compiler: str, command: Sequence[str]) -> NoReturn:
    os.execv(compiler, [compiler, *command])  # noqa: S606 - a shell would read the arguments in its own way


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _is_complete(joined: str) -> bool:
    """Return True if no function is missing that the model's part left to the shared one."""
    listed = subprocess.run(["nm", "-u", joined], check=False, capture_output=True, text=True)
    return listed.returncode == 0 and not any(name in listed.stdout for name in LEFT_TO_SHARED)


def _key(compiler: str, flags: list[str], text: str) -> str:
    status = os.stat(compiler)
    stamp = [os.path.realpath(compiler), status.st_size, status.st_mtime_ns]
    variables = {name: os.environ[name] for name in _READ if name in os.environ}
    return hashlib.sha256(json.dumps([stamp, flags, variables, text]).encode()).hexdigest()


def _note(outcome: str, why: str | None = None) -> None:
    if log := os.environ.get(LOG):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"outcome": outcome, "why": why}) + "\n")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _remove(*paths: str) -> None:
    for path in paths:
        if os.path.lexists(path):
            os.unlink(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
