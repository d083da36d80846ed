from __future__ import annotations

from pathlib import Path

import pytest
from torch._inductor import cpu_vec_isa

from batchexport.pipeline.vector_isa import known_isa_options, remember_isa

pytestmark = pytest.mark.torch


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[cpu_vec_isa.VecISA]:
    """A CPU that lists two sets of instructions, whichever this one does."""
    monkeypatch.setattr(cpu_vec_isa, "x86_isa_checker", lambda: ["avx2", "avx512"])
    return [isa for isa in cpu_vec_isa.supported_vec_isa_list if str(isa) in ("avx2", "avx512")]


def test_the_first_compile_of_a_toolchain_probes(tmp_path: Path) -> None:
    assert known_isa_options(str(tmp_path)) == {}


def test_after_all_probes_passed_none_is_made(
    tmp_path: Path, listed: list[cpu_vec_isa.VecISA], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_vec_isa, "valid_vec_isa_list", lambda: listed)
    remember_isa(str(tmp_path))
    assert known_isa_options(str(tmp_path)) == {"cpp.vec_isa_ok": True}


def test_where_a_probe_failed_every_process_probes(
    tmp_path: Path, listed: list[cpu_vec_isa.VecISA], monkeypatch: pytest.MonkeyPatch
) -> None:
    for passed in ([], listed[:1]):
        monkeypatch.setattr(cpu_vec_isa, "valid_vec_isa_list", lambda found=passed: found)
        remember_isa(str(tmp_path))
        assert known_isa_options(str(tmp_path)) == {}


def test_a_torch_that_probes_otherwise_goes_on_probing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cpu_vec_isa, "x86_isa_checker")
    remember_isa(str(tmp_path))
    assert known_isa_options(str(tmp_path)) == {}
