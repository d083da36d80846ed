"""Watch folders for changes of the files that matter in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batchexport.core.errors import EnvironmentProblem

if TYPE_CHECKING:
    from batchexport.planning.watched import Watched

_DEBOUNCE_MS = 200  # editors and `git checkout` write several files, and some write each twice
_POLL_MS = 50


class Changes:
    """The changes of watched files from now on."""

    def __init__(self, watched: Watched) -> None:
        """Begin to watch. Raises EnvironmentProblem where the kernel watches no more folders."""
        import watchfiles

        def counts(change: watchfiles.Change, path: str) -> bool:
            return watched.concerns(path)

        self._changes = watchfiles.watch(
            *sorted(watched.folders),
            watch_filter=counts,
            recursive=False,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        try:
            self._found = {path for _, path in next(self._changes)}
        except OSError as error:
            raise EnvironmentProblem(
                f"can't watch {len(watched.folders)} folders: {error}; "
                "raise fs.inotify.max_user_watches, or set WATCHFILES_FORCE_POLLING=1"
            ) from None

    def wait(self) -> list[str]:
        """Wait for changes and return the changed files, sorted. Raises KeyboardInterrupt at Ctrl-C."""
        while not self._found:
            self._found = {path for _, path in next(self._changes)}
        found, self._found = self._found, set()
        return sorted(found)


def changed_line(paths: list[str], shown: int = 3) -> str:
    """Return the line that tells which files have changed."""
    names = [os.path.relpath(path) for path in paths[:shown]]
    more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return f"{'changed':<9} {', '.join(names)}{more}"
