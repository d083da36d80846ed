"""The place of a failure: the innermost line of the user's own code, else of a library, never torch's or ours."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from batchexport.pipeline.failure import Kind, classified
from batchexport.pipeline.place import place_of

pytestmark = pytest.mark.torch

CODE = """\
import json
import torch


def view(x):
    return x.view(7, -1)


def text(x):
    return json.loads("{")


def calls(inner):
    return inner()


def translates():
    try:
        {}["a"]
    except KeyError as error:
        raise ValueError("no a") from error


def while_handling():
    try:
        {}["a"]
    except KeyError:
        raise ValueError("no a")
"""


def module(folder: Path, name: str = "models.py") -> ModuleType:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CODE)
    spec = importlib.util.spec_from_file_location("models_of_a_test", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("function", "arguments", "line", "text"),
    [
        ("view", (torch.zeros(3),), 6, "return x.view(7, -1)"),
        ("text", (None,), 10, 'return json.loads("{")'),
        ("translates", (), 21, 'raise ValueError("no a") from error'),
        ("while_handling", (), 28, 'raise ValueError("no a")'),
    ],
)
def test_the_innermost_line_below_the_manifest_is_told(
    tmp_path: Path, function: str, arguments: tuple[Any, ...], line: int, text: str
) -> None:
    error = raised(lambda: getattr(module(tmp_path), function)(*arguments))
    failure = classified(error, Kind.BUILD, "building")
    failure.__cause__ = error
    expected = {"file": "models.py", "line": line, "text": text, "function": function}
    assert place_of(error, str(tmp_path)) == place_of(failure, str(tmp_path)) == expected


def test_code_below_the_manifest_counts_before_other_code_that_it_calls(tmp_path: Path) -> None:
    ours = module(tmp_path / "project")
    other = module(tmp_path / "elsewhere")
    error = raised(lambda: ours.calls(lambda: other.view(torch.zeros(3))))
    inner = place_of(error, str(tmp_path / "project"))
    assert inner is not None and (inner["file"], inner["line"]) == ("models.py", 14)


def test_other_code_of_the_user_is_told_by_its_whole_path(tmp_path: Path) -> None:
    other = module(tmp_path / "elsewhere")
    place = place_of(raised(lambda: other.view(torch.zeros(3))), str(tmp_path / "project"))
    assert place is not None and place["file"] == str(tmp_path / "elsewhere" / "models.py")


def test_an_installed_file_below_the_manifest_is_not_the_users(tmp_path: Path) -> None:
    ours = module(tmp_path, "models.py")
    installed = module(tmp_path, "venv/lib/site-packages/library.py")
    place = place_of(raised(lambda: ours.calls(lambda: installed.view(torch.zeros(3)))), str(tmp_path))
    assert place is not None and (place["file"], place["line"]) == ("models.py", 14)


def test_a_syntax_error_is_told_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("a = 1\nclass A(:\n")
    error = raised(lambda: compile((tmp_path / "broken.py").read_text(), str(tmp_path / "broken.py"), "exec"))
    place = place_of(error, str(tmp_path))
    assert place == {"file": "broken.py", "line": 2, "text": "class A(:", "function": "<module>"}


def test_what_torch_tells_of_the_users_code_is_read_from_its_text(tmp_path: Path) -> None:
    models = tmp_path / "models.py"
    models.write_text("\n\nif x.sum() > 0:\n")
    error = RuntimeError(f'Dynamic control flow\n\nfrom user code:\n   File "{models}", line 3, in forward\n    if x\n')
    place = place_of(error, str(tmp_path))
    assert place == {"file": "models.py", "line": 3, "text": "if x.sum() > 0:", "function": "forward"}


def test_an_error_without_frames_has_no_place(tmp_path: Path) -> None:
    assert place_of(RuntimeError("raised nowhere"), str(tmp_path)) is None
