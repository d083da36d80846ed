"""The tools of a compile that all tests of one run share; see `StageRequests.compile_task`."""

from __future__ import annotations

from pathlib import Path

from batchexport.store.toolchains import toolchains_root
from batchexport.toolchain.probe import compiler_path
from batchexport.workers.launchers import installed_launcher


def compile_tools() -> dict[str, str] | None:
    folder = toolchains_root() / "of-tests"
    folder.mkdir(parents=True, exist_ok=True)
    launcher = installed_launcher(str(folder), compiler_path())
    return None if launcher is None else {"launcher": launcher, "folder": str(folder)}


def generated(folder: Path) -> dict[str, list[str]]:
    """The C++ that a compile left in its folder, by kind, without the comments that name the folder."""
    return {
        kind: [line for line in path.read_text(encoding="utf-8").splitlines() if str(folder) not in line]
        for kind in ("wrapper", "kernel")
        for path in (folder / "code").rglob(f"*.{kind}.cpp")
    }
