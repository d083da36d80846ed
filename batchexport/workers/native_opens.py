"""Load `native_opens.c` before the C library into the fork server, so that children can record what native code opens.

It is compiled once, beside Inductor's own caches, with `audit_filter.c`. Where there is no compiler, files that native
code opens and closes again are not seen, and exports take a little longer; `docs/keys.md` says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

_STEM = "native_opens"
_SOURCES = tuple(Path(__file__).with_name(f"{name}.c") for name in (_STEM, "audit_filter"))
_VARIABLE = "LD_PRELOAD"
_SECONDS = 60.0


def preloaded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a process loads the library first; the same one if it can't be compiled.

    It is compiled into the folder that TORCHINDUCTOR_CACHE_DIR names, by the compiler that Inductor uses.
    """
    library = _compiled(Path(environment["TORCHINDUCTOR_CACHE_DIR"]), environment.get("CXX", "g++"))
    if library is None:
        return dict(environment)
    return {**environment, _VARIABLE: " ".join(filter(None, [str(library), environment.get(_VARIABLE)]))}


def take_out(environment: MutableMapping[str, str]) -> str | None:
    """Remove the library from the environment of this process, which has loaded it; return the value to restore it."""
    value = environment.get(_VARIABLE)
    first, _, rest = (value or "").partition(" ")
    if not Path(first).name.startswith(_STEM):
        return None
    if rest:
        environment[_VARIABLE] = rest
    else:
        del environment[_VARIABLE]
    return value


def _compiled(folder: Path, compiler: str) -> Path | None:
    program = shutil.which(compiler)
    if sys.platform != "linux" or program is None or any(character in str(folder) for character in " :"):
        return None
    source = b"".join(path.read_bytes() for path in _SOURCES)
    library = folder / f"{_STEM}-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if library.is_file():
        return library
    part = library.with_suffix(f".{os.getpid()}.part")
    sources = [word for path in _SOURCES for word in ("-x", "c", str(path))]  # g++ forgets it after each
    command = [program, "-O1", "-shared", "-fPIC", "-o", str(part), *sources, "-x", "none", "-ldl", "-lpthread"]
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        part.replace(library)
        return library
    return None
