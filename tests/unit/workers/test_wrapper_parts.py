from __future__ import annotations

import pytest

from batchexport.workers.wrapper_parts import split_wrapper

SHARED = """
#include <torch/csrc/inductor/aoti_runtime/model_container.h>
#define CHECK(x) \\
  do { x; } while (0)
int AOTInductorModelContainerCreate(void** container) { return 0; }
int AOTInductorModelContainerRun(void* container) { return 0; }

} // extern "C"
"""
OWN = """CACHE_TORCH_DTYPE(float32);
AOTInductorModel::AOTInductorModel(int map) {}
void AOTInductorModel::run_impl() { four(); }
"""


def test_the_shared_part_ends_where_the_entry_points_do() -> None:
    parts = split_wrapper(SHARED + OWN, "/w/model.wrapper.cpp")
    assert parts is not None
    assert parts.shared.startswith('#line 1 "interface.cpp"\n' + SHARED)
    assert "four()" not in parts.shared


def test_the_model_s_part_has_the_directives_of_the_shared_one_and_its_own_lines() -> None:
    parts = split_wrapper(SHARED + OWN, "/w/model.wrapper.cpp")
    assert parts is not None
    directives, own = parts.own.split("#line 9 ")
    assert own == f'"/w/model.wrapper.cpp"\n{OWN}'
    assert "model_container.h>" in directives
    assert "do { x; } while (0)" in directives
    assert "AOTInductorModelContainerRun" not in directives


def test_two_models_share_one_text() -> None:
    one, other = (
        split_wrapper(SHARED + OWN, "/w/a.cpp"),
        split_wrapper(SHARED + OWN.replace("four", "five"), "/w/b.cpp"),
    )
    assert one is not None
    assert other is not None
    assert one.shared == other.shared


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHARED,
        OWN,
        SHARED.replace("ContainerRun", "Other") + OWN,
        SHARED + OWN.replace("run_impl", "other"),
        OWN + SHARED,
        (SHARED + OWN).replace('} // extern "C"', "}"),
    ],
)
def test_a_file_of_another_form_is_left_alone(text: str) -> None:
    assert split_wrapper(text, "/w/model.wrapper.cpp") is None
