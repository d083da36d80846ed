"""Answer what model code asks of paths: one answer for the child that records it and for every later check.

Each function returns the present answer as short text. A dependency is unchanged while its question has the answer
that was recorded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from batchexport.core.digests import file_digest, names_digest, text_digest

# Bound before the observer wraps them.
_stat, _lstat, _readlink, _scandir, _listdir = os.stat, os.lstat, os.readlink, os.scandir, os.listdir

# What every process reads. A file there counts only if model code or one of its libraries reads it by itself.
SYSTEM = ("/dev", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64",
           "/usr/include", "/usr/share/zoneinfo", "/usr/share/locale", "/proc", "/sys")  # fmt: skip
# Users keep files of their own in these, although they lie in system folders.
USER = ("/dev/shm",)  # noqa: S108
# Terminals, shells, batch systems and batchexport set these, and no model means them. A user's LD_PRELOAD is in the
# toolchain.
SESSION = frozenset(
    ["PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLUMNS", "LINES", "LS_COLORS", "WINDOWID", "TMUX", "TMUX_PANE", "STY",
     "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "XDG_SESSION_ID", "INVOCATION_ID", "JOURNAL_STREAM",
     "TMPDIR", "TEMP", "TMP", "LD_PRELOAD"]
)  # fmt: skip
NO = "no"
LINK_ITSELF = "@"  # the prefix of a question that lstat was asked
_QUESTIONS: dict[str, str | None] = {
    "st_mode": "mode",
    "st_ino": "identity",
    "st_dev": "identity",
    "st_nlink": "links",
    "st_uid": "owner",
    "st_gid": "owner",
    "st_size": "size",
    "st_atime": None,  # reading a file changes it
    "st_mtime": "mtime",
    "st_ctime": "ctime",
}
FIELDS = tuple(_QUESTIONS)  # in the order of the tuple that `os.stat` returns


def question_of(field: str) -> str | None:
    """Return the question that a field of a stat answers; None for a field such as st_blksize."""
    return _QUESTIONS.get(field.removesuffix("_ns"))


def stat_answer(question: str, status: os.stat_result) -> str:
    """Return what a stat answers to one question."""
    asked = question.removeprefix(LINK_ITSELF)
    if asked == "exists":
        return "yes"
    if asked == "kind":
        return _kind(status.st_mode)
    if asked == "mode":
        return f"{_kind(status.st_mode)} {S_IMODE(status.st_mode):o}"
    if asked == "identity":
        return f"{status.st_dev} {status.st_ino}"
    if asked == "owner":
        return f"{status.st_uid} {status.st_gid}"
    if asked in ("size", "links"):
        return str(status.st_size if asked == "size" else status.st_nlink)
    return str(getattr(status, f"st_{asked}_ns"))


def current_stat(question: str, path: str) -> str:
    """Return what a stat of `path` answers to one question now; "no" if there is nothing to stat.

    The question "log" is about a file that a database keeps beside its own: its bytes, "no" if there are none.
    """
    try:
        if question == "log":
            return file_digest(path) if _stat(path).st_size else NO
        return stat_answer(question, _lstat(path) if question.startswith(LINK_ITSELF) else _stat(path))
    except (OSError, ValueError):
        return NO


def exists(path: str) -> bool:
    """Return True if there is something at `path`; a link counts as what it leads to."""
    try:
        _stat(path)
    except (OSError, ValueError):
        return False
    return True


def is_system(path: str) -> bool:
    """Return True if an absolute path lies in a folder of the system, where it is on every machine."""
    return path.startswith(tuple(folder + "/" for folder in SYSTEM)) and not path.startswith(USER)


def link_text(path: str) -> str:
    """Return the digest of the text of a link; "no" if there is no link."""
    try:
        return text_digest(os.fsdecode(_readlink(path)))
    except (OSError, ValueError):
        return NO


def read_error(path: str) -> str | None:
    """Return the name of the error that opening `path` for reading raises, such as EACCES; None if it can be read."""
    try:
        with open(path, "rb", buffering=0):
            return None
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "EIO")


def _kind(mode: int) -> str:
    if S_ISREG(mode):
        return "file"
    return "folder" if S_ISDIR(mode) else "link" if S_ISLNK(mode) else "other"


_RESULTS = frozenset({"job.json", "exported.pt2", "compiled.pt2", "compiled.so"})
_MARKS = frozenset({"CACHEDIR.TAG", ".gitignore"})
_STORE = _MARKS | frozenset(
    ["objects", "entries", "index", "index.damaged", "staging", "inductor", "locks", "logs", "gate", "schema"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFiles:
    """The files that batchexport writes into folders of the user: an output folder and a cache.

    Each folder is there by every absolute path, as model code may come by a link or by the real path.
    """

    outputs: frozenset[str] = frozenset()
    caches: frozenset[str] = frozenset()

    @classmethod
    def of(cls, output: str, cache: str) -> OwnFiles:
        """Return the files in an output folder and a cache; an empty path stands for none."""
        paths = [frozenset({os.path.abspath(path), os.path.realpath(path)} if path else ()) for path in (output, cache)]
        return cls(outputs=paths[0], caches=paths[1])

    def without(self, folder: str, names: Iterable[str]) -> list[str]:
        """Return the names in a folder that are not batchexport's own, nor `__pycache__`."""
        own = {"__pycache__"}
        for kept in (*self.outputs, *self.caches):
            if os.path.dirname(kept) == folder:
                own.add(os.path.basename(kept))
        if folder in self.caches:
            own |= {"v1", "toolchains", *_MARKS}
        elif os.path.basename(folder) == "v1" and os.path.dirname(folder) in self.caches:
            own |= _STORE
        left = [name for name in names if name not in own]
        if folder in self.outputs:
            return [name for name in left if not self._is_output(folder, name)]
        if os.path.dirname(folder) in self.outputs and _is_file(os.path.join(folder, "job.json")):
            return [name for name in left if name not in _RESULTS and not _is_partial(name)]
        return left

    def _is_output(self, folder: str, name: str) -> bool:
        return name == "report.json" or _is_partial(name) or _is_file(os.path.join(folder, name, "job.json"))

    def has(self, path: str) -> bool:
        """Return True if batchexport itself wrote the file or folder `path`."""
        folder, name = os.path.split(path)
        return not self.without(folder, [name])


