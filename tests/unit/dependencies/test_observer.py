"""The observer: it records all that model code uses and nothing else, and reports what it can't see."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from batchexport.core.digests import bytes_digest, listing_digest, text_digest, tree_digest
from support.observing import Seen, observe

pytestmark = pytest.mark.process
EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(root: Path, files: dict[str, str]) -> None:
    """Files of the project by name."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def extension() -> Path:
    """An extension module of Python itself, which works in any folder."""
    built = next(Path(os.__file__).with_name("lib-dynload").glob(f"_bisect*{EXTENSION}"), None)
    if built is None:
        pytest.skip("the modules of this Python are built in")
    return built


# ── files ────────────────────────────────────────────────────────────────────────────────────────

READERS = {
    "open": 'open("data.txt").read()',
    "open by absolute path": 'open(__file__.replace("model.py", "data.txt")).read()',
    "open by another way round": 'open("sub/../data.txt").read()',
    "bytes": 'open("data.txt", "rb").read()',
    "Path": 'from pathlib import Path; Path("data.txt").read_text()',
    "os.open": 'import os; os.read(os.open("data.txt", os.O_RDONLY), 9)',
    "os.open of a path": 'import os, pathlib; os.read(os.open(pathlib.Path("data.txt"), os.O_RDONLY), 9)',
    "a name in bytes": 'open(b"data.txt").read()',
    "reading and writing": 'open("data.txt", "r+").read()',
    "appending and reading": 'open("data.txt", "a+").read()',
    "a mapping": 'import mmap; f = open("data.txt", "r+b"); mmap.mmap(f.fileno(), 0)[:]',
    "numpy": 'import numpy; numpy.memmap("data.txt", dtype="uint8")[:].sum()',
    "from another folder": 'import os; os.chdir("sub"); open("../data.txt").read()',
    "in a pool of threads": 'from concurrent.futures import *; ThreadPoolExecutor().submit(open, "data.txt").result()',
    "in a thread": 'import threading as t; x = t.Thread(target=lambda: open("data.txt").read()); x.start(); x.join()',
    "a library of Python": 'import linecache, configparser; configparser.ConfigParser().read("data.txt")',
}


@pytest.mark.parametrize("code", READERS.values(), ids=READERS)
def test_a_file_that_was_read_counts_with_its_bytes(root: Path, code: str) -> None:
    write(root, {"data.txt": "[a]", "sub/x": ""})
    seen = observe(root, code)
    assert seen.of("file") == {"data.txt": bytes_digest(b"[a]")}
    assert seen.uncacheable == []


def test_a_file_outside_of_the_root_counts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "far.txt").write_text("far")
    seen = observe(root, f'open("{tmp_path}/far.txt").read()')
    assert seen.of("file") == {str(tmp_path / "far.txt"): bytes_digest(b"far")}


def test_a_file_behind_a_link_counts_under_the_name_of_the_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "far.txt").write_text("far")
    (root / "link.txt").symlink_to("../far.txt")
    assert observe(root, 'open("link.txt").read()').of("file") == {"link.txt": bytes_digest(b"far")}


def test_a_declared_file_counts_although_it_is_not_read(root: Path) -> None:
    write(root, {"tokenizer.json": "{}"})
    seen = observe(root, "", declared=[("tokenizer.json", False), ("missing.json", False)])
    assert seen.of("file") == {"tokenizer.json": bytes_digest(b"{}")}
    assert "missing.json" in seen.of("absent")


def test_weights_are_a_kind_of_their_own(root: Path) -> None:
    write(root, {"w.bin": "w"})
    seen = observe(root, "", declared=[("w.bin", True)])
    assert seen.of("weights") == {"w.bin": bytes_digest(b"w")}
    assert seen.of("file") == {}


def test_weights_that_model_code_reads_for_itself_are_more_than_weights(root: Path) -> None:
    write(root, {"w.bin": "w"})
    seen = observe(root, 'import json, tokenize; tokenize.open("w.bin").read()', declared=[("w.bin", True)])
    assert seen.of("file") == {"w.bin": bytes_digest(b"w")}
    assert seen.of("weights") == {}


