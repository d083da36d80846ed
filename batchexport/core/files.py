"""Write, copy and remove files so that readers, and a crash, never see one that is half written."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from stat import S_IMODE, S_ISDIR

_FICLONE = 0x40049409  # linux/fs.h; shares the blocks where the file system can (btrfs, xfs, bcachefs)
_ABANDONED_AFTER = 3600.0  # seconds
_counter = count()


def atomic_write(path: Path, data: bytes, *, scratch: Path) -> None:
    """Write `data` to `scratch`, which must not exist, flush it to the disk and rename it to `path`.

    Raises:
        OSError: if it can't be written; `scratch` is removed.
    """
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            scratch.replace(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def atomic_copy(source: Path, destination: Path, *, mode: int = 0o644) -> None:
    """Copy `source` to a name beside `destination`, flush it to the disk and rename it into place.

    A link at `destination` is replaced, never followed. The copy shares blocks with `source` where the
    file system supports it; a later write to either does not change the other.

    Raises:
        OSError: if it can't be written; no temporary file is left.
    """
    with _part_of(destination) as part:
        clone(source, part)
        with part.open("rb+") as file:
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())


def atomic_write_sibling(destination: Path, data: bytes) -> None:
    """Write `data` to a name beside `destination` and rename it into place; create the folder if it is missing.

    Raises:
        OSError: if it can't be written; no temporary file is left.
    """
    with _part_of(destination) as part:
        part.write_bytes(data)


def replace_contents(path: Path, data: bytes) -> None:
    """Replace the contents of a file that the user owns, at once; its permissions stay, and a link stays a link.

    Raises:
        OSError: if the file is read-only, or can't be written; it is then as it was.
    """
    target = path.resolve(strict=True)
    mode = target.stat().st_mode
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only", str(path))
    with _part_of(target) as part:
        part.write_bytes(data)
        part.chmod(S_IMODE(mode))


@contextmanager
def _part_of(destination: Path) -> Iterator[Path]:
    """Create a temporary file beside `destination`, locked while it is filled, and rename it into place at the end.

    Temporary files that a killed process left there, which no process locks, are removed.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    _drop_abandoned(destination)
    part = destination.with_name(f".{destination.name}.{os.getpid()}-{next(_counter)}.part")
    with part.open("xb") as file:
        with suppress(OSError):  # where locks do not work, `_is_abandoned` goes by age
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink == 0:  # another process locked it first and removed it as abandoned
            part.touch()
        try:
            yield part
            part.replace(destination)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def clone(source: Path, target: Path) -> None:
    """Copy `source` to a new file `target`, sharing blocks if the file system supports it.

    Raises:
        OSError: if it can't be copied; `target` may then exist in part.
    """
    if not _reflink(source, target):
        import shutil

        shutil.copyfile(source, target, follow_symlinks=False)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, and ignore what can't be removed."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def disk_usage(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are counted, not followed."""
    total = 0
    with suppress(OSError):
        stat = path.lstat()
        total = stat.st_size if not S_ISDIR(stat.st_mode) else sum(disk_usage(inner) for inner in path.iterdir())
    return total


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    with source.open("rb") as have, target.open("wb") as want:
        try:
            fcntl.ioctl(want.fileno(), _FICLONE, have.fileno())
        except OSError:  # not supported here, or between these two; a plain copy reports any other error
            return False
    return True


def _drop_abandoned(destination: Path) -> None:
    """Remove the temporary files that killed processes left beside `destination`."""
    prefix = f".{destination.name}."
    for path in destination.parent.iterdir():
        if path.name.startswith(prefix) and path.name.endswith(".part"):
            with suppress(OSError):
                if path.is_symlink() or _is_abandoned(path):
                    path.unlink()


def _is_abandoned(part: Path) -> bool:
    """Return True if no process locks the partial file or, where locks do not work, if it is over an hour old."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return os.fstat(file.fileno()).st_mtime < time.time() - _ABANDONED_AFTER
        return True
