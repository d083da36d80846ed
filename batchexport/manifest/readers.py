"""Readers of fields: each takes a value from tomllib and returns one of an exact type, or reports a mistake.

tomllib returns exact built-in types, so `type(value) is int` is the test: `isinstance` would take `true` for 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from batchexport.core.text import describe, did_you_mean, listing, number, parse_bytes, parse_seconds, quoted
from batchexport.manifest.locations import KeyPath

MAX_DEPTH = 32  # of tables and arrays within one another
INT_MAX = 2**63 - 1


class Report(Protocol):
    """Takes one mistake. `key`: the name of the last key is wrong, not its value."""

    def __call__(self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> None: ...


class _Invalid:
    """The type of `INVALID`, so that it can't be mistaken for a value."""


INVALID: Final = _Invalid()  # returned by a reader that has reported a mistake
Reader = Callable[[Any, KeyPath, Report], Any]

# What made each reader that was not written by hand: the name of a function below, and what it was given.
# `manifest/json_schema.py` turns it into the form that the reader takes.
ORIGINS: Final[WeakKeyDictionary[Reader, tuple[str, tuple[Any, ...]]]] = WeakKeyDictionary()


def made(read: Reader, by: str, *given: Any) -> Reader:
    """Record what made a reader, and return it."""
    ORIGINS[read] = by, given
    return read


