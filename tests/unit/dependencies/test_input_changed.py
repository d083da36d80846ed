"""Files that appear or vanish while a stage runs are reported, unless the stage caused it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from support.observing import observe

pytestmark = pytest.mark.process

# Stands for another process: the C library raises no audit events.
ANOTHER_PROCESS = """
import ctypes, os
libc = ctypes.CDLL(None)

def creates(path):
    folder = os.path.dirname(path)
    if folder: libc.mkdir(folder.encode(), 0o755)
    libc.close(libc.creat(path.encode(), 0o644))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helper.py").write_text("x = 1")
    (folder / "flag").touch()
    return folder


@pytest.mark.parametrize("path", ["helper/__init__.py", "helper.so"])
def test_a_module_that_would_have_been_imported_instead(root: Path, path: str) -> None:
    code = f"{ANOTHER_PROCESS}\nimport helper\ncreates('{path}')"
    assert observe(root, code).changed == str(root / path)


def test_a_package_that_is_moved_to_where_it_would_have_been_imported(root: Path) -> None:
    (root / "old").mkdir()
    (root / "old/__init__.py").touch()
    code = f"{ANOTHER_PROCESS}\nimport helper\nlibc.rename(b'old', b'helper')"
    assert observe(root, code).changed == str(root / "helper/__init__.py")


@pytest.mark.parametrize("path", ["fast.py", "fast/__init__.py"])
def test_a_module_that_could_not_be_imported(root: Path, path: str) -> None:
    code = f"{ANOTHER_PROCESS}\ntry: import fast\nexcept ImportError: pass\ncreates('{path}')"
    assert observe(root, code).changed == str(root / path)


def test_a_file_that_was_there(root: Path) -> None:
    code = f"{ANOTHER_PROCESS}\nassert os.path.exists('flag')\nlibc.unlink(b'flag')"
    assert observe(root, code).changed == str(root / "flag")


def test_a_file_that_was_not_there(root: Path) -> None:
    code = f"{ANOTHER_PROCESS}\nassert not os.path.exists('other')\ncreates('other')"
    assert observe(root, code).changed == str(root / "other")


OWN = {
    "a file made under another name": """
        if not os.path.exists("made"):
            open("making", "w").close()
            os.replace("making", "made")
        """,
    "a folder": "os.path.exists('made') or os.mkdir('made')",
    "a folder that somebody fills": "os.mkdir('made'); assert not os.path.exists('made/file'); creates('made/file')",
    "a folder for a while": """
        import tempfile
        with tempfile.TemporaryDirectory(dir=".") as folder:
            creates(folder + "/file")
            assert os.path.exists(folder + "/file")
        """,
}


@pytest.mark.parametrize("code", OWN.values(), ids=OWN)
def test_a_file_that_the_stage_itself_writes_is_no_change(root: Path, code: str) -> None:
    assert observe(root, f"{ANOTHER_PROCESS}\n{textwrap.dedent(code)}").changed is None


def test_an_older_module_that_was_not_imported_is_no_change(root: Path) -> None:
    (root / "lib").mkdir()
    (root / "lib/helper.py").write_text("x = 2")
    code = "import helper, sys; sys.path.insert(0, 'lib'); VALUE = helper.x"
    seen = observe(root, code, before="import time; time.sleep(0.2)")
    assert (seen.changed, seen.value) == (None, 1)


def test_a_folder_that_was_listed_although_a_file_in_it_was_opened_for_update(root: Path) -> None:
    code = f"{ANOTHER_PROCESS}\nopen('flag', 'r+').read()\nos.listdir('.')\ncreates('other')"
    assert observe(root, code).changed == str(root)
