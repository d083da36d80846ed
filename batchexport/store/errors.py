"""The errors of the store, each with one sentence for the user."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchexport.core.errors import NO_ROOM, StoreError
from batchexport.core.text import format_bytes

__all__ = ["ELSEWHERE", "BlobDamaged", "BlobMissing", "DiskFull", "StoreError", "StoreReadOnly", "translate_os_errors"]

ELSEWHERE = "choose another cache folder with --cache-dir"
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


class DiskFull(StoreError):
    """The disk of the store or of an output is full, or the quota is used up."""


class StoreReadOnly(StoreError):
    """The store may not be written, and a stage has to run."""

    def __init__(self, folder: object) -> None:
        super().__init__(f"{folder} is read-only, and this stage has to run; make it writable or {ELSEWHERE}")


class BlobMissing(StoreError):
    """A blob that a record names is not in the store; it has to be built again."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"blob {digest} is not in the cache; it will be built again by the next run")


class BlobDamaged(StoreError):
    """A blob's bytes do not match its digest; it has been removed and has to be built again."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"blob {digest} is damaged and was removed; it will be built again by the next run")


@contextmanager
def translate_os_errors(place: Path, *, remedy: str = ELSEWHERE, needed: int | None = None) -> Iterator[None]:
    """Turn an `OSError` about `place` into an error with the path, the cause and what to do.

    `needed`: how many bytes were to be written, for the message.

    Raises:
        DiskFull: for ENOSPC and EDQUOT.
        StoreError: for any other `OSError`.
    """
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in NO_ROOM:
            raise DiskFull(
                f"can't write to {place}: {cause}{_missing(place, needed)}; free some space or {remedy}"
            ) from error
        if error.errno in _REFUSED:
            raise StoreError(f"can't write to {place}: {cause}; make it writable or {remedy}") from error
        if error.errno in _IN_THE_WAY:
            blocker = error.filename or place
            raise StoreError(f"can't use {place}: {blocker} is in the way; move it or {remedy}") from error
        raise StoreError(f"can't use {place}: {error}; {remedy}") from error


def _missing(place: Path, needed: int | None) -> str:
    """Return how much space is free and how much is needed, in words."""
    near = next((folder for folder in (place, *place.parents) if folder.is_dir()), place)
    try:
        free = format_bytes(shutil.disk_usage(near).free)
    except OSError:
        return ""
    return f" ({free} free)" if needed is None else f" ({format_bytes(needed)} needed, {free} free)"
