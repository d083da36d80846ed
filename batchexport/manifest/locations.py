"""Find the lines of keys in a valid TOML text, for messages.

tomllib keeps no line numbers, so the text is scanned a second time, only when there is a mistake to report. The
scanner knows where keys and values begin and end, and nothing about their meaning.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress

from batchexport.core.text import quoted

KeyPath = tuple[str | int, ...]  # keys of tables and, counted from 0, items of arrays

_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_STRING = re.compile(
    r'"""(?:\\.|"{0,2}[^"\\])*+"{3,5}'
    r"|'''(?:'{0,2}[^'])*+'{3,5}"
    r'|"(?:\\.|[^"\\])*+"'
    r"|'[^']*+'",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def source_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line (from 1) of the first occurrence of every key and array item in a valid TOML text.

    If the scanner can't follow the text, the lines found so far are returned.
    """
    walk = _TomlScanner(text)
    # `line_of` falls back to an outer key, whose line is coarser but right.
    with suppress(LookupError, RecursionError):
        walk.document()
    return walk.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, else of the innermost key around it, else 1."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def shown(path: KeyPath) -> str:
    """Return a path as text, such as `inputs.x.shape[1]`, quoted where TOML needs it."""
    parts: list[str] = []
    if len(path) > 16:  # only in absurdly nested manifests
        return shown(path[:8]) + "…"
    for key in path:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            plain = key if _BARE.fullmatch(key) else quoted(key)
            parts.append(f".{plain}" if parts else plain)
    return "".join(parts)


class _TomlScanner:
    """One pass over the text; raises LookupError where the text is not what it expects."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}  # arrays of tables and how many tables each has so far
        self._line = 1
        self._counted = 0

    def document(self) -> None:
        table: KeyPath = ()
        while self._peek():
            if self.text.startswith("[[", self.at):
                self.at += 2
                table = self._header(array=True)
                self.at += 2
            elif self.text[self.at] == "[":
                self.at += 1
                table = self._header(array=False)
                self.at += 1
            else:
                self._pair(table)

    def _header(self, *, array: bool) -> KeyPath:
        keys = self._keys()
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            self._mark(path)
            last = position == len(keys) - 1
            if array and last:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
                self._mark(path)
        self._peek()
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for key in self._keys():
            path = (*path, key)
            self._mark(path)
        self._peek()
        self._expect("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        char = self._peek()
        if char == "[":
            self.at += 1
            index = 0
            while self._peek() != "]":
                self._mark((*path, index))
                self._value((*path, index))
                index += 1
                if self._peek() == ",":
                    self.at += 1
            self.at += 1
        elif char == "{":
            self.at += 1
            while self._peek() != "}":
                self._pair(path)
                if self._peek() == ",":
                    self.at += 1
            self.at += 1
        else:
            self._take(_STRING if char in ("'", '"') else _SCALAR)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            if self._peek() in ("'", '"'):
                token = self._take(_STRING)
                keys.append(str(tomllib.loads(f"k={token}")["k"]) if "\\" in token else token[1:-1])
            else:
                keys.append(self._take(_BARE))
            if self._peek() != ".":
                return keys
            self.at += 1

    def _mark(self, path: KeyPath) -> None:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        self.lines.setdefault(path, self._line)

    def _peek(self) -> str:
        """Return the next significant character, "" at the end."""
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.text[self.at : self.at + 1]

    def _expect(self, char: str) -> None:
        if self.text[self.at : self.at + 1] != char:
            raise LookupError(char)
        self.at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise LookupError(self.at)
        self.at = match.end()
        return match[0]
