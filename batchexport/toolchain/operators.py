"""Read the names of ATen operators from the installed torch, which importing would take seconds."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

_SOURCE = os.path.join("torchgen", "packaged", "ATen", "native", "native_functions.yaml")
_DECLARED = re.compile(r"^- func: (\w+)(?:\.(\w+))?\(", re.MULTILINE)
_GENERATED = re.compile(r"^  autogen: (.+)$", re.MULTILINE)
# What torch registers elsewhere.
_BESIDE = {"aten.quantized_gru", "aten.quantized_lstm"}


@cache
def operator_names(path: tuple[str, ...]) -> frozenset[str] | None:
    """Return the ATen operators of the torch on an import path, with and without overload: `aten.add`, `aten.add.out`.

    Returns None where there is no torch, or its list is of another form than is known here, so that an operator of a
    later torch is not refused by mistake. Takes 20 ms.
    """
    found = next((file for entry in path if os.path.isfile(file := os.path.join(entry, _SOURCE))), None)
    try:
        return None if found is None else names_in(Path(found).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def names_in(declarations: str) -> frozenset[str] | None:
    """Return the operators that torch's list declares, and those that are generated for them; None without any."""
    declared = [(match[1], match[2]) for match in _DECLARED.finditer(declarations)]
    if not declared:
        return None
    for match in _GENERATED.finditer(declarations):
        names = match[1].partition("#")[0].split(",")
        declared += [(base, overload) for base, _, overload in (name.strip().partition(".") for name in names)]
    packets = {f"aten.{base}" for base, _ in declared}
    return frozenset(_BESIDE | packets | {f"aten.{base}.{overload or 'default'}" for base, overload in declared})
