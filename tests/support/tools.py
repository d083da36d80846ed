"""The tools of a compile that all tests of one run share; see `StageRequests.compile_task`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from batchexport.store.toolchains import toolchain_folder
from batchexport.toolchain import probe
from batchexport.workers.launchers import installed_launcher


@cache
def toolchain() -> Path:
    """The folder of this machine's toolchain, which the tests that start the product use as well."""
    return toolchain_folder(probe.toolchain().compilers_key(), Path("nowhere"))


def compile_tools() -> dict[str, str] | None:
    launcher = installed_launcher(str(toolchain()), probe.compiler_path())
    return None if launcher is None else {"launcher": launcher, "folder": str(toolchain())}


def inductor_folders() -> dict[str, str]:
    """The variables that lead Inductor to its folders there; the second must be set when torch is imported."""
    folders = {"TORCHINDUCTOR_CACHE_DIR": toolchain() / "cache", "TMPDIR": toolchain() / "tmp"}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


def generated(folder: Path) -> dict[str, list[str]]:
    """The C++ that a compile left in its folder, by kind, without the comments that name the folder."""
    return {
        kind: [line for line in path.read_text(encoding="utf-8").splitlines() if str(folder) not in line]
        for kind in ("wrapper", "kernel")
        for path in (folder / "code").rglob(f"*.{kind}.cpp")
    }
