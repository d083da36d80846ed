"""Objects of C++ classes, and operators that a module of the manifest's `imports` registers, are delivered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.projects import GUARD, Project

pytestmark = [pytest.mark.process, pytest.mark.torch]

HEAD = """
schema = 1

[cache]
dir = "cache"

[defaults]
imports = ["bound"]
inputs = { x = { shape = ["batch", 4] } }
dims = { batch = { min = 1, max = 16, example = 3 } }
"""
LIBRARY = """
#include <ATen/ATen.h>
#include <torch/custom_class.h>
#include <torch/library.h>

struct Scale : torch::CustomClassHolder {
  double by;
  explicit Scale(double by) : by(by) {}
  at::Tensor apply(const at::Tensor& x) { return at::mul(x, at::Scalar(by)); }
  std::tuple<std::tuple<std::string, double>> flat() { return {{"by", by}}; }
};

at::Tensor apply(const c10::intrusive_ptr<Scale>& scale, const at::Tensor& x) { return scale->apply(x); }

TORCH_LIBRARY(bound, library) {
  library.class_<Scale>("Scale")
      .def(torch::init<double>())
      .def("apply", &Scale::apply)
      .def("__obj_flatten__", &Scale::flat)
      .def_pickle(
          [](const c10::intrusive_ptr<Scale>& scale) { return scale->by; },
          [](double by) { return c10::make_intrusive<Scale>(by); });
  library.def("apply(__torch__.torch.classes.bound.Scale scale, Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(bound, CPU, library) { library.impl("apply", &apply); }
"""
# The names are registered when the library is loaded, by a module that the model does not import.
BOUND = """
from pathlib import Path

import torch

torch.ops.load_library(Path(__file__).parent / "bound_library.so")


@torch._library.register_fake_class("bound::Scale")
class FakeScale:
    def __init__(self, by):
        self.by = by

    @classmethod
    def __obj_unflatten__(cls, flat):
        return cls(dict(flat)["by"])

    def apply(self, x):
        return torch.empty_like(x)


@torch.library.register_fake("bound::apply")
def _(scale, x):
    return torch.empty_like(x)
"""
MODELS = """
import torch
from torch import nn


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.classes.bound.Scale(2.0)

    def forward(self, x):
        return torch.ops.bound.apply(self.scale, x) + 1
"""
PLAIN_TORCH = """
import importlib, json, sys, torch
for module in json.load(open("dist/scaled@cpu/job.json"))["imports"]:
    importlib.import_module(module)
archive = torch.export.load("dist/scaled@cpu/exported.pt2").module()
compiled = torch._inductor.aoti_load_package("dist/scaled@cpu/compiled.pt2")
for batch in (5, 1, 16, 3, 2):
    x = torch.randn(batch, 4)
    for run in (archive, compiled):
        torch.testing.assert_close(run(x=x), x * float(sys.argv[1]) + 1)
assert "batchexport" not in sys.modules
"""


def build_library(folder: Path) -> None:
    torch_folder = Path(torch.__file__).parent
    (folder / "bound.cpp").write_text(LIBRARY)
    includes = [f"-I{torch_folder}/include", f"-I{torch_folder}/include/torch/csrc/api/include"]
    libraries = [f"-L{torch_folder}/lib", "-ltorch", "-ltorch_cpu", "-lc10"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = ["g++", "-shared", "-fPIC", "-O0", "-std=c++20", abi, *includes, "bound.cpp", "-o", "bound_library.so"]
    subprocess.run([*command, *libraries], cwd=folder, check=True)


def test_an_object_of_a_cpp_class_is_delivered_and_its_content_counts(tmp_path: Path) -> None:
    build_library(tmp_path)
    project = Project(tmp_path)
    project.write("bound.py", BOUND)
    project.manifest('name = "scaled"\nmodel = "models:Scaled"', head=HEAD)
    for scale in ("2.0", "3.0"):
        project.write("models.py", MODELS.replace("2.0", scale))
        job = project.run().jobs["scaled@cpu"]
        assert job["ok"], job["error"]
        assert job["stages"]["compile"]["outcome"] == "built"
        assert json.loads((tmp_path / "dist/scaled@cpu/job.json").read_text())["imports"] == ["bound", "models"]
        plain = [sys.executable, "-c", PLAIN_TORCH, scale]
        ended = subprocess.run(plain, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD, check=False)
        assert ended.returncode == 0, ended.stderr
    assert project.run().outcomes() == {"scaled@cpu": "cached"}
