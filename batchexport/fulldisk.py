"""A stage that broke off on a full disk is told as that: the disk is asked, not the text of an error."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from batchexport.core.errors import NO_ROOM, Kind
from batchexport.core.report import Failure
from batchexport.core.text import size

_PROBE = 1 << 16  # bytes; who ran out of room has left less than this
_LOOKS_LIKE_IT = (Kind.CRASH, Kind.COMPILE, Kind.SAVE, Kind.INTERNAL)


def explained(failure: Failure, folder: Path) -> Failure:
    """`failure` of a stage that worked in `folder`, or what a full disk under that folder makes of it."""
    if failure.kind not in _LOOKS_LIKE_IT or not is_full(folder):
        return failure
    return replace(
        failure,
        kind=Kind.DISK,
        message=f"the disk of the cache is full: {_free(folder)} free, and the stage needed more ({failure.message})",
        remedy="free some space (`batchexport cache gc` may) and run again",
    )


def is_full(folder: Path) -> bool:
    """Whether not even a small file can be written there."""
    probe = folder / ".probe"
    try:
        with probe.open("xb", buffering=0) as file:
            return file.write(b"\1" * _PROBE) < _PROBE
    except OSError as error:
        return error.errno in NO_ROOM
    finally:
        probe.unlink(missing_ok=True)


def _free(folder: Path) -> str:
    try:
        return size(shutil.disk_usage(folder).free)
    except OSError:
        return "nothing"
