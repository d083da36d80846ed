"""Keep what compilers make once per toolchain, whatever the project: precompiled headers, probes, shared objects.

It lies in the user's own cache folder, so that a second project does not pay for it again. Where BATCHEXPORT_CACHE_DIR
is set, in a container say, it lies beside the results in that folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from batchexport.core.files import disk_usage
from batchexport.store.compiler_cache import CompilerCache

_DAY = 86400.0
_UNUSED_SECONDS = 30 * _DAY
_BYTES = 4 << 30  # about ten toolchains


def toolchains_root() -> Path:
    """Return the folder that holds a folder for each toolchain."""
    if named := os.environ.get("BATCHEXPORT_CACHE_DIR"):
        return Path(named).absolute() / "toolchains"
    from platformdirs import user_cache_path  # a no-op run needs no compiler

    return user_cache_path("batchexport").absolute() / "toolchains"


def toolchain_folder(key: str, fallback: Path) -> Path:
    """Return the folder of the toolchain of this key, made if missing; `fallback` where the user can have none.

    What lies there is loaded into children, so a folder that another user owns, or may write, is not taken.
    """
    folder = toolchains_root() / key
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022 and folder.is_dir() and not folder.is_symlink():
            os.utime(folder)  # gc goes by the time of the last use
            return folder
    return fallback


def spent_toolchains(now: float) -> list[tuple[Path, int]]:
    """Return the folders, and their bytes, of toolchains unused for 30 days, or too large together; none in use."""
    with contextlib.suppress(OSError):
        return list(_spent(toolchains_root(), now))
    return []


def _spent(root: Path, now: float) -> Iterator[tuple[Path, int]]:
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()] if root.is_dir() else []
    sizes = {path: disk_usage(path) for path in folders}
    total = sum(sizes.values())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        unused = now - path.stat().st_mtime
        if (unused > _UNUSED_SECONDS or (total > _BYTES and unused > _DAY)) and not CompilerCache(path).in_use():
            total -= sizes[path]
            yield path, sizes[path]
