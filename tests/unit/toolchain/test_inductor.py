"""The names of Inductor's options, read from torch's source without importing it."""

from __future__ import annotations

from pathlib import Path

from batchexport.toolchain import probe
from batchexport.toolchain.inductor import names_in, option_names

SOURCE = """
import os
from torch.utils._config_module import Config, inherit_fields_from, install_config_module

max_autotune = os.environ.get("MAX_AUTOTUNE") == "1"
declared_only: int
_private: int = 3
__all__ = ["x"]
if is_fbcode():
    remote: bool = True
else:
    local: bool = Config(default=False)
def helper():
    inside = 1
class cpp:
    threads = -1
    _hidden = 1
    def method(self): ...
    class inner:
        deep = 1
@inherit_fields_from(cpp)
class rocm(cpp):
    arch: list[str] = []
"""


def test_what_the_module_and_its_classes_assign_are_options() -> None:
    assert names_in(SOURCE) == {
        *("max_autotune", "_private", "remote", "local"),
        *("cpp.threads", "cpp._hidden", "cpp.inner.deep"),
        *("rocm.threads", "rocm.inner.deep", "rocm.arch"),
    }


def test_a_source_of_an_unknown_form_has_no_names_rather_than_too_few() -> None:
    assert names_in("@dataclass\nclass cpp:\n    threads = 1\n") is None
    assert names_in("@inherit_fields_from(elsewhere)\nclass cpp:\n    threads = 1\n") is None
    assert names_in("") is None


def test_without_torch_or_with_a_torch_that_is_no_python_there_are_no_names(tmp_path: Path) -> None:
    assert option_names((str(tmp_path / "nowhere"),)) is None
    source = tmp_path / "torch" / "_inductor" / "config.py"
    source.parent.mkdir(parents=True)
    source.write_text("def (:\n")
    assert option_names((str(tmp_path),)) is None


def test_the_installed_torch_is_read() -> None:
    names = option_names(tuple(probe.import_path()))
    assert names is not None
    assert {"max_autotune", "cpp.threads", "triton.cudagraphs", "aot_inductor.package"} <= names
