"""A disposable index of small JSON values: it saves time, and losing it changes no result."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from batchexport.store.database import Database
from batchexport.store.rows import RAW, InvalidRow, decode_row, encode_row

_CHUNK = 900  # every SQLite takes 999 variables in one statement


class Index:
    """Small JSON values under (space, key). Spaces are names without ":", keys are any strings.

    No method raises on errors of the disk: a get becomes a miss, a put is dropped, and `problem` says
    what happened. A stored `None` reads as a miss.
    """

    def __init__(self, folder: Path, *, timeout: float = 60.0) -> None:
        """`timeout`: seconds to wait while another process writes. Nothing is opened yet."""
        self._database = Database(folder, timeout=timeout)
        self._refused: str | None = None

    @property
    def problem(self) -> str | None:
        """Return the first problem of the index, in one line, or None."""
        return self._database.problem or self._refused

    @property
    def recreated(self) -> bool:
        """Return True if the database was damaged and replaced."""
        return self._database.renewed

    def get(self, space: str, key: str) -> Any | None:
        """Return a value, or None."""
        return self.get_many(space, (key,)).get(key)

    def get_many(self, space: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that have one."""
        names = {_name(space, key): key for key in keys}
        nothing: list[tuple[str, str]] = []
        return self._decoded(space, names, self._database.read(lambda cache: self._select(cache, list(names)), nothing))

    def _decoded(self, space: str, names: Mapping[str, str], rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return the valid ones of the rows by key; `names` are the keys by name."""
        found: dict[str, Any] = {}
        for name, row in rows:
            key = names[name]
            try:
                found[key] = decode_row(f"{space}:{key}", row)
            except InvalidRow as error:
                self._refused = f"index: a row was refused: {error}"
        return found

    def put(self, space: str, key: str, value: Any) -> None:
        """Store one value. Raises ValueError or TypeError if it is not JSON-like."""
        self.put_many(space, {key: value})

    def put_many(self, space: str, values: Mapping[str, Any]) -> None:
        """Store many values, all or none. Raises ValueError or TypeError if one is not JSON-like."""
        rows = {_name(space, key): encode_row(f"{space}:{key}", value) for key, value in values.items()}

        def write(cache: Any) -> None:
            with cache.transact():
                for name, row in rows.items():
                    cache.set(name, row)

        if rows:
            self._database.write(write)

    def update(self, space: str, key: str, change: Callable[[Any | None], Any]) -> Any | None:
        """Replace a value by what `change` makes of it, while no other process writes; store None by deleting it.

        `change` gets None for a value that is missing or invalid. Returns the new value, or None if it can't be stored.
        Raises ValueError or TypeError if the new value is not JSON-like.
        """
        name = _name(space, key)
        stored: list[Any] = []

        def write(cache: Any) -> None:
            with cache.transact():
                old = self._decoded(space, {name: key}, self._select(cache, [name])).get(key)
                new = change(old)
                if new is None:
                    cache.delete(name)
                elif new != old:
                    cache.set(name, encode_row(f"{space}:{key}", new))
            stored[:] = [new]

        self._database.write(write)
        return stored[0] if stored else None

    def delete(self, space: str, key: str) -> None:
        """Delete one value."""
        self.delete_many(space, (key,))

    def delete_many(self, space: str, keys: Iterable[str]) -> None:
        """Delete many values."""
        names = [_name(space, key) for key in keys]

        def write(cache: Any) -> None:
            with cache.transact():
                for name in names:
                    cache.delete(name)

        if names:
            self._database.write(write)

    def items(self, space: str) -> dict[str, Any]:
        """Return all valid values of a space, by key, without rows whose keys are not UTF-8."""
        return self.get_many(space, self.keys(space))

    def keys(self, space: str, *, before: float | None = None) -> list[str]:
        """Return the keys of a space; with `before`, of the rows stored before that time (Unix time)."""
        first = (_name(space, ""), f"{space};")  # ";" comes after ":"
        query = "SELECT key FROM Cache WHERE raw = 1 AND key >= ? AND key < ?"
        query, values = (query, first) if before is None else (f"{query} AND store_time < ?", (*first, before))
        nothing: list[tuple[str]] = []
        rows = self._database.read(lambda cache: cache._sql(query, values).fetchall(), nothing)  # noqa: SLF001
        return [name.partition(":")[2] for (name,) in rows]

    def check(self) -> int:
        """Check the database and every row, and delete damaged rows; return how many there were.

        A damaged database is set aside, and `problem` says so.
        """
        nothing: list[tuple[Any, ...]] = []
        self._database.read(_integrity, None)
        query = "SELECT rowid, key, raw, mode, filename, value FROM Cache"
        bad = []
        for row, *rest in self._database.read(lambda cache: cache._sql(query).fetchall(), nothing):  # noqa: SLF001
            if not _is_good(*rest):
                bad.append(row)

        def write(cache: Any) -> None:
            for row in bad:
                cache._sql("DELETE FROM Cache WHERE rowid = ?", (row,))  # noqa: SLF001

        if bad:
            self._database.write(write)
        return len(bad)

    def shrink(self) -> None:
        """Return the space of deleted rows to the disk."""
        self._database.write(lambda cache: cache._sql("VACUUM"))  # noqa: SLF001

    def close(self) -> None:
        """Close this thread's connection; the index opens again when it is used again."""
        self._database.close()

    def _select(self, cache: Any, names: list[str]) -> list[tuple[str, str]]:
        """Return (name, text) of the existing rows, in as few statements as SQLite allows."""
        rows: list[tuple[str, str]] = []
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, mode, filename, value FROM Cache WHERE raw = 1 AND key IN ({marks})"  # noqa: S608
            # diskcache has no public way to read many keys; its own connection keeps its timeout and fork check.
            for name, mode, filename, value in cache._sql(query, chunk):  # noqa: SLF001
                try:
                    rows.append((name, cache.disk.fetch(mode, filename, value, False)))
                except InvalidRow as error:
                    self._refused = f"index: a row was refused: {error}"
        return rows


def _integrity(cache: Any) -> None:
    (found,) = cache._sql("PRAGMA integrity_check(1)").fetchone()  # noqa: SLF001
    if found != "ok":
        raise sqlite3.DatabaseError(f"its database is damaged: {found}")


def _is_good(key: Any, raw: Any, mode: Any, filename: Any, value: Any) -> bool:
    """Return True if this program wrote the row. Keys that are not UTF-8 have another name in the checksum."""
    if raw != 1 or mode != RAW or filename is not None or type(key) is not str or type(value) is not str:
        return False
    if "\\" in key:
        return True
    try:
        decode_row(key, value)
    except (InvalidRow, ValueError):
        return False
    return True


def _name(space: str, key: str) -> str:
    """Return space and key as one text. A key that is not UTF-8 is hashed; the checksum uses the key itself."""
    if not space or ":" in space:
        raise ValueError(f"not a space of the index: {space!r}")
    name = f"{space}:{key}"
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