def string(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a string that is not empty and has no NUL, which neither paths nor environments allow."""
    if type(value) is not str:
        say(path, f"expected a string, found {describe(value)}")
        return INVALID
    if not value:
        say(path, "the string is empty")
        return INVALID
    if "\0" in value:
        say(path, "the string holds a NUL character")
        return INVALID
    return value


def boolean(value: Any, path: KeyPath, say: Report) -> Any:
    """Read `true` or `false`."""
    if type(value) is bool:
        return value
    near = str(value).lower()
    hint = near if near in ("true", "false") else {"1": "true", "0": "false"}.get(near, "true or false")
    say(path, f"expected true or false, found {describe(value)}", f"write {hint}, without quotes")
    return INVALID


def integer(minimum: int, maximum: int = INT_MAX) -> Reader:
    """Return a reader of a whole number within bounds, both included."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        if type(value) is not int:
            hint = None
            if isinstance(value, str) and value.isdecimal():
                hint = f"write {value[:20]}, without quotes"
            elif type(value) is float and value.is_integer():
                hint = f"write {int(value)}" if abs(value) < 2**53 else None
            say(path, f"expected a whole number, found {describe(value)}", hint)
            return INVALID
        if value < minimum:
            say(path, f"{number(value)} is too small", f"write {minimum} or more")
            return INVALID
        if value > maximum:
            say(path, f"{number(value)} is too large", f"write {maximum} or less")
            return INVALID
        return value

    return made(read, "integer", minimum, maximum)


def tolerance(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a finite number of at least 0, as a float."""
    if type(value) not in (int, float):
        hint = "write it without quotes" if isinstance(value, str) else None
        say(path, f"expected a number, found {describe(value)}", hint)
        return INVALID
    if not 0 <= value <= INT_MAX:
        say(path, f"{number(value)} is not a tolerance", "write a finite number, 0 or more")
        return INVALID
    return float(value)


def one_of(names: Collection[str]) -> Reader:
    """Return a reader of one of a few strings."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        if type(value) is str and value in names:
            return value
        what = f"unknown value {quoted(value)}" if isinstance(value, str) else f"found {describe(value)}"
        near = did_you_mean(value, names) if isinstance(value, str) else None
        say(path, what, near or f"write one of {listing([quoted(name) for name in names])}")
        return INVALID

    return made(read, "one_of", names)


def list_of(item: Reader, what: str, *, may_be_empty: bool = True) -> Reader:
    """Return a reader of a list, as a tuple, with `item` for its items. `what` names the items: "strings"."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        if type(value) is not list:
            hint = f"write [{quoted(value)}]" if isinstance(value, str) else None
            say(path, f"expected a list of {what}, found {describe(value)}", hint)
            return INVALID
        if not value and not may_be_empty:
            say(path, "the list is empty", f"write at least one of the {what}")
            return INVALID
        items = [item(part, (*path, index), say) for index, part in enumerate(value)]
        return INVALID if INVALID in items else tuple(items)

    return made(read, "list_of", item, may_be_empty)


def table_of(item: Reader, what: str) -> Reader:
    """Return a reader of a table with free keys and `item` for its values. `what` names the values: "strings"."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        if not is_table(value, path, say, what):
            return INVALID
        items = {key: item(part, (*path, key), say) for key, part in value.items()}
        return INVALID if INVALID in items.values() else items

    return made(read, "table_of", item)


def is_table(value: Any, path: KeyPath, say: Report, what: str = "") -> bool:
    """Return True for a table, and report anything else."""
    if type(value) is dict:
        return True
    say(path, f"expected a table{f' of {what}' if what else ''}, found {describe(value)}")
    return False


def file_path(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a path as POSIX text without `.` and doubled slashes; `..` is kept, as a link may make it matter."""
    value = string(value, path, say)
    if value is INVALID:
        return INVALID
    if value.startswith("~"):
        say(path, f'{quoted(value)}: "~" is not expanded', "write the whole path")
        return INVALID
    if "./" in value or "//" in value or value.endswith(("/", "/.")):
        from pathlib import PurePosixPath

        return str(PurePosixPath(value))
    return value


def timeout(value: Any, path: KeyPath, say: Report) -> Any:
    """Read seconds from a number or from text with a unit; more than 0, at most a year."""
    try:
        seconds = parse_seconds(value) if isinstance(value, str) else value
        if type(seconds) not in (int, float):
            raise ValueError(value)
    except ValueError:
        say(
            path,
            f"expected a duration, found {describe(value)}",
            'write seconds, or text like "90s", "30min", "2h"',
        )
        return INVALID
    if not 0 < seconds <= 366 * 86400:
        shown = quoted(value) if isinstance(value, str) else number(value)
        say(path, f"{shown} is not a possible timeout", "write more than 0 s and at most a year")
        return INVALID
    return float(seconds)


def size(value: Any, path: KeyPath, say: Report) -> Any:
    """Read bytes from a whole number or from text with a unit; more than 0."""
    try:
        bytes_ = parse_bytes(value) if isinstance(value, str) else value
        if type(bytes_) is not int:
            raise ValueError(value)
    except ValueError:
        say(path, f"expected a size, found {describe(value)}", 'write bytes, or text like "500MB", "50GiB"')
        return INVALID
    if not 0 < bytes_ <= INT_MAX:
        shown = quoted(value) if isinstance(value, str) else number(value)
        say(path, f"{shown} is not a possible size", "write more than 0 bytes")
        return INVALID
    return bytes_


def auto_or(reader: Reader) -> Reader:
    """Return a reader that gives None for "auto", else what `reader` reads."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        return None if value == "auto" else reader(value, path, say)

    return made(read, "auto_or", reader)


def passthrough(value: Any, _path: KeyPath, _say: Report) -> Any:
    """Return the value unread, for a field that depends on others and is read later."""
    return value


def plain_data(value: Any, path: KeyPath, say: Report, depth: int = 0) -> Any:
    """Read a value that TOML and JSON share: text, booleans, finite numbers, lists and tables of them.

    TOML has no null: inside a value, the table `{ none = true }` stands for None.
    """
    kind = type(value)
    if depth and kind is dict and value.get("none") is True and len(value) == 1:
        return None
    if kind is str or kind is bool or kind is int:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        say(path, f"{number(value)} can't be passed", "write a finite number")
        return INVALID
    if kind is not list and kind is not dict:
        say(path, "a date or time can't be passed", "write it as a string")
        return INVALID
    if depth >= MAX_DEPTH:
        say(path, f"nested more than {MAX_DEPTH} deep")
        return INVALID
    if kind is list:
        items = [plain_data(part, (*path, index), say, depth + 1) for index, part in enumerate(value)]
        return INVALID if INVALID in items else items
    table = {key: plain_data(part, (*path, key), say, depth + 1) for key, part in value.items()}
    return INVALID if INVALID in table.values() else table


def read_table(
    value: Any,
    path: KeyPath,
    say: Report,
    readers: Mapping[str, Reader],
    elsewhere: Callable[[str], str | None] | None = None,
) -> dict[str, Any]:
    """Read a table with known keys; wrong fields are reported and left out.

    `elsewhere` returns for an unknown key the table in which it would be known, or None.
    """
    if not is_table(value, path, say):
        return {}
    fields: dict[str, Any] = {}
    for key, item in value.items():
        reader = readers.get(key)
        if reader is None:
            hint = (elsewhere and elsewhere(key)) or did_you_mean(key, readers) or f"known here: {listing(readers)}"
            say((*path, key), "unknown key", hint, key=True)
            continue
        field = reader(item, (*path, key), say)
        if field is not INVALID:
            fields[key] = field
    return fields


def table(readers: Mapping[str, Reader], elsewhere: Callable[[str], str | None] | None = None) -> Reader:
    """Return a reader of a table with known keys; see `read_table`."""
    return made(lambda value, path, say: read_table(value, path, say, readers, elsewhere), "table", readers)
