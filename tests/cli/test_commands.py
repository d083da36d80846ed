"""The whole command as a user types it: what it prints, what it leaves, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from batchexport.version import __version__
from support.projects import GUARD, Project
from support.settled import JOBS

pytestmark = pytest.mark.process

NO_TORCH = """
import json, sys
from batchexport.cli.main import cli

code = 0
try:
    cli.main(json.loads(sys.argv[1]), prog_name="batchexport")
except SystemExit as exit:
    code = exit.code
heavy = [name for name in ("torch", "numpy", "sympy", "transformers", "tomlkit") if name in sys.modules]
sys.exit(f"imported {heavy}" if heavy else code)
"""


def command(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m batchexport` with these arguments, in a folder."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BATCHEXPORT_")}
    return subprocess.run(
        [sys.executable, "-m", "batchexport", *arguments],
        cwd=folder,
        env={**own, **(env or {})},
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )


def without_torch(*arguments: str, project: Project) -> subprocess.CompletedProcess[str]:
    """The command, which fails if it imports torch."""
    return subprocess.run(
        [sys.executable, "-c", NO_TORCH, json.dumps(arguments)],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )


# ── choosing jobs ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ((), list(JOBS)),
        (("--only", "twin@cpu"), ["twin@cpu"]),
        (("--only", "twin@cpu", "--only", "helped@cpu"), ["helped@cpu", "twin@cpu"]),
        (("-k", "helped or (reads and not twin)"), ["helped@cpu", "reads@cpu"]),
        (("--tag", "nightly"), ["helped@cpu", "twin@cpu"]),
        (("--tag", "nightly", "-k", "not helped"), ["twin@cpu"]),
    ],
)
def test_a_run_takes_the_chosen_jobs_in_the_order_of_the_manifest(
    settled: Project, options: tuple[str, ...], chosen: list[str]
) -> None:
    ran = settled.run(*options)
    assert ran.code == 0
    assert [job["name"] for job in ran.report["jobs"]] == chosen
    assert ran.report["totals"]["jobs"] == len(chosen)
    listed = settled.do("ls", *options)
    assert [line.split()[1] for line in listed.stdout.splitlines() if "@cpu" in line] == chosen


def test_choosing_nothing_is_a_mistake_that_names_what_there_is(settled: Project) -> None:
    for options, words in (
        (("--only", "twin"), 'did you mean "twin@cpu"?'),
        (("-k", "nothing"), "no job matches -k 'nothing'"),
        (("--tag", "nigthly"), "the tags are nightly, small"),
        (("-k", "twin and"), "column"),
    ):
        ran = settled.run(*options)
        assert ran.code == 2, options
        assert words in ran.stderr
        assert "Traceback" not in ran.stderr


# ── looking without working ──────────────────────────────────────────────────────────────────────


def test_a_plan_names_what_would_run_and_why_and_does_nothing(settled: Project) -> None:
    path = settled.root / "helped.py"
    path.write_text(path.read_text().replace("nn.Linear(4, 2)", "nn.Linear(4, 7)"))
    before = sorted(path.stat().st_mtime_ns for path in (settled.root / "dist").rglob("*"))
    (settled.root / "cache/v1/logs/forkserver.log").unlink(missing_ok=True)

    for arguments in (["plan", "manifest.toml"], ["run", "manifest.toml", "--dry-run"]):
        shown = without_torch(*arguments, project=settled)
        assert shown.returncode == 0, shown.stderr
        [line] = [line for line in shown.stdout.splitlines() if "helped@cpu" in line]
        assert "helped.py changed" in line
    assert sorted(path.stat().st_mtime_ns for path in (settled.root / "dist").rglob("*")) == before
    assert not (settled.root / "cache/v1/logs/forkserver.log").exists()


def test_a_plan_as_json_tells_every_stage_of_every_job(settled: Project) -> None:
    shown = without_torch("plan", "manifest.toml", "--json", "--force", project=settled)
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert [job["name"] for job in plan["jobs"]] == list(JOBS)
    export = plan["jobs"][0]["stages"]["export"]
    assert (export["action"], export["reason"]) == ("run", "forced")
    assert export["expected_seconds"] > 0  # it was built before
    assert plan["jobs"][0]["stages"]["verify"]["action"] == "maybe"

    settled_plan = json.loads(without_torch("plan", "manifest.toml", "--json", project=settled).stdout)
    assert all(job["delivered"] for job in settled_plan["jobs"])
    actions = {stage["action"] for job in settled_plan["jobs"] for stage in job["stages"].values()}
    assert actions == {"cached"}


def test_ls_tells_delivered_stale_and_missing_apart(settled: Project) -> None:
    (settled.root / "dist" / "twin@cpu" / "exported.pt2").unlink()
    path = settled.root / "reads.py"
    path.write_text(path.read_text().replace("x * self.factor", "x + self.factor"))
    shown = without_torch("ls", "manifest.toml", project=settled)
    assert shown.returncode == 0, shown.stderr
    states = {line.split()[1]: line.split()[0] for line in shown.stdout.splitlines() if "@cpu" in line}
    others = dict.fromkeys(JOBS, "delivered")
    assert states == {**others, "twin@cpu": "missing", "reads@cpu": "stale"}


def test_explain_names_what_decides_a_job(settled: Project) -> None:
    shown = without_torch("explain", "manifest.toml", "reads@cpu", project=settled)
    assert shown.returncode == 0, shown.stderr
    assert "reads@cpu" in shown.stdout
    (settled.root / "data.json").write_text('{"factor": 9.0}')
    shown = without_torch("explain", "manifest.toml", "reads@cpu", project=settled)
    assert "data.json changed" in shown.stdout


def test_the_cache_tells_where_and_how_large_it_is(settled: Project) -> None:
    shown = without_torch("cache", "path", "manifest.toml", project=settled)
    assert shown.stdout == f"{settled.root / 'cache'}\n"
    shown = without_torch("cache", "stats", "manifest.toml", project=settled)
    assert shown.returncode == 0, shown.stderr
    assert str(settled.root / "cache") in shown.stdout
    [records] = [line for line in shown.stdout.splitlines() if line.startswith("records")]
    assert any(word.isdigit() and int(word) >= 2 * len(JOBS) for word in records.replace(",", " ").split())


def test_a_cache_dir_is_taken_from_option_then_environment_then_manifest(settled: Project, tmp_path: Path) -> None:
    environment = {"BATCHEXPORT_CACHE_DIR": str(tmp_path / "two")}
    arguments = ("cache", "path", "manifest.toml")
    both = command(*arguments, "--cache-dir", str(tmp_path / "one"), folder=settled.root, env=environment)
    assert both.stdout == f"{tmp_path / 'one'}\n"
    assert command(*arguments, folder=settled.root, env=environment).stdout == f"{tmp_path / 'two'}\n"
    assert command(*arguments, folder=settled.root).stdout == f"{settled.root / 'cache'}\n"
    assert command("cache", "path", folder=tmp_path).stdout == f"{tmp_path / 'cache'}\n"


def test_the_doctor_finds_this_machine_fit_without_importing_torch(settled: Project) -> None:
    shown = without_torch("doctor", "manifest.toml", project=settled)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for word in ("python", "torch", "compiler", "cache"):
        assert any(word in line.split()[:3] for line in shown.stdout.splitlines()), shown.stdout


def test_module_and_script_are_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("batchexport")
    for start in ([sys.executable, "-m", "batchexport"], [str(script)]):
        done = subprocess.run([*start, "--version"], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout) == (0, f"batchexport {__version__}\n")


# ── working ──────────────────────────────────────────────────────────────────────────────────────


def test_force_builds_again_and_gives_the_same_bytes(settled: Project) -> None:
    outputs = [settled.root / "dist" / name / "exported.pt2" for name in ("helped@cpu", "weighed@cpu")]
    before = [path.read_bytes() for path in outputs]
    ran = settled.run("--force", "-k", "helped or weighed")
    assert ran.code == 0
    assert ran.built() == {"helped@cpu", "weighed@cpu"}
    assert set(ran.outcomes().values()) == set(ran.outcomes("verify").values()) == {"built"}
    assert [path.read_bytes() for path in outputs] == before


def test_a_run_may_stop_after_a_stage_and_write_its_report_elsewhere(settled: Project, tmp_path: Path) -> None:
    path = settled.root / "twin.py"
    path.write_text(path.read_text().replace("nn.Linear(4, 2)", "nn.Linear(4, 6)"))
    ran = settled.run("--only", "twin@cpu", "--stage", "export", "--json", str(tmp_path / "deep" / "report.json"))
    assert ran.code == 0
    assert ran.report == {}
    report = json.loads((tmp_path / "deep" / "report.json").read_text())
    stages = report["jobs"][0]["stages"]
    assert {name: stage["outcome"] for name, stage in stages.items()} == {
        "export": "built",
        "compile": "skipped",
        "verify": "skipped",
    }
    assert report["jobs"][0]["outputs"] == {"exported": "dist/twin@cpu/exported.pt2"}
    assert json.loads((settled.root / "dist" / "twin@cpu" / "job.json").read_text())["verify"] is None


def test_a_run_in_this_process_delivers_and_reports_where_it_was_told(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write("models.py", "from torch import nn\n\n\nclass Model(nn.Identity):\n    pass\n")
    project.write("exits.py", "import sys\n\n\ndef model():\n    sys.exit(0)\n")
    project.manifest(
        'name = "good"\nmodel = "models:Model"\ninputs = { input = { shape = [2] } }',
        'name = "exits"\nmodel = "exits:model"',
        head='schema = 1\n[cache]\ndir = "cache"\n[defaults.compile]\nformat = "none"\n',
    )
    done = command("run", "project/manifest.toml", "--in-process", "--json", "report.json", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    errors = {job["name"]: job["error"] and job["error"]["kind"] for job in report["jobs"]}
    assert errors == {"good@cpu": None, "exits@cpu": "build"}
    assert (project.root / "dist" / "good@cpu" / "exported.pt2").is_file()
    assert (project.root / "dist" / "report" / "index.html").is_file()
    assert not (tmp_path / "report").exists()


# ── what stops a command ─────────────────────────────────────────────────────────────────────────


def test_a_bad_manifest_exits_with_2_and_every_mistake_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_text('schema = 1\n[[entry]]\nname = "a"\nmodle = "m:f"\nseed = "1"\n')
    for verb in ("run", "plan", "ls"):
        done = command(verb, "manifest.toml", folder=tmp_path)
        assert done.returncode == 2
        assert 'did you mean "model"?' in done.stderr
        assert "manifest.toml:5" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.toml"]


def test_a_missing_manifest_exits_with_2(tmp_path: Path) -> None:
    done = command("run", "nowhere.toml", folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_is_a_file_exits_with_4(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.manifest('name = "a"\nmodel = "m:f"')
    project.write("cache", "I am a file")
    ran = project.run()
    assert ran.code == 4
    assert str(tmp_path / "cache") in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert (tmp_path / "cache").read_text() == "I am a file"


def test_a_torch_that_cannot_be_imported_exits_with_3_and_names_the_doctor(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("fake/torch/__init__.py", 'raise ImportError("this torch is broken")')
    project.write("models.py", "")
    project.manifest('name = "a"\nmodel = "models:Model"')
    ran = project.run_alone(
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path / "fake"), os.environ.get("PYTHONPATH", "")])}
    )
    assert ran.code == 3
    assert "this torch is broken" in ran.stderr
    assert "batchexport doctor" in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert project.processes() == {}


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_a_cuda_job_without_a_gpu_is_exported_and_then_skipped_or_failed_as_asked(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("models.py", "from torch import nn\n\n\nclass Model(nn.Identity):\n    pass\n")
    entry = 'name = "a"\nmodel = "models:Model"\ntargets = ["cuda"]\ninputs = { input = { shape = [2] } }'
    project.manifest(entry, head='schema = 1\n[cache]\ndir = "cache"\n')
    ran = project.run()
    assert ran.code == 0
    assert {name: stage["outcome"] for name, stage in ran.jobs["a@cuda"]["stages"].items()} == {
        "export": "built",
        "compile": "skipped",
        "verify": "skipped",
    }
    assert not ran.jobs["a@cuda"]["ok"]
    assert ran.report["totals"]["skipped"] == 1
    assert "no CUDA device" in ran.stdout

    ran = project.run("--require-all")
    assert ran.code == 1
    assert ran.outcomes() == {"a@cuda": "cached"}
    assert ran.error("a@cuda")["kind"] == "toolchain"


def test_paranoid_builds_twice_what_is_cached_and_says_so(settled: Project) -> None:
    ran = settled.run("--paranoid", "--only", "reads@cpu")
    assert ran.outcomes() == {"reads@cpu": "built"}
    assert ran.report["jobs"][0]["stages"]["export"]["reason"] == "built twice for --paranoid"
    assert settled.run("--only", "reads@cpu").outcomes() == {"reads@cpu": "cached"}


def test_two_manifests_do_not_deliver_one_job_into_one_folder(settled: Project) -> None:
    text = (settled.root / "manifest.toml").read_text()
    other = settled.write("other.toml", text)
    ran = command("run", "other.toml", folder=settled.root)
    assert ran.returncode == 2
    assert "was delivered by manifest.toml, which still has a job of this name" in ran.stderr
    assert "Traceback" not in ran.stderr
    other.unlink()
