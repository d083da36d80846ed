"""Read a manifest into tables, and find the line of any key for messages.

This module knows nothing about the meaning of the tables, except that their format is `schema = 1`.
"""

from __future__ import annotations

import gc
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from batchexport.core.errors import ManifestError, Problem
from batchexport.core.text import did_you_mean, quoted
from batchexport.manifest import locations

SCHEMA = 1
MAX_BYTES = 16 * 2**20  # 50,000 entries fit, and reading it takes seconds at worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text and the tables of a manifest. `name` is its path as the user gave it."""

    name: str
    text: str
    tables: Mapping[str, Any]


class Diagnostics:
    """Collects the mistakes of one document, each once, in the order of their lines."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._said: dict[tuple[locations.KeyPath, str], str | None] = {}

    def __bool__(self) -> bool:
        return bool(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def error_at(
        self,
        path: locations.KeyPath,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        """Add a mistake at `path`, which starts at the top level of the document."""
        self._said.setdefault((path, message), hint)

    @cached_property
    def _lines(self) -> Mapping[locations.KeyPath, int]:
        return locations.source_lines(self._document.text)

    def line(self, path: locations.KeyPath) -> int:
        """Return the line of `path`; the first call scans the whole text."""
        return locations.line_of(self._lines, path)

    def error(self) -> ManifestError:
        """Return all mistakes as one error."""
        lines = self._lines
        said = [(locations.line_of(lines, path), path, message, hint) for (path, message), hint in self._said.items()]
        said.sort(key=lambda one: one[0])
        return ManifestError(
            tuple(
                Problem(place=f"{self._document.name}:{line}{self._where(path)}", message=message, hint=hint)
                for line, path, message, hint in said
            )
        )

    def _where(self, path: locations.KeyPath) -> str:
        """Return the place after file and line: `: entry "bert-base", inputs.x`."""
        if not path:
            return ""
        if path[0] != "entry" or len(path) < 2 or not isinstance(path[1], int):
            return f": {locations.shown(path)}"
        entry = self._document.tables["entry"][path[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        title = quoted(name) if isinstance(name, str) and name else str(path[1] + 1)
        inner = locations.shown(path[2:])
        return f": entry {title}, {inner}" if inner else f": entry {title}"


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector: nothing read here becomes garbage, and its passes double the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load(path: Path | str) -> Document:
    """Read a manifest.

    Raises:
        ManifestError: when there is no such file, it can't be read, is not UTF-8, too large or not TOML.
    """
    name, problem = str(path), partial(_refusal, str(path))
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise problem("there is no such file", _neighbour(Path(path))) from None
    except IsADirectoryError:
        raise problem("this is a folder", _neighbour(Path(path) / "manifest.toml") or "name a manifest in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise problem(f"can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise problem(f"larger than {MAX_BYTES // 2**20} MiB, so it can't be a manifest")
    try:
        text = data.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(f"{name}:{line}", "not UTF-8 text", "save the file as UTF-8") from None
    return parse(text, name)


def parse(text: str, path: Path | str) -> Document:
    """Parse a TOML text; messages name `path` as its file.

    Raises:
        ManifestError: when the text is not TOML, or is nested too deeply, or has another schema than 1.
    """
    if line := deep_line(text):
        raise _refusal(f"{path}:{line}", "tables are nested too deeply: a key has more than 64 parts")
    try:
        with paused_collector():
            tables = tomllib.loads(text)
    except RecursionError:
        raise _refusal(str(path), "tables or lists are nested too deeply") from None
    except ValueError as error:  # also a number of more digits than Python converts
        raise _syntax_error(text, str(path), str(error)) from None
    document = Document(name=str(path), text=text, tables=tables)
    schema = tables.get("schema")
    if type(schema) is int and schema != SCHEMA:
        # In a newer format anything may have another meaning, so nothing else is checked.
        mistakes = Diagnostics(document)
        mistakes.error_at(
            ("schema",), f"this batchexport reads schema {SCHEMA}, not {schema}", "use a newer batchexport"
        )
        raise mistakes.error()
    return document


def _refusal(where: str, message: str, hint: str | None = None) -> ManifestError:
    return ManifestError((Problem(place=where, message=message, hint=hint),))


def _neighbour(path: Path) -> str | None:
    """Return a did-you-mean for the manifest beside `path` with the most similar name."""
    try:
        names = sorted(file.name for file in path.parent.iterdir() if file.suffix == ".toml")
    except OSError:
        return f"there is no folder {quoted(str(path.parent))} either"
    return did_you_mean(path.name, names)


_AT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")
_TWICE = re.compile(r"Cannot declare \((.*?),?\) twice")

# tomllib's message, a pattern that its line must match, and the hint that helps most often.
_HELP: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("Invalid value", re.compile(r"=\s*(True|False)\b").search, "write true or false in lower case"),
    (
        "Invalid value",
        re.compile(r"=\s*(None|null|nil)\b").search,
        'TOML has no null: leave the key out, or write "none"',
    ),
    ("Invalid value", re.compile(r"=\s*(#|$)").search, "a value is missing"),
    ("Invalid value", re.compile(r"[=\[,]\s*[A-Za-z./~]").search, "put text in quotes"),
    ("Unescaped '\\'", bool, "write / in paths, or put the text in single quotes"),
    ("Unclosed inline table", bool, "a table in { } stands on one line, its keys separated by commas"),
    (
        "Invalid initial character for a key",
        bool,
        "a table in { } stands on one line, without a comma at its end",
    ),
    ("Cannot overwrite", bool, "something is given twice: keep one"),
    ("Duplicate inline table key", bool, "keep one of them"),
    ("Expected '='", bool, "a line is key = value, [table] or # comment"),
    ("Expected newline", bool, "put one key on each line"),
)


def _syntax_error(text: str, name: str, said: str) -> ManifestError:
    match = _AT.fullmatch(said)
    if match is None:
        message = "a number has too many digits" if "integer string conversion" in said else said
        return _refusal(name, f"not valid TOML: {message}")
    lines = text.split("\n")
    number = int(match[2]) if match[2] else len(lines)
    line = lines[min(number, len(lines)) - 1]
    hint = next((hint for start, test, hint in _HELP if match[1].startswith(start) and test(line)), None)
    if twice := _TWICE.fullmatch(match[1]):
        table = ".".join(part.strip().strip("'\"") for part in twice[1].split(","))
        return _refusal(f"{name}:{number}", f"[{table}] is declared twice", "put all its keys under one header")
    if match[1] == "Cannot overwrite a value" and (key := _KEY.match(line)):
        return _refusal(f"{name}:{number}", f"{key[1]} is given twice", "keep one of them")
    column = f"at column {match[3]}" if match[3] else "at the end"
    return _refusal(f"{name}:{number}", f"not valid TOML: {match[1][:1].lower()}{match[1][1:]} {column}", hint)


_PARTS = 64
_DEEP = re.compile(r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def deep_line(text: str) -> int | None:
    """Return the line (from 1) with a dotted key of more than 64 parts, or None: tomllib is quadratic in the parts."""
    if text.count(".") <= _PARTS:
        return None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _PARTS and _DEEP.search(line):
            return number
    return None
