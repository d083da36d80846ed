"""The compiler launcher on small files of the form that AOTInductor writes, with the real compiler and no torch."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.workers.launchers import installed_launcher, log_variable, wrapper_outcome

GXX = shutil.which("g++")
pytestmark = [pytest.mark.process, pytest.mark.skipif(GXX is None, reason="there is no g++")]

HEADER = """
#pragma once
#include <regex>
#include <stdexcept>
#include <string>
namespace torch::aot_inductor {
inline void parse_device_str(const std::string& text, int& type, int& index) {
  std::regex form("(cpu|cuda)(:([0-9]+))?");
  std::smatch found;
  if (!std::regex_match(text, found, form)) throw std::runtime_error("Invalid device: " + text);
  type = found[1].str() == "cpu" ? 0 : 1;
  index = found[3].matched ? std::stoi(found[3].str()) : -1;
}
class AOTInductorModel {
 public:
  AOTInductorModel(const std::string& device);
  void run_impl(int* value);
  int device{-1};
};
inline int version() { return 1; }
}
"""
# The same without `std::regex`, which takes seconds to compile.
PLAIN = HEADER.replace(
    HEADER[HEADER.index("  std::regex") : HEADER.index("}\nclass")],
    """  if (text == "toaster") throw std::runtime_error("Invalid device: " + text);
  type = text == "cpu" ? 0 : 1;
  index = text == "cpu" ? -1 : 7;
""",
)
SHARED = """
#include <torch/csrc/inductor/aoti_runtime/model_container.h>
extern "C" {
int AOTInductorModelContainerCreate(void** handle, const char* device) {
  try {
    *handle = new torch::aot_inductor::AOTInductorModel(device);
    return torch::aot_inductor::version();
  } catch (...) { return -1; }
}
int AOTInductorModelContainerRun(void* handle, int* value) {
  static_cast<torch::aot_inductor::AOTInductorModel*>(handle)->run_impl(value);
  return 0;
}
} // extern "C"
"""
OWN = """
namespace torch::aot_inductor {
AOTInductorModel::AOTInductorModel(const std::string& text) { int type; parse_device_str(text, type, device); }
void AOTInductorModel::run_impl(int* value) { *value = FACTOR * *value + device; }
}
"""


class Wrapper:
    """A folder with headers, and the compilation of models there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = folder / "toolchain"
        self.header = folder / "include" / "torch" / "csrc" / "inductor" / "aoti_runtime" / "model_container.h"
        self.header.parent.mkdir(parents=True)
        self.header.write_text(PLAIN)
        self.count = 0

    def library(self, own: str, shared: str = SHARED, *, launched: bool = True) -> Path:
        """Compile and link a model."""
        self.count += 1
        work = self.folder / str(self.count)
        work.mkdir()
        source, part = work / "model.wrapper.cpp", work / "model.wrapper.o"
        source.write_text(shared + own)
        assert GXX is not None
        compiler = installed_launcher(str(self.kept), GXX) if launched else GXX
        assert compiler is not None
        flags = ["-O1", "-g1", "-fPIC", "-std=c++20", f"-I{self.folder / 'include'}"]
        command = [compiler, str(source), *flags, "-c", "-o", str(part)]
        done = subprocess.run(
            command, env={**os.environ, **log_variable(str(work))}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        library = work / "model.so"
        subprocess.run([GXX, "-shared", str(part), "-o", str(library)], check=True)
        return library

    def outcome(self) -> str | None:
        """How the last wrapper was compiled."""
        return wrapper_outcome(str(self.folder / str(self.count)))

    def objects(self) -> dict[str, int]:
        """The objects that are kept, with the time of each."""
        return {path.name: path.stat().st_mtime_ns for path in (self.kept / "objects").glob("*.o")}


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    return Wrapper(tmp_path)


def model(factor: int) -> str:
    return OWN.replace("FACTOR", str(factor))


def answers(library: Path) -> list[int]:
    """What a model gives on two devices, the version of its headers, and what it says of a device that is none."""
    code = ctypes.CDLL(str(library))
    found = []
    for device in (b"cpu", b"cuda:7"):
        handle, value = ctypes.c_void_p(), ctypes.c_int(10)
        found.append(code.AOTInductorModelContainerCreate(ctypes.byref(handle), device))
        code.AOTInductorModelContainerRun(handle, ctypes.byref(value))
        found.append(value.value)
    handle = ctypes.c_void_p()
    return [*found, code.AOTInductorModelContainerCreate(ctypes.byref(handle), b"toaster")]


def exports(library: Path) -> set[str]:
    """The functions that others may call, without those of the standard library's templates."""
    done = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True)
    return {name for line in done.stdout.splitlines() if "St" not in (name := line.split()[-1])}


