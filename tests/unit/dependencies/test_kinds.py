"""What a model can depend on, by kind: build, change one thing, and ask whether the build is still right.

Most kinds come from reports about other caches. Each has several members, so that a kind is covered and not one call.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchexport.dependencies import machine
from batchexport.dependencies.checker import DependencyChecker, relative_to
from batchexport.dependencies.dependency import Dependency
from batchexport.store.store import Store
from batchexport.toolchain import probe
from support.observing import Seen, observe

pytestmark = pytest.mark.process


@dataclass
class Project:
    """A project in `root` and what is around it."""

    root: Path
    patch: pytest.MonkeyPatch
    output: Path
    cache: Path
    entries: list[Path]

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def link(self, name: str, target: str) -> None:
        (self.root / name).unlink(missing_ok=True)
        (self.root / name).symlink_to(target)

    def path(self) -> list[str]:
        return [*map(str, self.entries), *probe.import_path()]

    def build(self, code: str) -> Seen:
        return observe(self.root, code, output=self.output, cache=self.cache, path=self.entries)

    def changes(self, seen: Seen) -> list[str]:
        """What a later command says has changed."""
        assert seen.changed is None
        found = [
            Dependency.from_row([kind, str(self.root / subject) if kind in _PATHS else subject, *rest])
            for kind, subject, *rest in seen.found
        ]
        rows = [one.to_row() for one in relative_to(str(self.root), found, self.path())]
        with Store.open(self.cache) as store:
            checker = DependencyChecker(
                root=str(self.root),
                path=self.path(),
                index=store.index,
                output_dir=str(self.output),
                cache=str(self.cache),
            )
            return checker.change_reasons(rows)


_PATHS = {"source", "file", "weights", "unreadable", "listing", "kinds", "present", "absent", "stat", "access", "link"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    return Project(root=root, patch=monkeypatch, output=root / "artifacts", cache=tmp_path / "cache", entries=[])


Act = Callable[[Project], Any]


@dataclass(frozen=True)
class Case:
    """Model code, what is there when it is built, and a change after which the build is stale."""

    code: str
    before: Act
    change: Act


def older(name: str, seconds: int) -> Act:
    def act(project: Project) -> None:
        then = time.time() - seconds
        os.utime(project.root / name, (then, then))

    return act


def both(*acts: Act) -> Act:
    return lambda project: [act(project) for act in acts]


def files(*names: str, text: str = "{}") -> Act:
    return lambda project: [project.write(name, text) for name in names]


def table(name: str, value: int, *, mode: str = "") -> Act:
    def act(project: Project) -> None:
        connection = sqlite3.connect(project.root / name)
        if mode:
            connection.execute(f"pragma journal_mode={mode}")
        connection.execute("drop table if exists t")
        connection.execute("create table t (h)")
        connection.execute(f"insert into t values ({value})")
        connection.commit()
        connection.close()

    return act


LINKED = both(files("v1/c.json", "v2/c.json"), lambda p: p.link("latest", "v1"))
RELINK: Act = lambda p: p.link("latest", "v2")  # noqa: E731
DANGLING: Act = lambda p: p.link("t.json", "store/t.json")  # noqa: E731
CREATE = files("store/t.json")
CHECKPOINTS = both(files("ckpt/a.json", "ckpt/b.json"), older("ckpt/a.json", 900), older("ckpt/b.json", 100))


def env(name: str, value: str | None) -> Act:
    return lambda p: p.patch.delenv(name, raising=False) if value is None else p.patch.setenv(name, value)


def nothing(project: Project) -> None:
    pass


def ahead(project: Project) -> None:
    """A folder that comes first on the import path from now on."""
    folder = project.root.parent / "ahead"
    folder.mkdir(exist_ok=True)
    project.entries.insert(0, folder)


def module_ahead(name: str, *, package: bool = False) -> Act:
    def act(project: Project) -> None:
        ahead(project)
        file = project.entries[0] / (f"{name}/__init__.py" if package else f"{name}.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text("H = 16")

    return act


def distribution(name: str, version: str, *, entry_points: str = "") -> Act:
    """Install a distribution of nothing but metadata in a folder of the import path."""

    def act(project: Project) -> None:
        site = project.root.parent / "site-packages"
        site.mkdir(exist_ok=True)
        if site not in project.entries:
            project.entries.append(site)
        for old in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{name}.py,sha256={version},1\n")
        if entry_points:
            (info / "entry_points.txt").write_text(entry_points)

    return act


def host(name: str) -> Act:
    def act(project: Project) -> None:
        project.patch.setitem(machine.QUESTIONS, "host", lambda: name)  # type: ignore[misc]

    return act


def cores(project: Project) -> None:
    project.patch.setitem(machine.QUESTIONS, "cores", lambda: "3 [0, 1, 2]")  # type: ignore[misc]


def user(project: Project) -> None:
    project.patch.setitem(machine.QUESTIONS, "user", lambda: "someone else")  # type: ignore[misc]


CASES = {
    # 1: the way to a file
    "link, Path.resolve": Case(
        'from pathlib import Path; open(Path("latest").resolve() / "c.json").read()', LINKED, RELINK
    ),
    "link, realpath": Case('import os; open(os.path.realpath("latest/c.json")).read()', LINKED, RELINK),
    "link, readlink": Case('import os; open(os.readlink("latest") + "/c.json").read()', LINKED, RELINK),
    "link, Path.readlink": Case('from pathlib import Path; Path("latest").readlink()', LINKED, RELINK),
    "link, strict resolve": Case('from pathlib import Path; Path("latest").resolve(strict=True)', LINKED, RELINK),
    "link, readlink by descriptor": Case(
        'import os; fd = os.open(".", os.O_RDONLY); os.readlink("latest", dir_fd=fd)', LINKED, RELINK
    ),
    "link, samefile": Case('import os; os.path.samefile("latest", "v1")', LINKED, RELINK),
    "link, islink": Case(
        'import os; os.path.islink("latest")',
        LINKED,
        lambda p: [(p.root / "latest").unlink(), p.write("latest/c.json")],
    ),
    "dangling, exists": Case('import os; os.path.exists("t.json")', DANGLING, CREATE),
    "dangling, isfile": Case('import os; os.path.isfile("t.json")', DANGLING, CREATE),
    "dangling, Path.exists": Case('from pathlib import Path; Path("t.json").exists()', DANGLING, CREATE),
    "dangling, open": Case("try: open('t.json')\nexcept OSError: pass", DANGLING, CREATE),
    "dangling, access": Case('import os; os.access("t.json", os.R_OK)', DANGLING, CREATE),
    "link whose target vanishes": Case(
        'import os; os.path.exists("t.json")', both(DANGLING, CREATE), lambda p: (p.root / "store/t.json").unlink()
    ),
    # 2: the values of a stat
    "newest by getmtime": Case(
        'import glob, os; max(glob.glob("ckpt/*.json"), key=os.path.getmtime)', CHECKPOINTS, older("ckpt/a.json", 1)
    ),
    "newest by Path.stat": Case(
        'from pathlib import Path; max(Path("ckpt").iterdir(), key=lambda p: p.stat().st_mtime)',
        CHECKPOINTS,
        older("ckpt/a.json", 1),
    ),
    "newest by DirEntry.stat": Case(
        'import os; max(os.scandir("ckpt"), key=lambda e: e.stat().st_mtime_ns).path',
        CHECKPOINTS,
        older("ckpt/a.json", 1),
    ),
    "newest by fstat": Case(
        'import os; f = open("ckpt/a.json"); os.fstat(f.fileno())[8]', CHECKPOINTS, older("ckpt/a.json", 1)
    ),
    "newest by a stat of a descriptor": Case(
        'import os; os.stat(os.open("ckpt/a.json", os.O_RDONLY)).st_mtime', CHECKPOINTS, older("ckpt/a.json", 1)
    ),
    "newest by tuple": Case('import os; tuple(os.stat("ckpt/a.json"))[8]', CHECKPOINTS, older("ckpt/a.json", 1)),
    "largest": Case(
        'import os; max(os.listdir("ckpt"), key=lambda n: os.path.getsize("ckpt/" + n))',
        CHECKPOINTS,
        files("ckpt/a.json", text="{         }"),
    ),
    "size by DirEntry": Case(
        'import os; [e.stat().st_size for e in os.scandir("ckpt")]', CHECKPOINTS, files("ckpt/a.json", text="{   }")
    ),
    "isdir": Case(
        'import os; os.path.isdir("ckpt/a.json")',
        CHECKPOINTS,
        lambda p: [(p.root / "ckpt/a.json").unlink(), (p.root / "ckpt/a.json").mkdir()],
    ),
    "is_dir by walk": Case(
        'import os; list(os.walk("ckpt"))',
        CHECKPOINTS,
        lambda p: [(p.root / "ckpt/a.json").unlink(), (p.root / "ckpt/a.json").mkdir()],
    ),
    "is_file by DirEntry": Case(
        'import os; [e.name for e in os.scandir("ckpt") if e.is_file()]',
        CHECKPOINTS,
        lambda p: [(p.root / "ckpt/a.json").unlink(), (p.root / "ckpt/a.json").mkdir()],
    ),
    "mode": Case(
        'import os; os.stat("ckpt/a.json").st_mode', CHECKPOINTS, lambda p: (p.root / "ckpt/a.json").chmod(0o755)
    ),
    "executable": Case(
        'import os; os.access("ckpt/a.json", os.X_OK)', CHECKPOINTS, lambda p: (p.root / "ckpt/a.json").chmod(0o755)
    ),
    # 3: zones that swallow inputs
    "a file below the output folder": Case(
        'open("artifacts/c.json").read()', files("artifacts/c.json"), files("artifacts/c.json", text="[]")
    ),
    "a file in the folder of a job": Case(
        'open("artifacts/a@cpu/note.json").read()',
        files("artifacts/a@cpu/note.json", "artifacts/a@cpu/job.json"),
        files("artifacts/a@cpu/note.json", text="[]"),
    ),
    "a module below the output folder": Case(
        'import sys; sys.path.insert(0, "artifacts/gen"); import made',
        files("artifacts/gen/made.py", text="H = 1"),
        files("artifacts/gen/made.py", text="H = 2"),
    ),
    "a listing of the output folder": Case(
        'import os; os.listdir("artifacts")', files("artifacts/c.json"), files("artifacts/d.json")
    ),
    "what another job delivered": Case(
        'open("artifacts/a@cpu/exported.pt2").read()',
        files("artifacts/a@cpu/exported.pt2", "artifacts/a@cpu/job.json"),
        files("artifacts/a@cpu/exported.pt2", text="[]"),
    ),
    "v1 beside the cache's own": Case(
        'open("v1/c.json").read()',
        both(lambda p: setattr(p, "cache", p.root), files("v1/c.json")),
        files("v1/c.json", text="[]"),
    ),
    "a listing of v1": Case(
        'import os; os.listdir("v1")',
        both(lambda p: setattr(p, "cache", p.root), files("v1/c.json")),
        files("v1/d.json"),
    ),
    # 4: the environment as a whole
    "iterating": Case(
        'import os; [k for k in os.environ if k.startswith("APP_")]', env("APP_H", None), env("APP_H", "16")
    ),
    "keys": Case('import os; "APP_H" in list(os.environ.keys())', env("APP_H", None), env("APP_H", "16")),
    "copy": Case('import os; dict(os.environ).get("APP_H", "8")', env("APP_H", "8"), env("APP_H", "16")),
    "copy method": Case('import os; os.environ.copy().get("APP_H")', env("APP_H", None), env("APP_H", "16")),
    "items": Case(
        'import os; [v for k, v in os.environ.items() if k == "APP_H"]', env("APP_H", "8"), env("APP_H", "16")
    ),
    "merged": Case('import os; (os.environ | {}).get("APP_H")', env("APP_H", "8"), env("APP_H", "16")),
    "length": Case("import os; len(os.environ)", env("APP_H", None), env("APP_H", "16")),
    "printed": Case("import os; str(os.environ)", env("APP_H", "8"), env("APP_H", "16")),
    "bytes": Case('import os; [k for k in os.environb if k == b"APP_H"]', env("APP_H", None), env("APP_H", "16")),
    "getpass": Case("import getpass; getpass.getuser()", env("LOGNAME", "a"), env("LOGNAME", "b")),
    "USER": Case('import os; os.getenv("USER")', env("USER", "a"), env("USER", "b")),
    "expandvars": Case('import os; os.path.expandvars("$APP_H.json")', env("APP_H", "8"), env("APP_H", "16")),
    # 5: the import path
    "an installed module shadowed": Case("import yaml", nothing, module_ahead("yaml")),
    "an installed package shadowed": Case("import yaml", nothing, module_ahead("yaml", package=True)),
    "an installed module shadowed by the project": Case("import yaml", nothing, files("yaml.py", text="")),
    "a package of Python shadowed by the project": Case("import xml.dom", nothing, files("xml/__init__.py", text="")),
    "a module of Python shadowed": Case("import wave", nothing, module_ahead("wave")),
    "an installed submodule shadowed": Case("import yaml.nodes", nothing, module_ahead("yaml", package=True)),
    "an optional module appears": Case(
        "try: import never_there\nexcept ImportError: pass", nothing, module_ahead("never_there")
    ),
    # 6: metadata alone
    "version": Case(
        'from importlib.metadata import version; version("plug")', distribution("plug", "1"), distribution("plug", "2")
    ),
    "no version": Case(
        'import importlib.metadata as m\ntry: m.version("plug")\nexcept m.PackageNotFoundError: pass',
        nothing,
        distribution("plug", "2"),
    ),
    "metadata": Case(
        'from importlib.metadata import metadata; metadata("plug")["Name"]',
        distribution("plug", "1"),
        distribution("plug", "2"),
    ),
    "entry points of a group": Case(
        'from importlib.metadata import entry_points; entry_points(group="bx.test")',
        distribution("plug", "1", entry_points="[bx.test]\na = b:c\n"),
        distribution("plug", "1", entry_points="[bx.test]\na = b:d\n"),
    ),
    "entry points of a group that appears": Case(
        'from importlib.metadata import entry_points; entry_points(group="bx.test")',
        nothing,
        distribution("plug", "1", entry_points="[bx.test]\na = b:c\n"),
    ),
    "all entry points": Case(
        "from importlib.metadata import entry_points; entry_points()",
        nothing,
        distribution("plug", "1", entry_points="[bx.test]\na = b:c\n"),
    ),
    "all distributions": Case(
        "from importlib.metadata import distributions; list(distributions())", nothing, distribution("plug", "1")
    ),
    # 8: what is mapped rather than opened
    "dir_fd": Case(
        'import os; fd = os.open("d", os.O_RDONLY); os.read(os.open("c.json", os.O_RDONLY, dir_fd=fd), 9)',
        files("d/c.json"),
        files("d/c.json", text="[]"),
    ),
    "sqlite URI": Case(
        'import sqlite3; sqlite3.connect("file:net.db?mode=ro", uri=True).execute("select h from t").fetchone()',
        table("net.db", 8),
        table("net.db", 16),
    ),
    "sqlite absolute URI": Case(
        'import os, sqlite3; sqlite3.connect(f"file://{os.getcwd()}/net.db", uri=True).execute("select * from t")',
        table("net.db", 8),
        table("net.db", 16),
    ),
    "sqlite ATTACH": Case(
        "import sqlite3; sqlite3.connect(':memory:').execute(\"attach 'net.db' as n\").execute('select h from n.t')",
        table("net.db", 8),
        table("net.db", 16),
    ),
    "sqlite WAL": Case(
        'import sqlite3; sqlite3.connect("net.db").execute("select h from t").fetchone()',
        table("net.db", 8, mode="wal"),
        table("net.db", 16),
    ),
    # 11: the machine
    "gethostname": Case("import socket; socket.gethostname()", nothing, host("elsewhere")),
    "platform.node": Case("import platform; platform.node()", nothing, host("elsewhere")),
    "os.uname": Case("import os; os.uname().nodename", nothing, host("elsewhere")),
    "sched_getaffinity": Case("import os; len(os.sched_getaffinity(0))", nothing, cores),
    "cpu_count": Case("import os; os.cpu_count()", nothing, cores),
    "multiprocessing.cpu_count": Case("import multiprocessing; multiprocessing.cpu_count()", nothing, cores),
    "getuid": Case("import os; os.getuid()", nothing, user),
    "password entry": Case("import os, pwd; pwd.getpwuid(os.getuid()).pw_name", nothing, user),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_change_of_what_the_model_asked_for_is_seen(project: Project, case: Case) -> None:
    case.before(project)
    seen = project.build(case.code)
    unchanged = project.changes(seen)
    assert unchanged == []
    case.change(project)
    assert project.changes(seen) or seen.uncacheable


FALSE_ALARMS = {
    "a file that is touched": (Case('open("a.json").read()', files("a.json"), older("a.json", 5))),
    "a file whose size nobody asked": Case(
        'import os; os.path.exists("a.json")', files("a.json"), files("a.json", text="[    ]")
    ),
    "a folder whose files are touched": Case('import os; os.listdir("ckpt")', CHECKPOINTS, older("ckpt/a.json", 1)),
    "a link that leads elsewhere to the same": Case('open("latest/c.json").read()', LINKED, RELINK),
    "a cache and outputs in the project": Case(
        "import os; list(os.walk('.'))",
        files("data/a.json"),
        files("artifacts/report.json", "artifacts/a@cpu/job.json", "artifacts/a@cpu/exported.pt2"),
    ),
    "another variable": Case('import os; os.getenv("APP_H")', env("APP_X", None), env("APP_X", "1")),
    "a variable of the session, listed": Case(
        "import os; dict(os.environ)", env("SSH_TTY", None), env("SSH_TTY", "/dev/pts/1")
    ),
    "another user": Case("import os; os.getcwd()", env("USER", "a"), env("USER", "b")),
    "a variable that a library sets": Case(
        "import os; os.environ['LIBRARY_SET'] = '1'; dict(os.environ); os.environ['LIBRARY_SET']", nothing, nothing
    ),
    "a module ahead that nobody imports": Case("import yaml", nothing, module_ahead("elsewhere")),
    "a folder ahead that is no package": Case(
        "import yaml", nothing, both(ahead, lambda p: (p.entries[0] / "yaml").mkdir())
    ),
    "another distribution": Case(
        'from importlib.metadata import version; version("numpy")', nothing, distribution("plug", "1")
    ),
    "entry points of another group": Case(
        'from importlib.metadata import entry_points; entry_points(group="bx.other")',
        nothing,
        distribution("plug", "1", entry_points="[bx.test]\na = b:c\n"),
    ),
    "a pool of threads": Case(
        "from concurrent.futures import ThreadPoolExecutor; ThreadPoolExecutor().submit(int).result()", nothing, cores
    ),
    "platform.system": Case("import platform; platform.system(), platform.machine()", nothing, host("elsewhere")),
    "resolving the way to the project": Case(
        "from pathlib import Path; Path(__file__).resolve().parent.stat().st_mtime", nothing, older("..", 5)
    ),
    "a database that is read": Case(
        'import sqlite3; sqlite3.connect("net.db").execute("select h from t").fetchone()', table("net.db", 8), nothing
    ),
    "a temporary folder": Case(
        "import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n    open(d + '/x', 'w').close(); os.listdir(d)",
        nothing,
        nothing,
    ),
}


@pytest.mark.parametrize("case", FALSE_ALARMS.values(), ids=FALSE_ALARMS)
def test_a_change_that_the_model_did_not_ask_about_is_none(project: Project, case: Case) -> None:
    case.before(project)
    seen = project.build(case.code)
    case.change(project)
    assert project.changes(seen) == []
    assert seen.uncacheable == []


UNREPEATABLE = {
    "a program": ("import subprocess; subprocess.run(['true'])", "model code runs another program"),
    "a spawned process": (
        "import multiprocessing as m; m.get_context('spawn').Process(target=int).start()",
        "runs another program",
    ),
    "a forked process": ("import os; os.fork() or os._exit(0)", "it forks a process"),
    "a program of a library": (
        "import ctypes.util; ctypes.util.find_library('m')",
        "runs another program",
    ),
    "posix_spawn": ("import os; os.posix_spawn('/bin/true', ['true'], {})", "model code runs another program"),
    "the state of the machine": ("open('/proc/loadavg').read()", "state of the machine"),
    "the load": ("import os; os.getloadavg()", "how busy"),
    "free space": ("import shutil; shutil.disk_usage('/')", "how busy"),
    "the size of memory": ("import os; os.sysconf('SC_PHYS_PAGES')", "how busy"),
    "a network card": ("import uuid; uuid.getnode()", "network card"),
}


@pytest.mark.parametrize(("code", "reason"), UNREPEATABLE.values(), ids=UNREPEATABLE)
def test_what_can_not_be_asked_again_is_uncacheable(project: Project, code: str, reason: str) -> None:
    assert any(reason in said for said in project.build(code).uncacheable)


def test_a_file_that_can_not_be_read_is_a_state(project: Project) -> None:
    project.link("loop.json", "loop.json")
    seen = project.build("try: open('loop.json')\nexcept OSError: pass")
    assert project.changes(seen) == []
    project.link("loop.json", "a.json")
    project.write("a.json", "{}")
    assert project.changes(seen) != []


def test_another_environment_with_the_same_distributions_is_no_change(project: Project) -> None:
    distribution("plug", "1")(project)
    site = project.root.parent / "site-packages"
    record = site / "plug-1.dist-info/RECORD"
    record.write_text("plug.py,sha256=1,1\n../../../bin/plug,sha256=1,1\nplug-1.dist-info/direct_url.json,sha256=1,1\n")
    seen = project.build('from importlib.metadata import distribution; distribution("plug").read_text("RECORD")')
    assert "plug" in seen.of("distribution")
    record.write_text("plug.py,sha256=1,1\n../../../bin/plug,sha256=2,1\nplug-1.dist-info/direct_url.json,sha256=2,1\n")
    assert project.changes(seen) == []
    record.write_text("plug.py,sha256=2,1\n")
    assert project.changes(seen) != []
