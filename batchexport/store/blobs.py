"""Content-addressed files: a blob is named by the SHA-256 of its bytes, and checked before it is returned."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG

from batchexport.core.digests import file_digest, stat_identity, stream_digest
from batchexport.core.files import atomic_copy, clone
from batchexport.store.errors import BlobDamaged, BlobMissing, StoreError, translate_os_errors
from batchexport.store.layout import Layout, ensure_real_dir, is_digest
from batchexport.store.staging import Staging
from batchexport.store.statcache import StatCache

# Timestamps advance with the kernel's tick, which is 10 ms at its longest.
_TICK_SECONDS = 0.02
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """The digest and the size of a blob, in bytes."""

    digest: str
    size: int


class Blobs:
    """Content-addressed, read-only files under `objects/`."""

    def __init__(self, layout: Layout, staging: Staging, checked: StatCache) -> None:
        self._layout = layout
        self._staging = staging
        self._checked = checked
        # What this process hashed itself: large blobs are requested again within seconds, too young for the stat cache.
        self._hashed: dict[str, list[int]] = {}

    def put(self, path: Path) -> Blob:
        """Move the file at `path` into the store.

        A file that has further links, or lies on another file system, is copied first, so that nothing
        outside can change the blob.

        Raises:
            DiskFull: nothing is left in the store, and the file is still at `path`.
            StoreError: if `path` is not a regular file, or the store can't be written.
        """
        with translate_os_errors(self._layout.root):
            stat = path.lstat()
            if not S_ISREG(stat.st_mode):
                raise StoreError(f"can't store {path}: it is not a regular file")
            if stat.st_nlink == 1:
                try:
                    return self._adopt(path)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
            scratch = self._staging.scratch("blob")
            try:
                clone(path, scratch)
                blob = self._adopt(scratch)
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
            path.unlink()
            return blob

    def checked(self, digest: str) -> Path:
        """Return the path of a blob whose bytes match `digest`; callers must not write to it, move or link it.

        Raises:
            ValueError: if `digest` is not one.
            BlobMissing: if there is no such blob.
            BlobDamaged: if its bytes differ; the blob is then removed, so that it can be built again.
            StoreError: if it can't be read.
        """
        path = self._layout.blob_path(digest)
        with translate_os_errors(self._layout.root):
            try:
                if path.parent.is_symlink():
                    ensure_real_dir(path.parent)
                stat = path.lstat()
                if S_ISREG(stat.st_mode) and self._is_known(path, stat, digest):
                    return path
                began = time.time()
                damaged = not S_ISREG(stat.st_mode) or _hash(path) != digest
            except FileNotFoundError:
                raise BlobMissing(digest) from None
            if damaged:
                self.remove(digest)
                raise BlobDamaged(digest)
            self._checked.put(path, stat, digest)
            self._remember(stat, stat, began, digest)
            return path

    def holds(self, blob: Blob) -> bool:
        """Return True if a file of this name and size exists; its bytes are not read."""
        try:
            stat = os.lstat(self._layout.blob_name(blob.digest))
        except OSError:
            return False
        return S_ISREG(stat.st_mode) and stat.st_size == blob.size

    def copy_out(self, digest: str, destination: Path) -> None:
        """Copy a blob to `destination` after checking it, atomically, with mode 0644.

        Raises:
            BlobMissing, BlobDamaged: as from `checked`.
            DiskFull, StoreError: if `destination` can't be written; no temporary file is left.
        """
        source = self.checked(digest)
        with translate_os_errors(destination, remedy="choose another output folder", needed=source.stat().st_size):
            atomic_copy(source, destination)

    def remove(self, digest: str) -> None:
        """Remove a blob if it is there.

        Raises:
            StoreError: if it can't be removed.
        """
        path = self._layout.blob_path(digest)
        with translate_os_errors(self._layout.root):
            if path.parent.is_symlink():
                return
            if path.is_dir() and not path.is_symlink():
                import shutil

                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Blob]:
        """Yield all blobs, unordered and unchecked."""
        for folder in self._layout.objects.iterdir():
            if len(folder.name) == 2 and folder.is_dir() and not folder.is_symlink():
                for path in folder.iterdir():
                    digest = folder.name + path.name
                    if is_digest(digest):
                        try:
                            yield Blob(digest=digest, size=path.lstat().st_size)
                        except FileNotFoundError:  # removed by another process meanwhile
                            continue

    def _adopt(self, path: Path) -> Blob:
        """Hash, flush and rename `path` into place. The folder is not flushed: a lost name only costs a rebuild."""
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o444)  # before hashing, so that it can't be opened for writing any more
            stat, began = os.fstat(file.fileno()), time.time()
            digest = _hash_and_flush(file, stat.st_size)
            size = os.fstat(file.fileno()).st_size
        target = self._layout.blob_path(digest)
        if self._is_known_good(target, digest):
            path.unlink()
        else:  # replacing an existing blob is cheaper than checking it for damage
            ensure_real_dir(target.parent)
            path.replace(target)
            self._remember(stat, target.lstat(), began, digest)
        return Blob(digest=digest, size=size)

    def _is_known_good(self, target: Path, digest: str) -> bool:
        if target.parent.is_symlink():
            return False
        try:
            stat = target.lstat()
        except FileNotFoundError:
            return False
        if not S_ISREG(stat.st_mode):
            self.remove(digest)
            return False
        return self._is_known(target, stat, digest)

    def _is_known(self, path: Path, stat: os.stat_result, digest: str) -> bool:
        return self._hashed.get(digest) == stat_identity(stat) or self._checked.get(path, stat) == digest

    def _remember(self, before: os.stat_result, now: os.stat_result, began: float, digest: str) -> None:
        """Trust a blob that was hashed from `began` on as long as its stat is `now`.

        Only if it was last written long enough before `began` that a later write would change its mtime. Times in
        whole seconds come from file systems with coarse clocks and are not trusted.
        """
        same = (before.st_ino, before.st_size, before.st_mtime_ns) == (now.st_ino, now.st_size, now.st_mtime_ns)
        if same and now.st_mtime_ns % 1_000_000_000 and now.st_mtime + _TICK_SECONDS < began:
            self._hashed[digest] = stat_identity(now)


def _hash_and_flush(file: BufferedReader, size: int) -> str:
    """Flush a file to the disk and return its SHA-256; both happen at the same time."""
    if size < _LARGE_BYTES:
        digest = stream_digest(file)
        os.fsync(file.fileno())
        return digest
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as threads:
        flushed = threads.submit(os.fsync, file.fileno())
        digest = stream_digest(file)
        flushed.result()
    return digest


def _hash(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None if the disk can't read it any more."""
    try:
        return file_digest(path)
    except OSError as error:
        if error.errno == errno.EIO:
            return None
        raise