def _is_partial(name: str) -> bool:
    """Return True if a name is one of the temporary files of `core.files`."""
    return name.startswith(".") and name.endswith(".part")


def _is_file(path: str) -> bool:
    try:
        return S_ISREG(_stat(path).st_mode)
    except OSError:
        return False


def names_answer(names: Iterable[str]) -> str:
    """Return several names, in any order, as one answer: their digest."""
    return names_digest(names)


def text_answer(text: str) -> str:
    """Return a long or private text as an answer: its digest."""
    return text_digest(text)


def variables_digest(names: Iterable[str], own: Collection[str]) -> str:
    """Return the digest of names of variables, without those of a session and those that batchexport sets."""
    return names_digest(name for name in names if name not in SESSION and name not in own)


def listing(folder: str, own: OwnFiles) -> str:
    """Return the digest of the names in a folder, without batchexport's own. Raises OSError if it can't be listed."""
    return names_digest(own.without(folder, _listdir(folder)))


def listed_kinds(folder: str, own: OwnFiles) -> str:
    """Return the digest of the names in a folder and of what each is: file, folder or other, a link to one of them.

    "no" if it can't be listed.
    """
    try:
        with _scandir(folder) as entries:
            found = {entry.name: _entry_kind(entry) for entry in entries}
    except OSError:
        return NO
    return names_digest(f"{name}\t{found[name]}" for name in own.without(folder, found))


def _entry_kind(entry: os.DirEntry[str]) -> str:
    kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    return f"link to {kind}" if entry.is_symlink() else kind
