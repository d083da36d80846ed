"""Digests of what lies on disk: the same content gives the same digest in every process and on every machine."""

from __future__ import annotations

import ast
import hashlib
import os
import warnings
from collections.abc import Iterable

CHUNK_BYTES = 1 << 20


def bytes_digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of `text` in UTF-8; lone surrogates (undecodable file names, environment) pass through."""
    return bytes_digest(text.encode("utf-8", "surrogateescape"))


def file_digest(path: str) -> str:
    """SHA-256 of a file's bytes. Raises OSError where the file can't be read."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(source: bytes) -> str:
    """Digest of a Python file's syntax tree: blind to comments, blank lines, formatting and positions.

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
    """Digest of a folder's listing: its names, in any order; Python's own leavings do not count."""
    return text_digest("\0".join(sorted(name for name in names if name != "__pycache__")))


def listing_digest(path: str) -> str:
    """Digest of the names in the folder `path`. Raises OSError where it can't be listed."""
    return names_digest(os.listdir(path))
