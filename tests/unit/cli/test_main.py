"""The command line: it passes on what was asked, prints what came of it, and ends with the right code."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import click.testing
import pytest

from batchexport.cli import main
from batchexport.core.errors import (
    BatchExportError,
    EnvironmentProblem,
    ExitCode,
    ManifestError,
    Problem,
    StoreError,
    UsageError,
)
from batchexport.core.events import JobFinished, Listener, RunStarted, StageStarted
from batchexport.core.plan import JobState, Plan, PlannedJob, PlannedStage
from batchexport.core.report import RunReport
from batchexport.planning.job_details import JobDetails, LogFile
from support.reports import built, failure, job, run_report

Invoke = Callable[..., click.testing.Result]

HEAVY = {"torch", "rich", "numpy", "sympy", "joblib", "diskcache", "psutil", "transformers", "safetensors"}


@dataclass
class Fake:
    """Stands for batchexport.api, and remembers what it was asked."""

    report: RunReport = field(default_factory=lambda: run_report(job()))
    error: BaseException | None = None
    options: Any = None
    logs: tuple[LogFile, ...] = ()

    def run(self, options: Any, listener: Listener, *, servers: Any = None) -> RunReport:
        self._hear(options)
        listener(RunStarted(jobs=len(self.report.jobs), to_build=1, workers=2))
        listener(StageStarted(job="bert@cpu", stage="export", reason="first time"))
        for number, one in enumerate(self.report.jobs, 1):
            listener(JobFinished(report=one, done=number, total=len(self.report.jobs)))
        return self.report

    def plan(self, options: Any) -> Plan:
        self._hear(options)
        stage = PlannedStage(action="run", reason="first time", expected_seconds=3.0)
        return Plan(manifest="m.toml", jobs=(PlannedJob(name="bert@cpu", stages={"export": stage}),))

    def ls(self, options: Any) -> tuple[JobState, ...]:
        self._hear(options)
        return (JobState(name="bert@cpu", state="missing", path="dist/bert@cpu"),)

    def details(self, options: Any) -> tuple[JobDetails, ...]:
        self._hear(options)
        report = job(error=failure(message="it broke")).to_json()
        state = JobState(name="bert@cpu", state="missing", path="dist/bert@cpu", detail="not delivered yet")
        return (JobDetails(state=state, ended="2026-01-02", report=report, logs=self.logs),)

    def cache_root(self, options: Any) -> Path:
        self._hear(options)
        return options.cache_dir or Path("/from/the/manifest")

    def _hear(self, options: Any) -> None:
        self.options = options
        if self.error is not None:
            raise self.error


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    stand_in = Fake()
    module = importlib.import_module("batchexport.api")
    for name in ("run", "plan", "ls", "details", "cache_root"):
        monkeypatch.setattr(module, name, getattr(stand_in, name))
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    monkeypatch.delenv("BATCHEXPORT_DEBUG", raising=False)
    return stand_in


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text("schema = 1\n")

    def call(*words: str, **more: Any) -> click.testing.Result:
        return click.testing.CliRunner().invoke(main.cli, words, **more)

    return call


# --- what is passed on


def test_run_passes_on_every_option(fake: Fake, invoke: Invoke) -> None:
    words = "run m.toml --cache-dir c -k bert --tag a --tag b --only x --only y --stage compile --jobs 3"
    flags = "--failed --fail-fast --maxfail 3 --force --json r.json --require-all --in-process --apply-fixes"
    assert invoke(*words.split(), *flags.split()).exit_code == 0
    options = fake.options
    assert (options.manifest, options.cache_dir, options.json) == (Path("m.toml"), Path("c"), Path("r.json"))
    assert (options.expression, options.tags, options.only) == ("bert", ("a", "b"), ("x", "y"))
    assert (options.stage, options.jobs) == ("compile", 3)
    assert options.failed
    assert options.fail_fast
    assert options.maxfail == 3
    assert options.force
    assert options.require_all
    assert options.in_process
    assert options.apply_fixes


def test_run_asks_for_nothing_special_by_default(fake: Fake, invoke: Invoke) -> None:
    from batchexport.api import RunOptions

    invoke("run", "m.toml")
    assert fake.options == RunOptions(manifest=Path("m.toml"))


def test_the_cache_folder_may_come_from_the_environment(fake: Fake, invoke: Invoke) -> None:
    invoke("run", "m.toml", env={"BATCHEXPORT_CACHE_DIR": "elsewhere"})
    assert fake.options.cache_dir == Path("elsewhere")


def test_the_option_beats_the_environment(fake: Fake, invoke: Invoke) -> None:
    invoke("run", "m.toml", "--cache-dir", "here", env={"BATCHEXPORT_CACHE_DIR": "elsewhere"})
    assert fake.options.cache_dir == Path("here")


def test_explain_asks_for_one_job(fake: Fake, invoke: Invoke) -> None:
    result = invoke("explain", "m.toml", "bert@cpu")
    assert fake.options.only == ("bert@cpu",)
    assert result.stdout.splitlines() == [
        "bert@cpu",
        "  export   runs: first time (about 3s)",
        "  outputs  missing or stale",
        "  last run 2026-01-02: compile failed (toolchain): it broke",
    ]


# --- what is printed


def test_run_prints_the_jobs_and_the_summary(fake: Fake, invoke: Invoke) -> None:
    lines = invoke("run", "m.toml").stdout.splitlines()
    assert lines[0] == "ok        bert@cpu  cached"
    assert lines[-1].startswith("1 job: 1 ok")


def test_quiet_leaves_only_the_summary(fake: Fake, invoke: Invoke) -> None:
    assert len(invoke("run", "m.toml", "--quiet").stdout.splitlines()) == 1


def test_verbose_shows_the_stages(fake: Fake, invoke: Invoke) -> None:
    assert "started   bert@cpu  export (first time)" in invoke("run", "m.toml", "-v").stdout


def test_a_log_is_named_as_seen_from_the_working_directory(fake: Fake, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.toml").write_text("")
    fake.report = run_report(job(error=failure(log="cache/x.log")), exit_code=ExitCode.JOB_FAILED)
    assert "sub/cache/x.log" in invoke("run", "sub/m.toml").stdout


def test_dry_run_plans_and_runs_nothing(fake: Fake, invoke: Invoke) -> None:
    result = invoke("run", "m.toml", "--dry-run")
    assert result.stdout == invoke("plan", "m.toml").stdout
    assert "export runs (first time)" in result.stdout


def test_a_plan_comes_as_json_too(fake: Fake, invoke: Invoke) -> None:
    form = json.loads(invoke("plan", "m.toml", "--json").stdout)
    assert form["jobs"][0]["name"] == "bert@cpu"


def test_the_json_of_a_dry_run_goes_to_its_file(fake: Fake, invoke: Invoke) -> None:
    result = invoke("run", "m.toml", "--dry-run", "--json", "plan.json")
    assert "1 job: 1 to build" in result.stdout
    assert json.loads(Path("plan.json").read_text())["schema"] == 1


def test_a_file_that_cannot_be_written_is_the_users_to_fix(fake: Fake, invoke: Invoke) -> None:
    result = invoke("run", "m.toml", "--dry-run", "--json", "no/such/folder/plan.json")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("error: can't write no/such/folder/plan.json")


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_report_on_standard_output_leaves_the_rest_to_standard_error(
    fake: Fake, invoke: Invoke, command: str
) -> None:
    result = invoke(command, "m.toml", "--json", "-")
    assert json.loads(result.stdout)["jobs"][0]["name"] == "bert@cpu"
    assert result.stderr.splitlines()[-1].startswith("1 job: 1 ok")
    assert fake.options.json is None, "it is written to its usual place as well"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(invoke: Invoke, shell: str) -> None:
    assert "_BATCHEXPORT_COMPLETE" in invoke("completion", shell).stdout


def test_names_of_jobs_are_completed_from_the_manifest(invoke: Invoke, tmp_path: Path) -> None:
    entry = '[[entry]]\nname = "{}"\nmodel = "m:f"\ninputs = [1]\n'
    (tmp_path / "two.toml").write_text("schema = 1\n" + entry.format("mlp") + entry.format("conv"))
    for words, start, found in (
        ("show two.toml", "", "plain,mlp@cpu\nplain,conv@cpu\n"),
        ("run two.toml --only", "m", "plain,mlp@cpu\n"),
        ("show m.toml", "", ""),
    ):
        environment = {
            "_BATCHEXPORT_COMPLETE": "bash_complete",
            "COMP_WORDS": f"batchexport {words} {start}",
            "COMP_CWORD": str(len(words.split()) + 1),
        }
        result = click.testing.CliRunner().invoke(main.cli, [], env=environment, prog_name="batchexport")
        assert result.stdout.rstrip("\n") == found.rstrip("\n"), words


@pytest.mark.parametrize(
    "words",
    [
        "explain m.toml bert@cpu",
        "ls m.toml",
        "logs m.toml bert@cpu",
        "show m.toml bert@cpu",
        "diff report.json report.json",
        "doctor",
    ],
    ids=lambda words: words.split()[0],
)
def test_what_a_command_shows_comes_as_the_json_that_the_page_on_reports_tells(
    fake: Fake, invoke: Invoke, tmp_path: Path, words: str
) -> None:
    (tmp_path / "export.log").write_text("hello\n")
    (tmp_path / "report.json").write_text(json.dumps(fake.report.to_json()))
    fake.logs = (LogFile(stage="export", path="export.log", bytes=6, modified=1.0),)
    command = words.split(maxsplit=1)[0]
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith(f"| `{command}` | ")]
    form = json.loads(invoke(*words.split(), "--json").stdout)
    assert form.pop("schema") == 1
    inner = [one for items in (form.get("jobs"), form.get("checks")) if items for one in items[0]]
    assert set(re.findall(r"`(\w+)`", row)) - {command} == {*form, *inner}


def test_show_tells_what_failed_and_what_is_there(fake: Fake, invoke: Invoke) -> None:
    lines = invoke("show", "m.toml", "bert@cpu").stdout.splitlines()
    assert lines[1:3] == ["  outputs    missing: not delivered yet", "  last run   2026-01-02"]
    assert "  error      it broke (stage: compile, kind: toolchain)" in lines


def test_logs_print_the_log_of_the_stage_that_failed_without_escape_codes(
    fake: Fake, invoke: Invoke, tmp_path: Path
) -> None:
    for name in ("export", "compile"):
        (tmp_path / f"{name}.log").write_text(f"\x1b[31m{name}\x1b[0m\a\n")
    fake.logs = tuple(
        LogFile(stage=name, path=f"{name}.log", bytes=9, modified=time)
        for name, time in (("export", 2), ("compile", 1))
    )
    assert invoke("logs", "m.toml", "bert@cpu").stdout.splitlines() == [
        "==> compile.log (compile, 9 B) <==",
        "compile\\x07",
    ]
    assert invoke("logs", "m.toml", "bert@cpu", "--stage", "export").stdout.splitlines()[1] == "export\\x07"
    result = invoke("logs", "m.toml", "bert@cpu", "--stage", "verify")
    assert result.exit_code == ExitCode.USAGE
    assert "has left no log; there is one of export, compile" in result.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("n.toml", 'did you mean "m.toml"?'),
        (".", "is a folder; name the manifest in it: m.toml"),
        ("report.json", "is JSON; a manifest is TOML; beside it: m.toml"),
        ("models.py", "is Python code"),
        ("no/m.toml", "nor does its folder"),
    ],
)
def test_a_wrong_manifest_is_told_with_the_right_one(fake: Fake, invoke: Invoke, path: str, words: str) -> None:
    for name in ("report.json", "models.py"):
        Path(name).write_text("{}")
    result = invoke("plan", path)
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr


def test_ls_lists_the_outputs(fake: Fake, invoke: Invoke) -> None:
    assert invoke("ls", "m.toml").stdout.splitlines()[0] == "missing   bert@cpu  dist/bert@cpu"


def test_the_cache_path_is_found_as_a_run_finds_it(fake: Fake, invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("cache", "path").stdout == f"{tmp_path / 'cache'}\n"
    assert invoke("cache", "path", "--cache-dir", "x").stdout == f"{tmp_path / 'x'}\n"
    assert invoke("cache", "path", "m.toml").stdout == "/from/the/manifest\n"


def test_looking_at_a_cache_does_not_make_one(fake: Fake, invoke: Invoke) -> None:
    result = invoke("cache", "stats", "--cache-dir", "c")
    assert "nothing is cached here yet" in result.stdout
    assert not Path("c").exists()


def test_cache_stats_counts_what_is_there(fake: Fake, invoke: Invoke, tmp_path: Path) -> None:
    from batchexport.store.store import Store

    Store.open(tmp_path / "c").close()
    assert "records  0" in invoke("cache", "stats", "--cache-dir", "c").stdout


def test_help_lists_the_commands_most_used_first(invoke: Invoke) -> None:
    text = invoke("--help").stdout
    at = [text.index(f"  {name} ") for name in ("run", "plan", "explain", "ls", "cache", "doctor")]
    assert at == sorted(at)


# --- how it ends


@pytest.mark.parametrize("code", list(ExitCode))
def test_the_exit_code_is_the_reports(fake: Fake, invoke: Invoke, code: ExitCode) -> None:
    fake.report = run_report(job(stages={"export": built()}), exit_code=code)
    assert invoke("run", "m.toml").exit_code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ManifestError((Problem(place="m.toml:3", message="x"),)), 2),
        (EnvironmentProblem("x"), 3),
        (StoreError("x"), 4),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "ls"])
def test_an_error_is_a_message_and_a_code(
    fake: Fake, invoke: Invoke, error: BatchExportError, code: int, command: str
) -> None:
    fake.error = error
    result = invoke(command, "m.toml")
    assert result.exit_code == code
    assert result.stderr == f"error: {error}\n"
    assert result.stdout == ""


def test_every_mistake_of_a_manifest_has_its_line(fake: Fake, invoke: Invoke) -> None:
    problems = (
        Problem(place="m.toml:3", message="no such key", hint='did you mean "name"?'),
        Problem(place="m.toml:9", message="not a number"),
    )
    fake.error = ManifestError(problems)
    assert invoke("run", "m.toml").stderr.splitlines() == [
        'error: m.toml:3: no such key; did you mean "name"?',
        "error: m.toml:9: not a number",
    ]


def test_ctrl_c_exits_130(fake: Fake, invoke: Invoke) -> None:
    fake.error = KeyboardInterrupt()
    result = invoke("run", "m.toml")
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted\n"


def test_a_bug_is_one_line_with_the_way_to_its_traceback(fake: Fake, invoke: Invoke, tmp_path: Path) -> None:
    logs = tmp_path / "c" / "v1" / "logs"
    logs.mkdir(parents=True)
    fake.error = KeyError("oops")
    for _ in range(2):
        result = invoke("run", "m.toml", "--cache-dir", "c")
    assert result.exit_code == ExitCode.ENVIRONMENT
    assert len(result.stderr.splitlines()) == 1
    assert "batchexport itself failed, please report it: KeyError: 'oops'" in result.stderr
    (log,) = logs.iterdir()
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("words", "env"), [(["-v"], {}), ([], {"BATCHEXPORT_DEBUG": "1"})], ids=["verbose", "environment"]
)
def test_a_bug_shows_its_traceback_to_who_asks(
    fake: Fake, invoke: Invoke, words: list[str], env: dict[str, str]
) -> None:
    fake.error = KeyError("oops")
    assert "Traceback" in invoke("run", "m.toml", *words, env=env).stderr


def test_a_bug_without_a_cache_leaves_no_file_and_says_how_to_see_it(
    fake: Fake, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake.error = KeyError("oops")
    result = invoke("run", "m.toml")
    assert len(result.stderr.splitlines()) == 1
    assert "BATCHEXPORT_DEBUG=1" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.toml"]


def test_a_broken_pipe_inside_the_coordinator_is_not_taken_for_success(fake: Fake, invoke: Invoke) -> None:
    fake.error = BrokenPipeError()
    assert invoke("run", "m.toml").exit_code == ExitCode.ENVIRONMENT


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "missing.toml"],
        ["run", "m.toml", "--nonsense"],
        ["run", "m.toml", "--stage", "package"],
        ["run", "m.toml", "--jobs", "0"],
        ["run", "m.toml", "-q", "-v"],
        ["explain", "m.toml"],
        ["nonsense"],
    ],
)
def test_a_wrong_command_line_exits_2(fake: Fake, invoke: Invoke, words: list[str]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert fake.options is None
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("fail", 3)])
def test_doctor_exits_3_if_something_necessary_is_missing(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    from batchexport.toolchain import doctor

    monkeypatch.setattr(doctor, "examine", lambda cache: (doctor.Check(name="x", state=state, detail="y"),))
    result = invoke("doctor")
    assert result.exit_code == code
    assert f"{state:<5} x  y" in result.stdout


# --- as a process


def python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


def loaded_by(code: str) -> set[str]:
    done = python("-c", f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_by("import batchexport.cli.main")


def test_importing_the_package_does_not_even_load_click() -> None:
    assert not (HEAVY | {"click", "json", "pathlib"}) & loaded_by("import batchexport")


def test_it_runs_as_a_module() -> None:
    done = python("-m", "batchexport", "--version")
    assert done.stdout.startswith("batchexport ")
    assert done.returncode == 0


def test_a_reader_that_had_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with os.fdopen(writing, "wb") as pipe:
        words = [sys.executable, "-m", "batchexport", "cache", "path"]
        done = subprocess.run(words, env=environment, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "batchexport", "cache", "path"]
        done = subprocess.run(words, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.ENVIRONMENT
    assert done.stderr.splitlines() == ["error: can't write the output: No space left on device"]


# --- from Python


def test_the_function_run_is_not_replaced_by_the_module_of_its_name(fake: Fake, tmp_path: Path) -> None:
    import batchexport

    assert isinstance(sys.modules["batchexport.api"], ModuleType)
    assert callable(batchexport.run)
    assert batchexport.run(tmp_path / "m.toml", tags=["a"], cache_dir="c", stage="export") is fake.report
    assert (fake.options.tags, fake.options.cache_dir, fake.options.stage) == (("a",), Path("c"), "export")


def test_a_listener_hears_of_every_event(fake: Fake) -> None:
    import batchexport

    heard: list[object] = []
    batchexport.run("m.toml", listener=heard.append)
    assert [type(event) for event in heard] == [RunStarted, StageStarted, JobFinished]


def test_python_plans_without_torch(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("")
    path = tmp_path / "manifest.toml"
    path.write_text('schema = 1\n[[entry]]\nname = "a"\nmodel = "m:A"\n[[entry]]\nname = "b"\nmodel = "m:B"\n')
    code = f"import batchexport; print([job.name for job in batchexport.plan({str(path)!r}, expression='b').jobs])"
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['b@cpu']", "False"], done.stderr
