"""Install the launcher (`launcher.py`) as the program that Inductor starts in the compiler's place."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from contextlib import suppress

# The variable that names the file which gets a line of JSON for each command: what became of it.
LOG = "BATCHEXPORT_COMPILER_LOG"
_NAME = "compiler.jsonl"
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")


def installed_launcher(folder: str, compiler: str | None) -> str | None:
    """Return the path of a program below `folder` that runs the launcher with `compiler`; None where there can be none.

    It is named like the compiler, as Inductor goes by that name.
    """
    if compiler is None:
        return None
    words = [sys.executable, "-I", "-S", _SCRIPT, os.path.abspath(compiler), folder]
    text = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = os.path.join(folder, "launchers", own, os.path.basename(compiler))
    if any(character.isspace() for character in path):  # Inductor splits its command line at them
        return None
    with suppress(OSError):
        if not os.access(path, os.X_OK):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            part = f"{path}.{os.getpid()}.part"
            with open(part, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(part, 0o700)
            os.replace(part, path)
        if os.access(path, os.X_OK):  # not where programs may not be run, as on some temporary folders
            return path
    return None


def log_variable(folder: str) -> dict[str, str]:
    """Return the variable that makes launchers tell in `folder` what they did."""
    return {LOG: os.path.join(folder, _NAME)}


def wrapper_outcome(folder: str) -> str | None:
    """Return how the model's wrapper was compiled by a stage that ran in `folder`: "parts", or "whole: " and why."""
    with suppress(OSError, ValueError, KeyError), open(os.path.join(folder, _NAME), encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["outcome"] == "whole":
                return f"whole: {row['why']}"
            if row["outcome"] == "joined":
                return "parts"
    return None
