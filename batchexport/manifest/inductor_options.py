"""Check the options of Inductor in [entry.compile]: torch must know them, and batchexport leave them free."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from batchexport.core.text import did_you_mean, quoted
from batchexport.manifest.readers import Report

# Returns the names of all options, or None where they can't be told.
KnownOptions = Callable[[], Collection[str] | None]

_FORMAT = "format in [entry.compile] decides it; leave it out"
_WEIGHTS = "weights in [entry.compile] decides it; leave it out"
_FILES = "a compile with it leaves no library; leave it out"
# Options that a key of the manifest decides, or with which a compile leaves other files than those to deliver.
_RESERVED = {
    "aot_inductor.output_path": "batchexport chooses where the files are written; leave it out",
    "aot_inductor.package": _FORMAT,
    "aot_inductor.package_cpp_only": _FILES,
    "aot_inductor.package_constants_in_so": _WEIGHTS,
    "aot_inductor.package_constants_on_disk_format": _WEIGHTS,
    "fx_wrapper": _FILES,
}
# Without it small tensors become literals in the code, and packing new weights around the code leaves the old numbers.
_KEPT = "always_keep_tensor_constants"
# What the targets for a level of the CPU consist of.
_LEVEL = ("cpp.simdlen", "cpp.march")
_LEVELS = ("cpu-avx2", "cpu-avx512")


def check_options(table: Mapping[str, Any], *, targets: Collection[str], known: KnownOptions, say: Report) -> None:
    """Report every option of [entry.compile] that torch does not know, or that would undo what other keys say."""
    options = table.get("options")
    if not options:
        return
    names = known()
    levels = [target for target in targets if target in _LEVELS]
    for name, value in options.items():
        path = ("compile", "options", name)
        if name in _RESERVED:
            say(path, "this option is not free", _RESERVED[name], key=True)
        elif name == _KEPT and table.get("weights") != "embedded":
            say(path, "this option is not free", 'leave it out, or write weights = "embedded"', key=True)
        elif name in _LEVEL and levels:
            say(path, "this option is not free", f"the target {quoted(levels[0])} decides it; leave it out", key=True)
        elif names is not None and name not in names:
            say(path, "Inductor has no such option in the installed torch", _hint(name, value, names), key=True)


def _hint(name: str, value: Any, names: Collection[str]) -> str | None:
    if type(value) is dict and value and any(one.startswith(f"{name}.") for one in names):
        full = f"{name}.{next(iter(value))}"
        return f"put its whole name in quotes: {quoted(full)} = …"
    inner = sorted(one for one in names if one.rpartition(".")[2] == name)
    return f"did you mean {quoted(inner[0])}?" if inner else did_you_mean(name, sorted(names))