@pytest.mark.parametrize("how", ["safetensors.safe_open", "safetensors.numpy.load_file"])
@pytest.mark.parametrize("before", ["", "import safetensors.numpy"], ids=["fresh", "preloaded"])
def test_a_file_that_safetensors_reads_counts(root: Path, how: str, before: str) -> None:
    save_file({"a": np.ones(2)}, root / "w.safetensors")
    last = '"w.safetensors", "np"' if how.endswith("safe_open") else 'filename="w.safetensors"'
    seen = observe(root, f"import safetensors, safetensors.numpy\n{how}({last})", before=before)
    assert seen.of("file") == {"w.safetensors": bytes_digest((root / "w.safetensors").read_bytes())}


def test_a_file_that_torch_reads_in_native_code_counts(root: Path, tmp_path: Path) -> None:
    native = {"export/__init__.py": "load", "jit/__init__.py": "load", "jit/_serialization.py": "load"}
    files = {name: f"def {function}(f, **more): return 1" for name, function in native.items()}
    files["jit/__init__.py"] = "from torch.jit._serialization import load"
    files["__init__.py"] = "def from_file(filename): return 1"
    write(tmp_path / "site-packages" / "torch", files)
    write(root, {"a.pt2": "a", "b.pt": "b", "c.bin": "c"})
    code = """
        import io, torch
        from torch.jit._serialization import load
        torch.export.load("a.pt2"); load(f="b.pt"); torch.from_file("c.bin"); torch.export.load(io.BytesIO())
        """
    path = [tmp_path / "site-packages"]
    seen = observe(root, code, path=path, before="import torch.export, torch.jit")
    assert seen.of("file").keys() >= {"a.pt2", "b.pt", "c.bin"}


def test_a_file_in_an_ignored_folder_does_not_count(root: Path, tmp_path: Path) -> None:
    write(root, {"dist/a.txt": "a", "data.txt": "d"})
    write(tmp_path / "cache/v1", {"x": "x"})
    code = f"""
        import os, safetensors
        open("dist/a.txt").read(); open("data.txt").read(); open("{tmp_path}/cache/v1/x").read()
        os.listdir("dist"); os.path.exists("dist/none"); os.path.exists("dist/a.txt")
        """
    seen = observe(root, code, ignored=[root / "dist", tmp_path / "cache/v1"])
    assert seen.all() - set(seen.of("distribution")) == {"model.py", "data.txt"}
    assert not any("dist" in path or "cache" in path for path in seen.of("absent"))


def test_files_of_python_do_not_count(root: Path) -> None:
    seen = observe(root, "import json; open(json.__file__).read()")
    assert seen.of("file") == {}
    assert seen.of("source").keys() == {"model.py"}


def test_a_file_of_the_system_counts_if_model_code_reads_it(root: Path) -> None:
    assert observe(root, 'open("/etc/hosts").read()').of("file").keys() == {"/etc/hosts"}


def test_model_code_that_reads_the_state_of_the_machine_is_uncacheable(root: Path) -> None:
    seen = observe(root, 'open("/proc/meminfo").read()')
    assert seen.uncacheable == ["model code reads the state of the machine from /proc/meminfo"]


def test_a_file_that_was_written_first_does_not_count(root: Path) -> None:
    code = """
        import os, tempfile
        open("temp.txt", "w").write("x"); open("temp.txt").read(); os.remove("temp.txt")
        open("kept.txt", "w").write("x"); open("kept.txt").read(); open("log.txt", "a").write("x")
        with tempfile.NamedTemporaryFile("w+") as file: file.write("x"); file.seek(0); open(file.name).read()
        """
    seen = observe(root, code)
    assert seen.of("file") == {}
    assert seen.changed is None
    assert seen.uncacheable == []


