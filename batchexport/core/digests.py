"""Digests of files, folders and text: equal content has an equal digest in every process and on every machine."""

from __future__ import annotations

import ast
import hashlib
import os
import warnings
from collections.abc import Iterable
from io import BufferedReader, FileIO


def bytes_digest(data: bytes) -> str:
    """Return the SHA-256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of `text` in UTF-8; lone surrogates (undecodable file names, environment) pass through."""
    return bytes_digest(text.encode("utf-8", "surrogateescape"))


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes. Raises OSError where the file can't be read."""
    with open(path, "rb", buffering=0) as file:
        return stream_digest(file)


def stream_digest(file: FileIO | BufferedReader) -> str:
    """Return the SHA-256 of what is left to read of an open file. Raises OSError where it can't be read."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def stat_identity(stat: os.stat_result) -> list[int]:
    """Return the parts of a stat that tell whether a file may have changed: device, inode, size, mtime, ctime (ns)."""
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def tree_digest(source: bytes) -> str:
    """Return the digest of a Python file's syntax tree, without comments, blank lines, formatting and positions.

    Docstrings, names and literals count, and so do the type comments that TorchScript reads. A file that
    does not parse is digested by its bytes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, type_comments=True)
        tree.type_ignores = []  # they hold line numbers
        return text_digest(ast.dump(tree, annotate_fields=False, include_attributes=False))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return bytes_digest(source)


def names_digest(names: Iterable[str]) -> str:
    """Return the digest of the names in a folder, in any order and without `__pycache__`."""
    return text_digest("\0".join(sorted(name for name in names if name != "__pycache__")))


def listing_digest(path: str) -> str:
    """Return the digest of the names in the folder `path`. Raises OSError where it can't be listed."""
    return names_digest(os.listdir(path))
