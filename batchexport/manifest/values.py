"""Read the values of keys that only entries have: arguments, variables, files, checkpoints."""

from __future__ import annotations

from typing import Any

from batchexport.core.report import STAGES
from batchexport.core.text import describe, did_you_mean, quoted
from batchexport.manifest import names, readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report


def json_list(value: Any, path: KeyPath, say: Report) -> Any:
    if type(value) is list:
        return readers.plain_data(value, path, say)
    say(path, f"expected a list, found {describe(value)}", "named arguments go into kwargs")
    return INVALID


def json_table(value: Any, path: KeyPath, say: Report) -> Any:
    return readers.plain_data(value, path, say) if readers.is_table(value, path, say) else INVALID


def arguments(value: Any, path: KeyPath, say: Report) -> Any:
    if not readers.is_table(value, path, say):
        return INVALID
    for name in value:
        if not name.isidentifier():
            say((*path, name), f"{quoted(name)} can't be the name of an argument", key=True)
    return readers.plain_data(value, path, say)


def env(value: Any, path: KeyPath, say: Report) -> Any:
    if not readers.is_table(value, path, say, "strings"):
        return INVALID
    for name in value:
        if not name or "=" in name or not name.isprintable():
            say((*path, name), f"{quoted(name)} can't name an environment variable", key=True)
    read = {name: _variable(text, (*path, name), say) for name, text in value.items()}
    return INVALID if INVALID in read.values() else read


def _variable(value: Any, path: KeyPath, say: Report) -> Any:
    if type(value) in (bool, int, float):
        say(path, f"expected a string, found {describe(value)}", f'write "{describe(value)}"')
        return INVALID
    return "" if value == "" else readers.string(value, path, say)


def extra_files(value: Any, path: KeyPath, say: Report) -> Any:
    for name in value if type(value) is dict else ():
        if not names.member(name):
            say(
                (*path, name),
                f"{quoted(name)} would lie outside of the archive",
                "write a relative path",
                key=True,
            )
    return readers.table_of(readers.file_path, "paths")(value, path, say)


def checkpoints(value: Any, path: KeyPath, say: Report) -> Any:
    if type(value) is dict and not value:
        say(path, "no checkpoint is listed", 'write name = "weights/file.safetensors", or leave the table out')
        return INVALID
    if type(value) is dict:
        for name in value:
            names.plain(name, (*path, name), say)
    return readers.table_of(names.weights, "weights files")(value, path, say)


def strict(value: Any, path: KeyPath, say: Report) -> Any:
    """Read `true`, `false` or `"auto"`."""
    if value == "auto":
        return value
    if type(value) is str and did_you_mean(value, ("auto",)):
        say(path, f"unknown value {quoted(value)}", 'did you mean "auto"?')
        return INVALID
    return readers.boolean(value, path, say)


def expect(value: Any, path: KeyPath, say: Report) -> Any:
    """Read `fail:STAGE` as the stage."""
    written = readers.one_of([f"fail:{stage}" for stage in STAGES])(value, path, say)
    return INVALID if written is INVALID else written.partition(":")[2]
