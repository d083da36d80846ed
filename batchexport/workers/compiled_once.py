"""Keep the results of compilations that no model has a part in, until a file that they read changes.

A result is named by all that was asked of the compiler. Beside it stand its SHA-256 and the files that the compiler
read, as in ccache's direct mode (https://ccache.dev/manual/latest.html#_the_direct_mode). It is made again where a file
has other content, where a folder has changed in which another file may now be found first, and where it was damaged.
Processes take turns by an `flock`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

# Makes a file at a path; returns the files that were read for it and the folders to watch, None where it can't be made.
Make = Callable[[str], tuple[Sequence[str], Sequence[str]] | None]


def kept_result(folder: str, key: str, make: Make) -> str | None:
    """Return the path of the result of this key below `folder`, made if need be; None where it can't be made.

    What can't be made is not tried again. Raises OSError where the folder can't be written.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, key)
    if (found := _checked(path)) is not None:
        return found or None
    with _locked(f"{path}.lock"):
        if (found := _checked(path)) is not None:
            return found or None
        part = f"{path}.{os.getpid()}.part"
        try:
            made = make(part)
            row: dict[str, Any] = {"digest": None}
            if made is not None:
                files = [[file, _stamp(file), _digest(file)] for file in made[0]]
                row = {"digest": _digest(part), "files": files, "folders": [[one, _stamp(one)] for one in made[1]]}
                os.replace(part, path)
            _write(f"{path}.json", row)
        finally:
            with suppress(OSError):
                os.unlink(part)
    return None if made is None else path


def _checked(path: str) -> str | None:
    """Return the path of a valid result, "" if there can be none, None if it must be made."""
    try:
        with open(f"{path}.json", encoding="utf-8") as file:
            row = json.load(file)
        if row["digest"] is None:
            return ""
        if not _is_current(path, row) or _digest(path) != row["digest"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path


def _is_current(path: str, row: dict[str, Any]) -> bool:
    """Return True if no file that was read has changed; notes the new stamps of files that were only touched."""
    if any(_stamp(folder) != stamp for folder, stamp in row["folders"]):
        return False
    touched = False
    for known in row["files"]:
        file, stamp, digest = known
        if (now := _stamp(file)) != stamp:
            if _digest(file) != digest:
                return False
            known[1], touched = now, True
    if touched:
        with suppress(OSError):
            _write(f"{path}.json", row)
    return True


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: str, row: dict[str, Any]) -> None:
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(row, file)
    os.replace(part, path)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
