"""The paths below a cache folder. No key or digest, whatever its source, can point outside it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchexport.store.errors import ELSEWHERE, StoreError, translate_os_errors

SCHEMA = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_RECORD_NAME = re.compile(r"([a-z][a-z0-9-]{0,31})-([0-9a-f]{64})\.json")

_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of batchexport and may be deleted at any time.
# For information about cache directory tags see https://bford.info/cachedir/
"""
_OURS = {"README.md", ".gitignore", "CACHEDIR.TAG", "toolchains"}
_IGNORE = "*\n!README.md\n!.gitignore\n!CACHEDIR.TAG\n"


def is_digest(text: object) -> bool:
    """Return True if `text` is a lower-case hexadecimal SHA-256, the form of every key and digest."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def valid_digest(text: str) -> str:
    """`text` itself.

    Raises:
        ValueError: if it is not a lower-case hexadecimal SHA-256.
    """
    if not is_digest(text):
        raise ValueError(f"not a SHA-256 in lower-case hex: {text!r}")
    return text


def valid_kind(text: str) -> str:
    """`text` itself.

    Raises:
        ValueError: if it is not 1 to 32 of a-z, 0-9 and "-", starting with a letter.
    """
    if _KIND.fullmatch(text) is None:
        raise ValueError(f"not a kind of record: {text!r}")
    return text


@dataclass(frozen=True)
class Layout:
    """The folders of one cache. `root` is absolute.

    `private` is a folder that takes the place of `home` for all but objects and entries, where `home` is read-only.
    """

    root: Path
    private: Path | None = None

    @cached_property
    def home(self) -> Path:
        """All data of this format version; other versions beside it are left alone."""
        return self.root / "v1"

    @cached_property
    def _working(self) -> Path:
        return self.private or self.home

    @cached_property
    def objects(self) -> Path:
        """Blobs, named by the SHA-256 of their bytes."""
        return self.home / "objects"

    @cached_property
    def entries(self) -> Path:
        """Records, named by kind and key."""
        return self.home / "entries"

    @cached_property
    def index(self) -> Path:
        """The disposable index."""
        return self._working / "index"

    @cached_property
    def staging(self) -> Path:
        """Work in progress, on the same file system as `objects` unless private, so that it can be renamed into it."""
        return self._working / "staging"

    @cached_property
    def inductor(self) -> Path:
        """What compilers make once per toolchain, where the user has no folder of their own for it."""
        return self._working / "inductor"

    @cached_property
    def locks(self) -> Path:
        """Lock files, each there only while it is held."""
        return self._working / "locks"

    @cached_property
    def logs(self) -> Path:
        """Logs of children."""
        return self._working / "logs"

    @cached_property
    def histories(self) -> Path:
        """What the last runs of each manifest gave, a file each."""
        return self.home / "histories"

    @cached_property
    def gate(self) -> Path:
        """The file that publishers lock shared and gc locks exclusively."""
        return self.home / "gate"

    @cached_property
    def schema(self) -> Path:
        """The file with the number of the format of `home`."""
        return self.home / "schema"

    def blob_path(self, digest: str) -> Path:
        """`objects/ab/cdef…`. Raises ValueError if `digest` is not one."""
        return Path(self.blob_name(digest))

    def record_path(self, kind: str, key: str) -> Path:
        """`entries/ab/<kind>-<key>.json`. Raises ValueError if either is malformed."""
        return Path(self.record_name(kind, key))

    def blob_name(self, digest: str) -> str:
        """Return `blob_path` as a string: making a Path costs more than a stat, which matters to no-op runs."""
        valid_digest(digest)
        return f"{self._objects}/{digest[:2]}/{digest[2:]}"

    def record_name(self, kind: str, key: str) -> str:
        """Return `record_path` as a string."""
        valid_kind(kind)
        valid_digest(key)
        return f"{self._entries}/{key[:2]}/{kind}-{key}.json"

    @cached_property
    def _objects(self) -> str:
        return str(self.objects)

    @cached_property
    def _entries(self) -> str:
        return str(self.entries)

    @property
    def is_read_only(self) -> bool:
        """Return True if this is a cache already, and this user may not write it. Raises StoreError if it is newer."""
        if not self.schema.is_file() or os.access(self.home, os.W_OK | os.X_OK):
            return False
        self._refuse_newer()
        return True

    def create_private(self) -> None:
        """Create the private folders. Raises OSError."""
        for folder in (self.index, self.staging, self.inductor, self.locks, self.logs):
            folder.mkdir()

    def create(self) -> None:
        """Create missing folders, and mark a new folder as a cache.

        A root that already holds other things is not marked: an ignore file or a cache tag in it would hide
        them from git and from backups. Its `v1` is marked instead.

        Raises:
            DiskFull, StoreError: if the folder can't be made or written, is of a newer format, or leads elsewhere.
        """
        with translate_os_errors(self.root):
            if not self.home.is_dir():
                self.root.mkdir(parents=True, exist_ok=True)
                ours = {path.name for path in self.root.iterdir()} <= _OURS
                self.home.mkdir(exist_ok=True)
                _mark(self.root if ours else self.home)
            self._refuse_newer()
            for folder in (self.objects, self.entries, self.staging, self.inductor, self.locks, self.logs):
                folder.mkdir(exist_ok=True)
                if folder.is_symlink():
                    raise self._leads_elsewhere(folder)
            if self.home.is_symlink():
                raise self._leads_elsewhere(self.home)

    def _refuse_newer(self) -> None:
        try:
            found = self.schema.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            _write_new(self.schema, f"{SCHEMA}\n")
            return
        with suppress(ValueError):  # a damaged number; damage elsewhere is found by checksums
            if int(found[:8]) > SCHEMA:
                message = f"it is of a newer batchexport (schema {int(found[:8])}) and was left alone"
                raise StoreError(f"can't use {self.root}: {message}; use that version or {ELSEWHERE}")

    @staticmethod
    def _leads_elsewhere(folder: Path) -> StoreError:
        message = "is a link, and what is written there would land outside"
        return StoreError(f"can't use {folder}: it {message}; remove the link or {ELSEWHERE}")


def ensure_real_dir(path: Path) -> Path:
    """Create `path` as a folder, replacing a link or a file in its place.

    Writing or deleting through a link in the cache would reach files outside it.
    """
    for _ in range(2):
        try:
            path.mkdir()
        except FileExistsError:
            if path.is_dir() and not path.is_symlink():
                return path
            path.unlink(missing_ok=True)
        else:
            return path
    path.mkdir(exist_ok=True)
    return path


def parse_record_name(name: str) -> tuple[str, str] | None:
    """Return (kind, key) of a record's file name, or None for a name of another form."""
    match = _RECORD_NAME.fullmatch(name)
    return (match[1], match[2]) if match else None


def _mark(folder: Path) -> None:
    for name, text in (("CACHEDIR.TAG", _TAG), (".gitignore", _IGNORE)):
        _write_new(folder / name, text)


def _write_new(path: Path, text: str) -> None:
    """Write a file if there is none, neither through a link nor over what another process just wrote."""
    with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
        file.write(text)
