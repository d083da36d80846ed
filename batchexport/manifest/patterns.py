"""The data patterns of an entry name files; which ones they name is part of what is asked."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path


def matches(root: Path, patterns: Iterable[str]) -> list[str]:
    """The files that the patterns name, below `root` where they are relative; a plain name stands for itself."""
    found: set[str] = set()
    for pattern in patterns:
        if glob.has_magic(pattern):
            names = glob.glob(pattern, root_dir=root, recursive=True)
            found.update(name for name in names if os.path.isfile(os.path.join(root, name)))
        else:
            found.add(pattern)
    return sorted(found)