def test_two_models_share_one_part_and_answer_as_if_compiled_whole(wrapper: Wrapper) -> None:
    wrapper.header.write_text(HEADER)
    assert answers(wrapper.library(model(3))) == [1, 29, 1, 37, -1]
    assert wrapper.outcome() == "parts"
    kept = wrapper.objects()
    joined = wrapper.library(model(4))
    assert wrapper.outcome() == "parts"
    assert wrapper.objects() == kept
    assert len(kept) == 1
    whole = wrapper.library(model(4), launched=False)
    assert answers(joined) == answers(whole) == [1, 39, 1, 47, -1]
    assert exports(joined) == exports(whole)


def test_a_changed_header_compiles_the_shared_part_again(wrapper: Wrapper) -> None:
    wrapper.library(model(3))
    before = wrapper.header.stat()
    wrapper.header.write_text(PLAIN.replace("return 1;", "return 2;"))
    os.utime(wrapper.header, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert answers(wrapper.library(model(3))) == [2, 29, 2, 37, -1]
    assert wrapper.outcome() == "parts"


def test_a_damaged_object_is_made_again(wrapper: Wrapper) -> None:
    wrapper.library(model(3))
    [name] = wrapper.objects()
    path = wrapper.kept / "objects" / name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert answers(wrapper.library(model(3))) == [1, 29, 1, 37, -1]
    assert wrapper.outcome() == "parts"


def _unlike() -> Iterator[tuple[str, str, str]]:
    helper = "static int helper() { return 0; }\n"
    yield "unknown form", SHARED.replace("ContainerRun", "Runner"), OWN
    yield "the model's part does not compile by itself", helper + SHARED, OWN.replace("+ device", "+ device + helper()")
    yield "the shared part does not compile by itself", SHARED, OWN.replace("parse_device_str", "read_device")


@pytest.mark.parametrize(("why", "shared", "own"), list(_unlike()))
def test_what_cannot_be_done_in_parts_is_compiled_whole_and_told(
    wrapper: Wrapper, why: str, shared: str, own: str
) -> None:
    if "read_device" in own:
        wrapper.header.write_text(PLAIN.replace("parse_device_str", "read_device"))
    wrapper.library(own.replace("FACTOR", "3"), shared)
    assert wrapper.outcome() == f"whole: {why}"


def test_a_mistake_in_a_wrapper_is_told_by_the_compiler(wrapper: Wrapper) -> None:
    with pytest.raises(AssertionError, match=r"model\.wrapper\.cpp:18:.*error: .*nonsense"):
        wrapper.library(model(3).replace("*value =", "*nonsense ="))


def test_a_folder_that_cannot_be_written_costs_only_time(wrapper: Wrapper) -> None:
    wrapper.kept.mkdir()
    (wrapper.kept / "objects").write_text("in the way")
    assert answers(wrapper.library(model(3))) == [1, 29, 1, 37, -1]
    told = wrapper.outcome()
    assert told is not None
    assert told.startswith("whole: FileExistsError")


def test_a_header_is_preprocessed_once(wrapper: Wrapper) -> None:
    launcher = installed_launcher(str(wrapper.kept), GXX)
    assert launcher is not None
    made = []
    for name in ("one", "two"):
        work = wrapper.folder / name
        work.mkdir()
        (work / "header.hpp").write_text("#include <torch/csrc/inductor/aoti_runtime/model_container.h>\n")
        command = [launcher, str(work / "header.hpp"), f"-I{wrapper.folder / 'include'}", "-E", "-P", "-o"]
        subprocess.run([*command, str(work / "header.i")], check=True)
        made.append((work / "header.i").read_text())
    assert made[0] == made[1]
    assert "parse_device_str" in made[0]
    assert len(list((wrapper.kept / "objects").glob("*.i"))) == 1
