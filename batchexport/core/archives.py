"""Refuse archives that would be unpacked outside their folder.

torch's native code unpacks an archive and follows the names of its members without a check of its own.
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path


class UnsafeArchive(OSError):
    """An archive with a member that would be unpacked somewhere else. `str()` is one clear message."""


def vet(path: Path) -> None:
    """Check that every member of an archive stays below the folder it is unpacked in.

    A file that is no archive passes: loading it gives a better message.

    Raises:
        UnsafeArchive: if a member leads out of the folder, or is a link.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return
    for member in members:
        if leads_out(member.orig_filename):
            raise UnsafeArchive(f"{path.name} is not safe to load: its member {member.orig_filename!r} leads out of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnsafeArchive(f"{path.name} is not safe to load: its member {member.orig_filename!r} is a link")


def leads_out(name: str) -> bool:
    """Return True if a member's name points out of the folder it is unpacked in, on any operating system."""
    parts = name.replace("\\", "/").split("/")
    return not name or ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in name
