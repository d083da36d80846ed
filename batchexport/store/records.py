"""Records: one JSON file for each result, written last and atomically, and valid only with its checksum."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchexport.core.digests import bytes_digest
from batchexport.core.files import atomic_write
from batchexport.core.keys import canonical
from batchexport.store.errors import translate_os_errors
from batchexport.store.layout import Layout, ensure_real_dir, parse_record_name
from batchexport.store.staging import Staging

SCHEMA = 1
_MIDDLE = b'","data":'
_LATER = {"later": True}


class Records:
    """One small JSON file per (kind, key) under `entries/`."""

    def __init__(self, layout: Layout, staging: Staging) -> None:
        self._layout = layout
        self._staging = staging

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the data of a record, or None. A damaged record is set aside; errors of the disk do not raise.

        Raises:
            ValueError: if `kind` or `key` is malformed.
        """
        found = self._read(kind, key)
        return None if found is None or found is _LATER else found

    def is_later(self, kind: str, key: str) -> bool:
        """Return True if there is a record of a later version of batchexport, whose meaning is unknown here."""
        return self._read(kind, key) is _LATER

    def _read(self, kind: str, key: str) -> dict[str, Any] | None:
        name = self._layout.record_name(kind, key)
        if os.path.islink(os.path.dirname(name)):
            return None
        try:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                text = file.read()
        except OSError as error:
            if error.errno in (
                errno.ELOOP,
                errno.EISDIR,
                errno.EIO,
            ):  # not a file that batchexport wrote, or not readable any more
                self.set_aside(kind, key)
            return None
        head = _head(kind, key)
        checksum, body = text[len(head) : len(head) + 64], text[len(head) + 64 + len(_MIDDLE) : -1]
        try:
            if text == b"".join((head, checksum, _MIDDLE, body, b"}")) and checksum == _checksum(body):
                data: dict[str, Any] = json.loads(body)
                return data
            if json.loads(text)["schema"] > SCHEMA:
                return _LATER  # that version may still need it
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        self.set_aside(kind, key)
        return None

    def put(self, kind: str, key: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write a record; return `data` as `get` will return it.

        Raises:
            ValueError, TypeError: if a name is malformed or `data` is not JSON-like.
            DiskFull, StoreError: if it can't be written; an earlier record is kept.
        """
        path = self._layout.record_path(kind, key)
        body = canonical(dict(data))
        text = b"".join((_head(kind, key), _checksum(body), _MIDDLE, body, b"}"))
        plain: dict[str, Any] = json.loads(body)
        with translate_os_errors(self._layout.root, needed=len(text)):
            ensure_real_dir(path.parent)
            atomic_write(path, text, scratch=self._staging.scratch("record"))
        return plain

    def touch(self, kind: str, key: str) -> None:
        """Mark a record as used now, if that is possible."""
        with suppress(OSError):
            os.utime(self._layout.record_name(kind, key), follow_symlinks=False)

    def iterate(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (kind, key, data) of every valid record, unordered."""
        for path in self._files():
            name = parse_record_name(path.name)
            if name is not None and path.parent.name == name[1][:2]:
                data = self.get(*name)
                if data is not None:
                    yield *name, data

    def remove(self, kind: str, key: str) -> None:
        """Remove a record if it is there.

        Raises:
            StoreError: if it can't be removed.
        """
        with translate_os_errors(self._layout.root):
            self._layout.record_path(kind, key).unlink(missing_ok=True)

    def set_aside(self, kind: str, key: str) -> None:
        """Rename a record to `….damaged`: it is a miss then, and can still be inspected."""
        path = self._layout.record_path(kind, key)
        if path.parent.is_symlink():
            return
        with suppress(OSError):
            path.replace(path.with_suffix(".damaged"))

    def _files(self) -> Iterator[Path]:
        with suppress(OSError):
            for folder in self._layout.entries.iterdir():
                with suppress(OSError):
                    if not folder.is_symlink():
                        yield from folder.iterdir()


def _head(kind: str, key: str) -> bytes:
    return f'{{"schema":{SCHEMA},"kind":"{kind}","key":"{key}","sha256":"'.encode()


def _checksum(body: bytes) -> bytes:
    return bytes_digest(body).encode()
