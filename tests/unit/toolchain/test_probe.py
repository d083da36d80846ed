"""The probe: what this machine and this installation are, the same at every look, in a form that keys can take."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

import batchexport
from batchexport.core import keys
from batchexport.toolchain import probe


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing to torch or to compilers."""
    for name in os.environ:
        if name.startswith(probe.REACHING) or name in ("CXX", "CC", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"):
            monkeypatch.delenv(name)
    return monkeypatch


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# ── compiler and devices ─────────────────────────────────────────────────────────────────────────


def test_the_compiler_is_the_first_line_of_what_it_says(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain.setenv("CXX", script(tmp_path / "cxx", "echo 'c++ 1.2.3  '; echo more"))
    assert probe.compiler() == "c++ 1.2.3"


@pytest.mark.parametrize("text", ["exit 1", "echo; echo late", "exec sleep 0"], ids=["fails", "blank", "silent"])
def test_a_compiler_that_does_not_say_its_version_is_none(plain: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    plain.setenv("CXX", script(tmp_path / "cxx", text))
    assert probe.compiler() is None


def test_a_compiler_that_is_not_there_is_none(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain.setenv("CXX", str(tmp_path / "none"))
    assert probe.compiler() is None


def test_a_compiler_that_cannot_be_run_is_none(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cxx").write_bytes(b"\x7fnot a program")
    (tmp_path / "cxx").chmod(0o755)
    plain.setenv("CXX", str(tmp_path / "cxx"))
    assert probe.compiler() is None


def test_a_compiler_with_arguments_is_none_as_it_is_to_torch(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain.setenv("CXX", script(tmp_path / "cxx", "echo 'c++ 1.2.3'") + " -m64")
    assert probe.compiler() is None


def test_without_any_compiler_there_is_none(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain.setenv("PATH", str(tmp_path))
    assert probe.compiler() is None


def test_the_driver_speaks_in_files_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "_DRIVER", tmp_path / "nvidia")
    assert probe.driver() == []
    (tmp_path / "nvidia" / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "nvidia" / "version").write_text("NVRM version: 580")
    (tmp_path / "nvidia" / "gpus" / "0000:01:00.0" / "information").write_text("Model: H100")
    assert probe.driver() == ["NVRM version: 580", "Model: H100"]


def test_the_isa_names_the_processor_and_its_vector_extensions() -> None:
    assert probe.isa() == probe.isa()
    assert "\n" not in probe.isa()
    assert probe.isa().strip()


# ── the toolchain ────────────────────────────────────────────────────────────────────────────────


def test_a_toolchain_can_be_a_key() -> None:
    made = probe.toolchain()
    assert keys.toolchain_key(made.capture) != keys.toolchain_key(made.summary())


def test_no_fact_is_told_twice() -> None:
    made = probe.toolchain()
    assert not made.capture.keys() & made.code.keys()
    assert len(made.summary()) == len(made.capture) + len(made.code)


def test_a_toolchain_is_the_same_at_every_look() -> None:
    assert probe.toolchain() == probe.toolchain()


def test_a_toolchain_names_what_works_here() -> None:
    told = probe.toolchain().summary()
    assert told["python"].endswith("{}.{}.{}".format(*sys.version_info))
    assert {"torch", "triton", "numpy", "sympy", "safetensors", "cxx", "isa", "threads", "platform"} <= told.keys()
    assert told["torch"]


@pytest.mark.parametrize(
    "name",
    ["TORCHINDUCTOR_FREEZING", "TORCH_COMPILE_DEBUG", "OMP_NUM_THREADS", "MKL_CBWR", "LD_LIBRARY_PATH", "CPATH",
     "CUDA_HOME", "NVIDIA_TF32_OVERRIDE", "PYTORCH_NVML_BASED_CUDA_CHECK", "PYTHONOPTIMIZE"],
)  # fmt: skip
def test_a_variable_that_reaches_torch_is_part_of_both(plain: pytest.MonkeyPatch, name: str) -> None:
    before = probe.toolchain()
    plain.setenv(name, "1")
    after = probe.toolchain()
    assert dict(after.capture) == {**before.capture, name: "1"}
    assert after.code == before.code


@pytest.mark.parametrize("name", ["CXXFLAGS", "CFLAGS", "LDFLAGS", "CC"])
def test_a_variable_of_the_compiler_is_part_of_the_code_alone(plain: pytest.MonkeyPatch, name: str) -> None:
    before = probe.toolchain()
    plain.setenv(name, "-O1")
    after = probe.toolchain()
    assert after.capture == before.capture
    assert dict(after.code) == {**before.code, name: "-O1"}


@pytest.mark.parametrize("name", ["TORCH_LOGS", "TORCHINDUCTOR_CACHE_DIR", "CUDA_VISIBLE_DEVICES", "EDITOR", "HOME"])
def test_a_variable_that_changes_no_result_is_no_part(plain: pytest.MonkeyPatch, name: str) -> None:
    before = probe.toolchain()
    plain.setenv(name, "1")
    assert probe.toolchain() == before


def _imports(name: str) -> set[str]:
    """The modules of this package that one of its modules imports."""
    here = Path(batchexport.__file__).parent
    found = set()
    for node in ast.walk(ast.parse((here / f"{name.replace('.', '/')}.py").read_bytes())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("batchexport"):
            module = str(node.module).removeprefix("batchexport").lstrip(".")
            found |= {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
    return {one for one in found if one and (here / f"{one.replace('.', '/')}.py").is_file()}


def test_whatever_the_pipeline_is_made_of_is_in_its_digest() -> None:
    here = Path(batchexport.__file__).parent
    pending = [f"pipeline.{path.stem}" for path in (here / "pipeline").glob("*.py") if path.stem != "__init__"]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += _imports(name)
    beside = {name.replace(".", "/") for name in reached if not name.startswith("pipeline.")}
    assert {name for name in beside if not name.endswith("__init__")} <= set(probe._BESIDE)
    for name in probe._BESIDE:
        assert (here / f"{name}.py").is_file()


# ── the import path ──────────────────────────────────────────────────────────────────────────────


def test_the_import_path_is_that_of_python_without_the_folder_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = str(Path(batchexport.__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["/scripts", "/src", "", "/site", ours])
    assert probe.import_path() == ["/src", "/site", ours]


def test_children_can_always_import_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/scripts", "/src"])
    assert probe.import_path() == ["/src", str(Path(batchexport.__file__).parents[1])]
