"""A row of the index is text with its own checksum; anything else is refused, and nothing is unpickled."""

from __future__ import annotations

import json
from typing import Any

import diskcache

from batchexport.core.digests import bytes_digest

RAW: int = diskcache.core.MODE_RAW


class InvalidRow(ValueError):
    """A row that this program can't have written, or that has changed since."""


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's serialisation cut down to str keys and str values inside the database.

    diskcache itself unpickles whatever a row's mode column says is a pickle (CVE-2025-69872), and opens or
    removes whatever file its filename column names.
    """

    def put(self, key: Any) -> tuple[str, bool]:
        """A key on its way into the database."""
        if type(key) is not str:
            raise InvalidRow(f"keys are str, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """A key on its way out."""
        if raw != 1 or type(key) is not str:
            raise InvalidRow("a key that is not plain text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, str]:
        """A value on its way in: (size outside the database, mode, file name, value)."""
        if read or type(value) is not str:
            raise InvalidRow(f"values are str, not {type(value).__name__}")
        return 0, RAW, None, value

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> str:
        """A value on its way out."""
        if read or mode != RAW or filename is not None or type(value) is not str:
            raise InvalidRow("a value that is not plain text")
        return value

    def remove(self, file_path: str) -> None:
        """No value lives in a file, so a row that names one is not to be trusted with a deletion."""


def encode_row(name: str, value: Any) -> str:
    """`value` as a row's text: a checksum over its name and its JSON, a line break, the JSON.

    Raises:
        ValueError, TypeError: if `value` is not JSON-like.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return f"{_checksum(name, text)}\n{text}"


def decode_row(name: str, row: str) -> Any:
    """The value sealed in `row` under `name`.

    Raises:
        RefusedRow: if the checksum does not hold.
    """
    checksum, _, text = row.partition("\n")
    if checksum != _checksum(name, text):
        raise InvalidRow("a value that does not match its checksum")
    return json.loads(text)


def _checksum(name: str, text: str) -> str:
    return bytes_digest(f"{name}\n{text}".encode("utf-8", "surrogatepass"))
