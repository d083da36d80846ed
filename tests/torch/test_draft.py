"""Draft export adds what it finds to a failed capture, in a few lines, and can harm nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from batchexport.pipeline.draft import findings, summary
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export

pytestmark = pytest.mark.torch


def report(*failures: tuple[str, dict[str, Any]]) -> Any:
    found = [SimpleNamespace(failure_type=SimpleNamespace(name=name), data=data) for name, data in failures]
    return SimpleNamespace(failures=found, str_to_filename={7: "/home/me/models.py"})


def guard(expr: str) -> tuple[str, dict[str, Any]]:
    frame = {"line": 12, "name": "forward", "filename": 7, "loc": "return x[:n]"}
    return "GUARD_ADDED", {"expr": expr, "symbol_to_sources": {"s1": "L['x'].size()[0]"}, "user_stack": [frame]}


def test_findings_have_the_names_and_places_of_the_model() -> None:
    found = report(guard("s1 < 9"), ("MISSING_FAKE_KERNEL", {"op": "my.op.default"}))
    assert summary(found) == [
        "guard: x.shape[0] < 9, at `return x[:n]` (models.py, line 12)",
        "no fake kernel: my.op.default",
        "in full: draft_export.txt beside the log",
    ]


def test_there_are_five_lines_at_most_each_of_bounded_length() -> None:
    lines = summary(report(*(guard(f"s1 < {number}") for number in range(299))))
    assert len(lines) == 5
    assert lines[-1] == "and 295 more; in full: draft_export.txt beside the log"
    assert max(map(len, summary(report(guard("9" * 999))))) <= 160


def test_no_finding_is_no_line() -> None:
    assert summary(report()) == []


def test_the_failure_of_a_capture_can_be_drafted(exported: Export, tmp_path: Path) -> None:
    with pytest.raises(StageFailure) as failure:
        exported('model = "support.shaped:BranchesOnValues"\ninputs.x = { shape = [3, 2] }\n')
    assert failure.value.draft is not None
    whole = tmp_path / "draft.txt"
    lines = findings(failure.value.draft, whole, 120.0)
    assert "return x + 1 if x.sum() > 0 else x - 1" in lines[0]
    text = whole.read_text()
    assert "Data dependent error" in text
    assert "\x1b" not in text


def test_constraints_that_were_solved_need_no_draft(exported: Export) -> None:
    dims = "[entry.dims]\nn = { min = 4, max = 64, example = 8 }\n"
    with pytest.raises(StageFailure) as failure:
        exported(f'model = "support.shaped:InGroups"\ninputs.x = {{ shape = ["n", 3] }}\n{dims}')
    assert failure.value.draft is None


@pytest.mark.parametrize(
    "draft",
    [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: time.sleep(60), lambda: 1 / 0],
    ids=["crash", "hang", "error"],
)
def test_a_draft_that_fails_finds_nothing(tmp_path: Path, draft: Callable[[], Any]) -> None:
    started = time.monotonic()
    assert findings(draft, tmp_path / "draft.txt", 0.5) == []
    assert time.monotonic() - started < 30
    assert not (tmp_path / "draft.txt").exists()
    assert torch.ones(3).sum() == 3, "and this process goes on"
