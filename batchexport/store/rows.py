"""Rows of the index: text with a checksum. Anything else is refused, and nothing is ever unpickled."""

from __future__ import annotations

import json
from typing import Any

import diskcache

from batchexport.core.digests import bytes_digest

RAW: int = diskcache.core.MODE_RAW


class InvalidRow(ValueError):
    """A row that this program did not write, or that was changed since."""


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's serialization, limited to str keys and str values inside the database.

    diskcache itself unpickles whatever a row's mode column says is a pickle (CVE-2025-69872), and opens or
    removes whatever file its filename column names.
    """

    def put(self, key: Any) -> tuple[str, bool]:
        """Encode a key."""
        if type(key) is not str:
            raise InvalidRow(f"keys are str, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """Decode a key."""
        if raw != 1 or type(key) is not str:
            raise InvalidRow("a key that is not plain text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, str]:
        """Encode a value: (size outside the database, mode, file name, value)."""
        if read or type(value) is not str:
            raise InvalidRow(f"values are str, not {type(value).__name__}")
        return 0, RAW, None, value

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> str:
        """Decode a value."""
        if read or mode != RAW or filename is not None or type(value) is not str:
            raise InvalidRow("a value that is not plain text")
        return value

    def remove(self, file_path: str) -> None:
        """Remove nothing: no value is kept in a file, so a row that names one is not trusted."""


def encode_row(name: str, value: Any) -> str:
    """Return `value` as a row's text: a checksum over its name and its JSON, a line break, the JSON.

    Raises:
        ValueError, TypeError: if `value` is not JSON-like.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return f"{_checksum(name, text)}\n{text}"


def decode_row(name: str, row: str) -> Any:
    """Return the value in `row` under `name`.

    Raises:
        InvalidRow: if the checksum does not match.
    """
    checksum, _, text = row.partition("\n")
    if checksum != _checksum(name, text):
        raise InvalidRow("a value that does not match its checksum")
    return json.loads(text)


def _checksum(name: str, text: str) -> str:
    return bytes_digest(f"{name}\n{text}".encode("utf-8", "surrogatepass"))