def test_a_file_that_was_probed_and_then_written_counts_with_its_new_bytes(root: Path) -> None:
    code = """
        import os
        if not os.path.exists("made.txt"): open("made.txt", "w").write("made")
        VALUE = open("made.txt").read()
        """
    seen = observe(root, code)
    assert seen.of("file") == {"made.txt": bytes_digest(b"made")}
    assert seen.of("file") == observe(root, code).of("file"), "the next run sees the same"


@pytest.mark.parametrize("mode", ["w", "r+", "a"])
def test_a_file_that_is_read_and_then_written_makes_the_job_uncacheable(root: Path, mode: str) -> None:
    write(root, {"count.txt": "1"})
    seen = observe(root, f'open("count.txt").read(); open("count.txt", "{mode}").write("2")')
    assert seen.uncacheable == [f"{root}/count.txt is read and then written"]
    assert seen.changed is None


CHANGES = {
    "edited": 'os.truncate("data.txt", 2)',
    "replaced": 'os.replace("other.txt", "data.txt")',
    "removed": 'os.remove("data.txt")',
    "touched": 'os.utime("data.txt", (1, 1))',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("declared", [False, True], ids=["read", "declared"])
def test_a_file_that_changes_meanwhile_is_reported(root: Path, change: str, declared: bool) -> None:
    write(root, {"data.txt": "data", "other.txt": "data"})
    read = "" if declared else 'open("data.txt").read()\n'
    seen = observe(root, f"import os\n{read}{change}", declared=[("data.txt", False)] if declared else [])
    assert seen.changed == str(root / "data.txt")


def test_a_module_that_changes_meanwhile_is_reported(root: Path) -> None:
    write(root, {"helper.py": "x = 1"})
    assert observe(root, 'import helper, os; os.truncate("helper.py", 3)').changed == str(root / "helper.py")


def test_a_module_that_is_touched_meanwhile_is_the_same_module(root: Path) -> None:
    write(root, {"helper.py": "x = 1"})
    assert observe(root, 'import helper, os; os.utime("helper.py", (1, 1))').changed is None


# ── what is there and what is not ────────────────────────────────────────────────────────────────

ASKS = {
    "os.path.exists": 'os.path.exists("{}")',
    "os.path.isfile": 'os.path.isfile("{}")',
    "os.path.lexists": 'os.path.lexists("{}")',
    "os.stat": 'contextlib.suppress(OSError).__enter__() or stat("{}")',
    "os.access": 'os.access("{}", os.R_OK)',
    "Path.exists": 'Path("{}").exists()',
    "Path.is_file": 'Path("{}").is_file()',
    "a name in bytes": 'os.path.exists(b"{}")',
    "a pool of threads": 'futures.ThreadPoolExecutor().submit(os.path.exists, "{}").result()',
    "glob": 'glob.glob("{}")',
    "Path.resolve": 'Path("{}").resolve()',
}
ASKING = """
import contextlib, glob, os
from concurrent import futures
from pathlib import Path

def stat(path):
    with contextlib.suppress(OSError):
        os.stat(path)

"""


@pytest.mark.parametrize("code", ASKS.values(), ids=ASKS)
def test_a_probed_path_that_is_absent_may_not_appear(root: Path, code: str) -> None:
    assert "flag" in observe(root, ASKING + code.format("flag")).of("absent")


@pytest.mark.parametrize("code", ASKS.values(), ids=ASKS)
def test_a_probed_path_that_is_present_may_not_vanish(root: Path, code: str) -> None:
    write(root, {"flag": "f"})
    seen = observe(root, ASKING + code.format("flag"))
    assert (seen.of("present") | seen.of("stat")).keys() == {"flag"}


def test_a_file_that_could_not_be_opened_may_not_appear(root: Path) -> None:
    code = """
        try: open("override.json")
        except FileNotFoundError: pass
        """
    assert "override.json" in observe(root, code).of("absent")


def test_a_file_that_is_read_is_not_recorded_as_present_too(root: Path) -> None:
    write(root, {"data.txt": "d"})
    seen = observe(root, 'import os; os.path.exists("data.txt"); open("data.txt").read()')
    assert seen.of("present") == {}
    assert seen.of("file").keys() == {"data.txt"}


def test_the_folders_above_a_file_are_not_recorded_as_present(root: Path) -> None:
    seen = observe(root, 'import os; os.makedirs("out", exist_ok=True); os.path.isdir("."); os.path.exists("/")')
    assert seen.of("present") == {}


def test_a_link_is_still_copied_as_a_link(root: Path) -> None:
    write(root, {"tree/data.txt": "d"})
    (root / "tree/link").symlink_to("data.txt")
    code = 'import os, shutil; shutil.copytree("tree", "copy", symlinks=True); VALUE = os.readlink("copy/link")'
    assert observe(root, code).value == "data.txt"


LISTERS = {
    "os.listdir": 'os.listdir("plugins")',
    "os.listdir of a path": 'os.listdir(Path("plugins"))',
    "os.listdir in bytes": 'os.listdir(b"plugins")',
    "os.listdir of a descriptor": 'os.listdir(os.open("plugins", os.O_RDONLY))',
    "os.scandir": 'list(os.scandir("plugins"))',
    "os.walk": 'list(os.walk("plugins"))',
    "glob": 'glob.glob("plugins/*.py")',
    "glob below a folder": 'glob.glob("*", root_dir="plugins")',
    "Path.iterdir": 'list(Path("plugins").iterdir())',
    "Path.glob": 'list(Path("plugins").glob("*"))',
    "pkgutil": 'import pkgutil; list(pkgutil.iter_modules(["plugins"]))',
    "the working folder": 'os.chdir("plugins"); os.listdir()',
    "the working folder, scanned": 'os.chdir("plugins"); list(os.scandir())',
}


@pytest.mark.parametrize("code", LISTERS.values(), ids=LISTERS)
def test_a_folder_that_was_listed_counts_with_its_names(root: Path, code: str) -> None:
    write(root, {"plugins/a.py": "", "plugins/b.txt": ""})
    seen = observe(root, f"import glob, os\nfrom pathlib import Path\n{code}")
    assert seen.of("listing") == {"plugins": listing_digest(str(root / "plugins"))}


def test_a_folder_that_could_not_be_listed_may_not_appear(root: Path) -> None:
    code = """
        import os
        try: os.listdir("plugins")
        except FileNotFoundError: pass
        """
    seen = observe(root, code)
    assert "plugins" in seen.of("absent")
    assert seen.of("listing") == {}


def test_imports_and_queries_of_installed_distributions_record_no_listing(root: Path) -> None:
    write(root, {"models/__init__.py": "", "models/bert.py": ""})
    code = 'import models.bert, importlib.metadata; importlib.metadata.version("numpy")'
    assert observe(root, code).of("listing") == {}


# ── modules ──────────────────────────────────────────────────────────────────────────────────────


def test_a_module_counts_with_its_bytes_and_its_tree(root: Path) -> None:
    seen = observe(root, "x = 1  # one")
    source = (root / "model.py").read_bytes()
    assert seen.found[[row[0] for row in seen.found].index("source")] == [
        "source", "model.py", bytes_digest(source), tree_digest(source),
    ]  # fmt: skip
    assert seen.of("file") == {}


def test_a_helper_two_imports_away_that_is_loaded_late_counts(root: Path) -> None:
    write(root, {"near.py": "def go():\n    from deep import far\n    return far.VALUE", "unused.py": ""})
    write(root, {"deep/__init__.py": "", "deep/far.py": "VALUE = 7"})
    seen = observe(root, "import near\nVALUE = near.go()")
    assert seen.value == 7
    assert seen.of("source").keys() == {"model.py", "near.py", "deep/__init__.py", "deep/far.py"}


def test_a_module_from_another_folder_of_the_path_counts(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "src", {"helper.py": "x = 1"})
    seen = observe(root, "import helper", path=[tmp_path / "src"])
    assert str(tmp_path / "src/helper.py") in seen.of("source")
    assert {"helper.py", "helper/__init__.py", f"helper{EXTENSION}"} <= seen.of("absent").keys()


def test_a_module_that_was_read_as_data_counts_with_its_bytes_too(root: Path) -> None:
    write(root, {"helper.py": "x = 1"})
    for code in ('open("helper.py").read()\nimport helper', 'import helper\nopen("helper.py").read()'):
        seen = observe(root, code)
        assert "helper.py" in seen.of("source")
        assert seen.of("file") == {"helper.py": bytes_digest(b"x = 1")}


def test_a_module_whose_source_a_traceback_shows_does_not_count_with_its_bytes(root: Path) -> None:
    code = """
        import traceback, inspect
        try: 1 / 0
        except ZeroDivisionError: VALUE = traceback.format_exc()
        """
    seen = observe(root, code)
    assert "1 / 0" in seen.value
    assert seen.of("file") == {}


def test_the_present_source_runs_and_never_a_stale_pyc(root: Path) -> None:
    path = root / "helper.py"
    path.write_text("VALUE = 1")
    then = path.stat()
    before = "sys.dont_write_bytecode = False; import helper; del sys.modules['helper']"
    assert observe(root, "import helper\nVALUE = helper.VALUE", before=before).value == 1
    assert list((root / "__pycache__").glob("helper.*.pyc"))
    path.write_text("VALUE = 2")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    seen = observe(root, "import helper\nVALUE = helper.VALUE")
    assert seen.value == 2
    assert seen.of("source")["helper.py"] == bytes_digest(b"VALUE = 2")
    assert not any("__pycache__" in path for path in seen.all())


def test_a_module_that_can_not_be_imported_may_not_become_importable(root: Path) -> None:
    code = """
        import importlib.util
        try: import accelerator
        except ImportError: pass
        importlib.util.find_spec("other_accelerator")
        try: import xml.none
        except ImportError: pass
        """
    assert {"accelerator", "other_accelerator"} <= observe(root, code).of("no-module").keys()
    assert not {"xml", "xml.none", "model"} & observe(root, code).of("no-module").keys()


def test_a_submodule_that_is_missing_may_not_appear_in_any_form(root: Path) -> None:
    write(root, {"models/__init__.py": "try:\n    from models import _fast\nexcept ImportError:\n    pass"})
    absent = observe(root, "import models").of("absent")
    assert {"models/_fast", "models/_fast.py", f"models/_fast{EXTENSION}", "models/_fast.so"} <= absent.keys()


def test_a_module_may_not_be_shadowed(root: Path) -> None:
    write(root, {"helper.py": "", "models/__init__.py": "", "models/bert.py": ""})
    absent = observe(root, "import helper, models.bert").of("absent").keys()
    assert {"helper/__init__.py", f"helper{EXTENSION}", "models/bert/__init__.py", "models/bert.so"} <= absent
    assert not {"helper.py", "models/__init__.py"} & absent


def test_an_installed_module_may_not_be_shadowed_by_a_file_of_the_project(root: Path) -> None:
    seen = observe(root, "import diskcache, colorsys, xml.dom")
    modules = seen.of("modules")
    assert modules["diskcache"] == "diskcache"
    assert {"colorsys", "xml"} <= set(modules[""].split())
    assert "diskcache" in seen.of("distribution")


def test_a_module_that_model_code_looks_for_in_a_folder_of_its_own_may_not_appear_there(
    root: Path, tmp_path: Path
) -> None:
    code = f"""
        import sys
        sys.path.append("{tmp_path}/extras")
        try: import extra
        except ImportError: pass
        """
    absent = observe(root, code).of("absent")
    assert {f"{tmp_path}/extras/extra.py", f"{tmp_path}/extras/extra"} <= absent.keys()


def test_a_namespace_package_may_not_become_another(root: Path) -> None:
    write(root, {"models/bert.py": "VALUE = 3", "models/deep/far.py": ""})
    seen = observe(root, "import models.bert, models.deep.far\nVALUE = models.bert.VALUE")
    assert seen.value == 3
    assert {"model.py", "models/bert.py", "models/deep/far.py"} == seen.of("source").keys()
    expected = {"models.py", "models/__init__.py", "models/deep.py", "models/deep/__init__.py", f"models{EXTENSION}"}
    assert expected <= seen.of("absent").keys()
    assert seen.of("namespace") == {"models": None}


def test_an_extension_module_counts_with_its_bytes(root: Path, extension: Path) -> None:
    shutil.copy(extension, root / f"_bisect{EXTENSION}")
    seen = observe(root, "import sys\nsys.modules.pop('_bisect', None)\nimport _bisect\nVALUE = _bisect.__file__")
    assert seen.value == str(root / f"_bisect{EXTENSION}")
    assert seen.of("file") == {f"_bisect{EXTENSION}": bytes_digest(extension.read_bytes())}


def test_an_extension_module_that_is_replaced_meanwhile_is_reported(root: Path, extension: Path) -> None:
    name = f"_bisect{EXTENSION}"
    shutil.copy(extension, root / name)
    write(root, {"other": "x"})
    code = f"import os, sys\nsys.modules.pop('_bisect', None)\nimport _bisect\nos.replace('other', '{name}')"
    assert observe(root, code).changed == str(root / name)


def test_a_library_that_is_loaded_counts_with_its_bytes(root: Path) -> None:
    write(root, {"libops.so": "no library"})
    code = """
        import ctypes, pathlib
        for name in ("./libops.so", pathlib.Path("libops.so").resolve(), "libm.so.6"):
            try: ctypes.CDLL(name)
            except OSError: pass
        """
    seen = observe(root, code)
    assert seen.of("file") == {"libops.so": bytes_digest(b"no library")}
    assert not any("libm" in path for path in seen.of("absent"))


def test_a_database_counts_with_its_bytes(root: Path) -> None:
    made = "import sqlite3; c = sqlite3.connect('data.db'); c.execute('create table t (x)'); c.commit(); c.close()"
    read = 'import sqlite3\nVALUE = len(sqlite3.connect("data.db").execute("select * from t").fetchall())'
    seen = observe(root, read, before=made)
    assert seen.value == 0
    assert seen.of("file").keys() == {"data.db"}
    assert observe(root, 'import sqlite3; sqlite3.connect(":memory:")').of("file") == {}


def test_an_installed_distribution_counts_once_whatever_is_imported_of_it(root: Path) -> None:
    seen = observe(root, "import diskcache, diskcache.core")
    assert [row for row in seen.found if row[:2] == ["distribution", "diskcache"]] == [
        next(row for row in seen.found if row[1] == "diskcache")
    ]
    assert not any("site-packages" in subject for subject in seen.all())


def test_data_of_a_distribution_that_is_not_imported_counts_by_its_distribution(root: Path) -> None:
    site = Path(sysconfig.get_paths()["purelib"])
    data = next(site.glob("mpmath/**/py.typed"), None) or next(site.glob("pytest/py.typed"))
    seen = observe(root, f'open("{data}").read()')
    assert data.relative_to(site).parts[0] in seen.of("distribution")


def test_a_module_imported_before_the_observer_counts_the_same(root: Path) -> None:
    late = observe(root, "import diskcache")
    early = observe(root, "import diskcache", before="import diskcache")
    assert late.of("distribution") == early.of("distribution")


def test_entries_of_sys_modules_that_are_no_modules_are_skipped(root: Path) -> None:
    code = """
        import sys, types
        sys.modules["blocked"] = None
        sys.modules["thing"] = object()
        sys.modules["a_class"] = type("C", (), {"__file__": 3})
        class Lazy(types.ModuleType):
            def __getattr__(self, name): raise RuntimeError(name)
        sys.modules["lazy"] = Lazy("lazy")
        VALUE = 1
        """
    assert observe(root, code).value == 1


def test_model_code_that_was_edited_after_it_was_loaded_makes_the_job_uncacheable(root: Path) -> None:
    write(root, {"helper.py": "x = 1"})
    before = "import time, helper\nfrom batchexport.dependencies import collect\ncollect._SINCE = time.time_ns()"
    untouched = observe(root, "import helper", before=before)
    assert untouched.uncacheable == []
    assert "helper.py" in untouched.of("file")
    edited = observe(root, "import helper, os, time; time.sleep(0.1); os.utime('helper.py')", before=before)
    assert edited.uncacheable == [f"{root}/helper.py was edited after this process had loaded it"]


# ── the environment ──────────────────────────────────────────────────────────────────────────────

VARIABLES = {
    "environ": 'os.environ["FLAG"]',
    "get": 'os.environ.get("FLAG")',
    "getenv": 'os.getenv("FLAG", "other")',
    "in": '"FLAG" in os.environ',
    "setdefault": 'os.environ.setdefault("FLAG", "other")',
    "pop": 'os.environ.pop("FLAG", None)',
    "expandvars": 'os.path.expandvars("$FLAG")',
    "bytes": 'os.environb.get(b"FLAG")',
    "getenvb": 'os.getenvb(b"FLAG")',
    "copy": "os.environ.copy()",
}


@pytest.mark.parametrize("code", VARIABLES.values(), ids=VARIABLES)
def test_a_variable_that_model_code_reads_counts_with_its_value(root: Path, code: str) -> None:
    seen = observe(root, f"import os\n{code}", env={"FLAG": "on"})
    assert seen.of("environment")["FLAG"] == text_digest("on")


@pytest.mark.parametrize("code", [code for name, code in VARIABLES.items() if name != "copy"])
def test_an_unset_variable_that_model_code_reads_counts_as_unset(root: Path, code: str) -> None:
    seen = observe(root, f"import contextlib, os\nwith contextlib.suppress(KeyError): {code}")
    assert seen.of("environment") == {"FLAG": None}


def test_a_variable_that_a_library_of_the_model_reads_counts(root: Path) -> None:
    assert "NO_COLOR" in observe(root, "import rich.console; rich.console.Console()").of("environment")


def test_variables_that_python_torch_and_this_package_read_do_not_count(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "site-packages", {"torch/__init__.py": "import os\nos.environ.get('OF_TORCH')"})
    modules = "torch, subprocess, webbrowser, getpass"
    code = f"import {modules}; from batchexport.planning import session; VALUE = torch.__file__"
    seen = observe(root, code, path=[tmp_path / "site-packages"])
    assert "OF_TORCH" not in seen.of("environment")
    assert "BATCHEXPORT_CACHE_DIR" not in seen.of("environment")


def test_the_variables_of_the_entry_and_of_the_terminal_do_not_count(root: Path) -> None:
    code = 'import os\n[os.environ.get(name) for name in ("OWN", "TERM", "TMPDIR", "PWD", "OTHER")]'
    assert observe(root, code, own=["OWN"], env={"OWN": "1"}).of("environment") == {"OTHER": None}


def test_home_and_path_count_only_if_model_code_itself_reads_them(root: Path) -> None:
    library = "import safetensors\n"
    library += "code = compile('import os; os.environ.get(\\'HOME\\')', safetensors.__file__, 'exec'); exec(code)"
    assert observe(root, library).of("environment") == {}
    asked = observe(root, 'import os; os.environ["PATH"]; os.path.expanduser("~/x")').of("environment")
    assert asked.keys() == {"HOME", "PATH"}


def test_a_variable_that_model_code_itself_has_set_does_not_count(root: Path) -> None:
    write(root, {"library.py": 'import os\nVALUE = os.environ["HF_HUB_OFFLINE"]\nos.environ.get("GONE")'})
    code = """
        import os
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ.update(GONE="1")
        del os.environ["GONE"]
        from library import VALUE
        """
    seen = observe(root, code, env={"GONE": "x"})
    assert seen.value == "1"
    assert seen.of("environment") == {}


def test_a_variable_that_was_read_before_it_was_set_counts_as_it_was(root: Path) -> None:
    code = 'import os\nos.environ["FLAG"] = os.environ.get("FLAG", "") + "x"\nVALUE = os.environ["FLAG"]'
    seen = observe(root, code, env={"FLAG": "on"})
    assert seen.value == "onx"
    assert seen.of("environment") == {"FLAG": text_digest("on")}


# ── uncacheable ──────────────────────────────────────────────────────────────────────────────────

PROGRAM = "model code runs another program"
UNSEEN = {
    'subprocess.run(["true"])': PROGRAM,
    'os.system("true")': PROGRAM,
    'os.popen("true").read()': PROGRAM,
    'os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)': PROGRAM,
    "os.waitpid(os.fork() or os._exit(0), 0)": "it forks a process whose reads can't be tracked",
    "fork(print)": "it forks a process whose reads can't be tracked",
    'connect(("127.0.0.1", 9))': "the network is read",
}


@pytest.mark.parametrize(("code", "reason"), UNSEEN.items(), ids=UNSEEN)
def test_a_read_that_can_not_be_observed_makes_the_job_uncacheable(root: Path, code: str, reason: str) -> None:
    tools = """
import multiprocessing, socket

def fork(work):
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()

def connect(address):
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.connect_ex(address)
"""
    write(root, {"tools.py": tools})
    seen = observe(root, f"import os, subprocess\nfrom tools import connect, fork\n{code}")
    assert seen.uncacheable == [reason]


def test_a_program_that_python_itself_runs_is_ignored(root: Path) -> None:
    write(root, {"helper.py": ""})
    before = "import platform, subprocess"
    assert observe(root, "import helper", before=before).uncacheable == []


def test_a_socket_between_processes_of_this_machine_is_no_network(root: Path, tmp_path: Path) -> None:
    code = f"""
        import socket
        server = socket.socket(socket.AF_UNIX); server.bind("{tmp_path}/s"); server.listen()
        socket.socket(socket.AF_UNIX).connect("{tmp_path}/s")
        """
    assert observe(root, code).uncacheable == []


# ── the whole ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_code_gives_the_same_dependencies_every_time(root: Path) -> None:
    write(root, {"helper.py": "", "data.txt": "d", "plugins/a": ""})
    code = 'import helper, os, diskcache; open("data.txt").read(); os.listdir("plugins"); os.getenv("FLAG")'
    found = [observe(root, code, seed=seed).found for seed in ("0", "1")]
    assert found[0] == found[1]
    assert found[0] == sorted(found[0], key=lambda row: [str(part) for part in row])


def test_an_error_of_the_model_stays_the_error_of_the_model(root: Path) -> None:
    code = """
        import os
        told = []
        for work, given in (open, "a\\0b"), (os.stat, 3.5), (os.listdir, "none"), (os.environ.__getitem__, "NONE"):
            try: work(given)
            except Exception as error: told.append(type(error).__name__)
        VALUE = told
        """
    seen: Seen = observe(root, code)
    assert seen.value == ["ValueError", "TypeError", "FileNotFoundError", "KeyError"]


def test_the_wrapped_stat_and_access_behave_as_before(root: Path) -> None:
    write(root, {"data.txt": "four", "sub/x": ""})
    code = """
        import os
        here = os.open(".", os.O_RDONLY)
        VALUE: list = [
            os.stat("data.txt").st_size, os.stat("data.txt", dir_fd=here).st_size, os.stat(here).st_nlink > 0,
            os.lstat("data.txt", dir_fd=here).st_size, os.access("data.txt", os.R_OK, dir_fd=here),
            os.access("data.txt", os.R_OK), os.access("none", os.R_OK), os.path.isdir("sub"),
            os.stat in os.supports_dir_fd, os.stat in os.supports_fd, os.stat in os.supports_follow_symlinks,
        ]
        """
    expected: list[Any] = [4, 4, True, 4, True, True, False, True, True, True, True]
    assert observe(root, code).value == expected
