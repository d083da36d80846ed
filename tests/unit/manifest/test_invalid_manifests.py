"""Every malformed manifest in tests/data/invalid is refused with exactly the messages beside it.

Each `NN-what.toml` has a `NN-what.txt`: all its mistakes, one on a line, as the command line prints them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.core.errors import ExitCode, ManifestError
from batchexport.manifest import resolve

FOLDER = Path(__file__).parents[2] / "data" / "invalid"
MANIFESTS = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_all_mistakes_are_told_exactly(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(ManifestError) as caught:
        resolve.load(Path(path.name))
    assert str(caught.value) + "\n" == path.with_suffix(".txt").read_text(encoding="utf-8")
    assert caught.value.exit_code is ExitCode.USAGE


def test_there_are_many_of_them_and_each_has_its_messages() -> None:
    assert len(MANIFESTS) >= 30
    assert [path.with_suffix(".txt") for path in MANIFESTS] == sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_message_holds_nothing_that_a_terminal_would_obey(path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        resolve.load(path)
    assert all(str(problem).isprintable() for problem in caught.value.problems)
