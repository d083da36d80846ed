"""Find the line of the user's code at which an exception was raised."""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from batchexport.pipeline.failure import causes, text_of

_TEXT_LENGTH = 120
# How torch.export and TorchDynamo tell in words where in the model they were.
_TOLD = re.compile(r'^\s*File "([^"]+)", line (\d+), in (\S+)$', re.MULTILINE)
_INSTALLED = ("site-packages", "dist-packages")
_OURS = (str(Path(__file__).parents[1]) + os.sep, str(Path(torch.__file__ or "").parent) + os.sep)
_STANDARD = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})

Frame = tuple[str, int, str]  # file, line counted from 1, function


def place_of(error: BaseException, root: str) -> dict[str, Any] | None:
    """Return file, line, text and function where `error` was raised: of the innermost frame of first-party code.

    First-party is what lies below `root`, the manifest's folder; else what is neither installed nor of Python. Where
    there is no such frame it is the innermost one outside torch, Python and batchexport; None if all are of those.
    `file` is relative to `root` if it lies below it; `text` is the line without its indentation, or empty.
    """
    chains = [list(_frames(one)) for one in _told_first(error)]
    for belongs in (lambda file: _below(file, root), _is_first_party, _is_library):
        for frames in chains:
            found = next((frame for frame in reversed(frames) if belongs(frame[0])), None)
            if found is not None:
                return _place(found, root)
    return None


def _told_first(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what led to it: `raise … from` before what was only handled at the time."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__
    yield from (cause for cause in causes(error) if id(cause) not in seen)


def _frames(error: BaseException) -> Iterator[Frame]:
    """Yield the frames of an exception, the innermost last, with those that torch tells in its text."""
    for told in _TOLD.finditer(text_of(error)):
        yield told[1], int(told[2]), told[3]
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield frame.f_code.co_filename, line, frame.f_code.co_name
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno, "<module>"


def _below(file: str, root: str) -> bool:
    return file.startswith(root.rstrip(os.sep) + os.sep) and _is_first_party(file)


def _is_first_party(file: str) -> bool:
    return _is_library(file) and not any(part in _INSTALLED for part in file.split(os.sep))


def _is_library(file: str) -> bool:
    inner = file.startswith(_STANDARD) and not any(part in _INSTALLED for part in file.split(os.sep))
    return os.path.isabs(file) and not inner and not file.startswith(_OURS)


def _place(frame: Frame, root: str) -> dict[str, Any]:
    file, line, function = frame
    text = linecache.getline(file, line).strip()
    if len(text) > _TEXT_LENGTH:
        text = f"{text[:_TEXT_LENGTH]}…"
    shown = os.path.relpath(file, root) if _below(file, root) else _from_import_path(file)
    return {"file": shown, "line": line, "text": text, "function": function}


def _from_import_path(file: str) -> str:
    """Return an installed file as it is imported (`transformers/models/bert/modeling_bert.py`), any other as it is."""
    folders = [entry.rstrip(os.sep) + os.sep for entry in sys.path if entry.rstrip(os.sep).endswith(_INSTALLED)]
    return next((file.removeprefix(folder) for folder in folders if file.startswith(folder)), file)
