"""Tell from what a C++ compiler prints which files it read, and where a new file would be read in place of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

_SEARCHED = re.compile(r"#include <\.\.\.> search starts here:\n(.*?)End of search list", re.DOTALL)


def search_path(listing: str) -> list[str]:
    """Return the folders in which `#include <…>` looks, in their order, from what `-E -v` prints."""
    found = _SEARCHED.search(listing)
    return [os.path.abspath(line.split(" (framework")[0].strip()) for line in found[1].splitlines()] if found else []


def read_files(rule: str) -> list[str]:
    """Return the files that a rule for make, as `-MD` writes it, names as those that were read."""
    _, _, names = rule.replace("\\\n", " ").partition(": ")
    words = names.replace("\\ ", "\0").split()  # a space in a name is escaped
    return sorted({os.path.abspath(word.replace("\0", " ")) for word in words})


def watched_folders(files: Iterable[str], search: Sequence[str]) -> list[str]:
    """Return the folders in which a new file could be read in place of one of `files`.

    They are those of the files themselves, for `#include "…"`, and those that were searched before a file was found.
    Of a folder that does not exist it is the nearest one above it.
    """
    return sorted({_existing(folder) for file in files for folder in _candidates(os.path.dirname(file), search)})


def _candidates(folder: str, search: Sequence[str]) -> Iterator[str]:
    yield folder
    holding = [root for root in search if folder == root or folder.startswith(f"{root}/")]
    for root in holding:
        for earlier in search[: search.index(root)]:
            yield os.path.normpath(os.path.join(earlier, os.path.relpath(folder, root)))


def _existing(folder: str) -> str:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder
