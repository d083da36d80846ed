"""Do torch's first-time work once, in the fork server: tables, patterns and probes that every child would make anew.

A tiny program is exported, saved, loaded and compiled as children do it, with fake tensors and without a compiler: no
tensor operation runs, and no thread is left.
"""

from __future__ import annotations

import io
import os
import shlex
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from unittest import mock

import torch
import torch._inductor
from torch import nn
from torch._inductor import cpp_builder
from torch.export import ExportedProgram

from batchexport.pipeline.model_structure import first_party_modules
from batchexport.pipeline.vector_isa import known_isa_options


class WarmUpFailed(Exception):
    """The first-time work was interrupted, and a compile in this process could meet what is left of it."""


class _NotThere(BaseException):
    """A header or probe is not compiled yet. Inductor takes an Exception for a CPU that can't run the probe."""


class _Tiny(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + 1


def warm_up_exports() -> None:
    """Export, save and load a program. Where that fails, children meet the error if it is one."""
    first_party_modules()
    with _quietly(), suppress(Exception):
        _exported()


def warm_up_compiles(tools: Mapping[str, str]) -> None:
    """Compile a program for CPUs with these tools (see `requests.compile_task`), up to what the compiler would do.

    Raises:
        WarmUpFailed: if compiles must not run in this process or its children.
    """
    with _quietly():
        try:
            _compile(_exported(), tools)
        except Exception as error:
            raise WarmUpFailed from error


def _exported() -> ExportedProgram:
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(_Tiny().eval(), (torch.empty(3, 2),), dynamic_shapes=({0: batch},), strict=False)
    archive = io.BytesIO()
    torch.export.save(program, archive)
    archive.seek(0)
    return torch.export.load(archive)


def _compile(program: ExportedProgram, tools: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(cpp_builder, "run_compile_cmd", _runner(folder)):
        options = {
            "aot_inductor.output_path": f"{folder}/",
            "aot_inductor.package": True,
            "cpp.cxx": (None, tools["launcher"]),
            **known_isa_options(tools["folder"]),
        }
        args, kwargs = program.example_inputs or ((), {})
        with suppress(_NotThere):  # all but the probes is done by then
            torch._inductor.aot_compile(program.module(check_guards=False), args, kwargs, options=options)


def _runner(folder: str) -> Callable[[str, str], None]:
    """Return what stands in for Inductor's runner of compilers: in `folder` it leaves files without content."""
    run = cpp_builder.run_compile_cmd

    def stand_in(command: str, cwd: str) -> None:
        words = shlex.split(command)
        output = words[words.index("-o") + 1]
        if output.endswith("/header.i"):
            run(command, cwd)
        elif os.path.commonpath([output, folder]) == folder:
            with open(output, "wb"):
                pass
        else:
            raise _NotThere(output)

    return stand_in


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide warnings, without counting them as shown, and keep tqdm from starting its thread."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        with suppress(ImportError):
            from tqdm import tqdm

            stack.enter_context(mock.patch.object(tqdm, "monitor_interval", 0))
        yield
