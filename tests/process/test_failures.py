"""Failures: each way a job can fail is reported with its kind, one message and a log; other jobs are not affected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from support.projects import Project, Ran

pytestmark = pytest.mark.process

MODELS = """
import errno
import json
import os
import signal
import subprocess
import sys
import time

import torch
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


def good():  # nobody can tell what it returns before it is called
    return Good()


class Raises(Good):
    def forward(self, x):
        raise RuntimeError("no way\\nand more lines")


class Breaks(nn.Module):
    def __init__(self):
        raise ValueError("can't be built")


class Speechless(Exception):
    def __init__(self, one, two):
        self.lock = __import__("threading").Lock()

    def __str__(self):
        raise RuntimeError("not even this")


class RaisesSpeechless(nn.Module):
    def __init__(self):
        raise Speechless(1, 2)


class Full(nn.Module):
    def __init__(self):
        raise OSError(errno.ENOSPC, "No space left on device")


class Huge(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1 << 50))


def not_a_module():
    return "a string"


class Aborts(Good):
    def forward(self, x):
        if torch.compiler.is_exporting():
            os.abort()
        return self.linear(x)


class KillsItself(Good):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(nn.Module):
    def __init__(self):
        sys.exit(0)


class ExitsAtOnce(nn.Module):
    def __init__(self):
        os._exit(0)


class Sleeps(Good):
    def forward(self, x):
        time.sleep(1000)


class SleepsDeaf(Good):
    def forward(self, x):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)


class Branches(Good):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


class Specializes(Good):
    def forward(self, x):
        return x * 2 if x.shape[0] <= 10 else x * 2.0


class NeedsSix(Good):
    def forward(self, x):
        return x.reshape(6, -1)


class TellsExport(Good):
    def forward(self, x):
        return x + (1 if torch.compiler.is_exporting() else 2)


class Prints(Good):
    def forward(self, x):
        for _ in range(8):
            print("\\x1b[31m" + "ä" * 500_000)
        os.write(2, b"\\xff" * 100)
        return self.linear(x)


class ClosesEverything(Good):
    def forward(self, x):
        os.closerange(0, 100)
        return self.linear(x)


class Spawned(Good):
    def forward(self, x):
        with open("/proc/self/cmdline") as command:
            print("threads", torch.get_num_threads(), "command", command.read().split("\\0"))
        return self.linear(x)


class LeavesAProcess(Good):
    def forward(self, x):
        subprocess.Popen(["sleep", "1000"])
        return self.linear(x)
"""


@dataclass(frozen=True)
class Case:
    """An entry that must fail, with its stage and kind, and words of its message and remedy."""

    name: str
    lines: str
    kind: str
    words: tuple[str, ...] = ()
    remedy: str = ""
    stage: str = "export"


GOOD = 'model = "models:Good"'
CASES = [
    Case("no-module", 'model = "nowhere:Model"', "import", ("nowhere",)),
    Case("no-attribute", 'model = "models:Goood"', "import", ("Goood",), "'Good'"),
    Case("broken-module", 'model = "broken:Model"', "import", ("broken", "SyntaxError")),
    Case("raising-module", 'model = "raising:Model"', "import", ("raising", "ZeroDivisionError")),
    Case("needs-a-library", 'model = "needy:Model"', "import", ("no_such_library",), "install no_such_library"),
    Case("raises", 'model = "models:Raises"', "build", ("RuntimeError: no way",)),
    Case("cannot-be-built", 'model = "models:Breaks"', "build", ("ValueError: can't be built",)),
    Case("wrong-argument", 'model = "models:Good"\nkwargs = { wide = 3 }', "build", ("TypeError", "wide")),
    Case("not-a-module", 'model = "models:not_a_module"', "build", ("returned a str",)),
    Case("no-method", 'model = "models:good"\nmethod = "forwards"', "build", ("forwards",), "'forward'"),
    Case("speechless", 'model = "models:RaisesSpeechless"', "build", ("Speechless",)),
    Case("no-file", f'{GOOD}\nweights = "nowhere.safetensors"', "weights", ("nowhere.safetensors",)),
    Case("not-weights", f'{GOOD}\nweights = "garbage.safetensors"', "weights", ("garbage.safetensors",)),
    Case("missing-tensor", f'{GOOD}\nweights = "missing.safetensors"', "weights", ("'linear.bias' is missing",)),
    Case("extra-tensor", f'{GOOD}\nweights = "extra.pt"', "weights", ("'linear.extra' is not in the model",)),
    Case("wrong-shape", f'{GOOD}\nweights = "shape.safetensors"', "weights", ("'linear.weight'", "[2, 5]", "[2, 4]")),
    Case("wrong-dtype", f'{GOOD}\nweights = "dtype.safetensors"', "weights", ("'linear.bias'", "float64", "float32")),
    Case("pickled-code", f'{GOOD}\nweights = "code.pt"', "weights", ("code.pt",)),
    Case("wrong-input", f"{GOOD}\ninputs = {{ y = {{ shape = [1, 4] }} }}", "inputs", ("'y'", "takes x")),
    Case("specializes", 'model = "models:Specializes"', "shapes", ("batch",), "max = 10"),
    Case("too-small", 'model = "models:NeedsSix"', "shapes", ("batch=1",)),
    Case("branches", 'model = "models:Branches"', "export", (), "torch.cond"),
    Case("no-decomposition", f'{GOOD}\nexport = {{ decompositions = ["nowhere.op"] }}', "lower", ("nowhere",)),
    Case("no-extra-file", f'{GOOD}\nexport = {{ extra_files = {{ "a" = "nowhere" }} }}', "save", ("nowhere",)),
    Case("tells-export", 'model = "models:TellsExport"', "verify", ("output differs",), "[entry.verify]", "verify"),
    Case("sleeps", 'model = "models:Sleeps"\ntimeout = "2s"', "timeout", ("2 s",), "`timeout`"),
    Case("sleeps-deaf", 'model = "models:SleepsDeaf"\ntimeout = "2s"', "timeout", ("2 s",), "`timeout`"),
    Case("huge", 'model = "models:Huge"', "oom", ("memory",), "--jobs 1"),
    Case("kills-itself", 'model = "models:KillsItself"', "crash", ("SIGKILL", "failed again when retried alone")),
    Case("aborts", 'model = "models:Aborts"', "crash", ("SIGABRT", "failed again when retried alone")),
    Case("exits", 'model = "models:Exits"', "build", ("it called sys.exit(0)", ": sys.exit(0)")),
    Case("exits-at-once", 'model = "models:ExitsAtOnce"', "crash", ("status 0",), "os._exit"),
    Case("full-disk", 'model = "models:Full"', "disk", ("No space left",), "free some disk space"),
]
# Models that misbehave harmlessly and are delivered.
HARMLESS = ["Good", "Prints", "ClosesEverything", "LeavesAProcess", "Spawned"]


@dataclass(frozen=True)
class Failed:
    project: Project
    ran: Ran


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Failed:
    """One run over all cases, with harmless entries between them."""
    project = Project(tmp_path_factory.mktemp("failures"))
    project.write("models.py", MODELS)
    project.write("broken.py", "def Model(:\n")
    project.write("raising.py", "1 / 0\n")
    project.write("needy.py", "import no_such_library\n")
    _write_weights(project.root)
    good = [f'name = "{name}"\nmodel = "models:{name}"' for name in HARMLESS]
    good[-1] += '\nenv = { OMP_NUM_THREADS = "1" }'
    bad = [f'name = "{case.name}"\n{case.lines}' for case in CASES]
    project.manifest(*good[:2], *bad, *good[2:])
    return Failed(project, project.run_alone())


def _write_weights(root: Path) -> None:
    right = {"linear.weight": torch.ones(2, 4), "linear.bias": torch.ones(2)}
    save_file({"linear.weight": right["linear.weight"]}, root / "missing.safetensors")
    save_file({**right, "linear.weight": torch.ones(2, 5)}, root / "shape.safetensors")
    save_file({**right, "linear.bias": torch.ones(2, dtype=torch.float64)}, root / "dtype.safetensors")
    torch.save({**right, "linear.extra": torch.ones(1)}, root / "extra.pt")
    torch.save({"linear.weight": Path}, root / "code.pt")
    (root / "garbage.safetensors").write_bytes(b"not safetensors at all")


def test_a_run_with_failures_exits_with_1_and_delivers_the_rest(failed: Failed) -> None:
    assert failed.ran.code == 1
    assert {name for name, job in failed.ran.jobs.items() if job["ok"]} == {f"{name}@cpu" for name in HARMLESS}
    for name in HARMLESS:
        assert (failed.project.root / "dist" / f"{name}@cpu" / "exported.pt2").is_file()


def test_every_job_has_exactly_one_report(failed: Failed) -> None:
    names = [job["name"] for job in failed.ran.report["jobs"]]
    assert sorted(names) == sorted(f"{name}@cpu" for name in [*HARMLESS, *(case.name for case in CASES)])
    lines = failed.ran.stdout.splitlines()
    for name in names:
        assert sum(line.split()[:2] in (["ok", name], ["failed", name]) for line in lines) >= 1, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failure_has_its_stage_and_kind(failed: Failed, case: Case) -> None:
    error = failed.ran.error(f"{case.name}@cpu")
    assert (error["stage"], error["kind"]) == (case.stage, case.kind), error
    for word in case.words:
        assert word in error["message"]
    assert case.remedy in (error["remedy"] or "")
    assert failed.ran.jobs[f"{case.name}@cpu"]["stages"][case.stage]["outcome"] == "failed"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failure_has_a_one_line_message_a_log_and_a_command_to_reproduce_it(failed: Failed, case: Case) -> None:
    error = failed.ran.error(f"{case.name}@cpu")
    assert error.keys() == {
        "stage", "kind", "message", "remedy", "fix", "class", "findings", "where", "log", "log_tail", "reproduce",
    }  # fmt: skip
    assert error["message"] and "\n" not in error["message"]
    assert (failed.project.root / error["log"]).is_file()
    assert f"--only {case.name}@cpu --stage {case.stage} --in-process" in error["reproduce"]


def test_a_failed_capture_has_the_findings_of_a_draft_export(failed: Failed) -> None:
    error = failed.ran.error("branches@cpu")
    assert "value of data" in error["findings"][0]
    whole = (failed.project.root / error["log"]).with_name("draft_export.txt")
    assert "Data dependent error" in whole.read_text()


def test_the_event_log_has_every_failure(failed: Failed) -> None:
    lines = (failed.project.root / "cache/v1/logs/events.jsonl").read_text().splitlines()
    told = {(one["job"], one["stage"], one["kind"]) for one in map(json.loads, lines) if one["event"] == "error"}
    assert told == {(f"{case.name}@cpu", case.stage, case.kind) for case in CASES}


def test_a_failure_in_python_code_has_its_traceback_in_the_log(failed: Failed) -> None:
    for name in ("raises", "cannot-be-built", "raising-module", "speechless", "exits", "tells-export"):
        error = failed.ran.error(f"{name}@cpu")
        assert "Traceback (most recent call last)" in (failed.project.root / error["log"]).read_text(), name


def test_what_model_code_raises_is_told_with_its_line(failed: Failed) -> None:
    source = (failed.project.root / "models.py").read_text().splitlines()
    for name in ("raises", "cannot-be-built", "exits", "branches"):
        error = failed.ran.error(f"{name}@cpu")
        where = error["where"]
        assert where["file"] == "models.py", name
        assert where["text"] == source[where["line"] - 1].strip(), name
        assert error["message"].endswith(f"; at models.py:{where['line']}: {where['text']}"), name


def test_the_log_of_a_crash_shows_where_it_happened(failed: Failed) -> None:
    log = failed.project.log("aborts@cpu")
    assert "Fatal Python error: Aborted" in log
    assert "models.py" in log


def test_the_report_shows_where_a_crash_and_a_hang_happened(failed: Failed) -> None:
    for name, words in (("aborts", "Fatal Python error: Aborted"), ("sleeps", "models.py")):
        assert words in "\n".join(failed.ran.error(f"{name}@cpu")["log_tail"]), name
    assert failed.ran.error("raises@cpu")["log_tail"] == []


def test_only_crashes_and_lack_of_memory_are_retried(failed: Failed) -> None:
    stages = {case: failed.ran.jobs[f"{case.name}@cpu"]["stages"][case.stage] for case in CASES}
    retried = {case.kind for case, stage in stages.items() if "retried alone" in stage["reason"]}
    assert retried == {"crash", "oom"}
    assert all(("retried" in stage["reason"]) == (case.kind in retried) for case, stage in stages.items())


def test_no_traceback_is_printed(failed: Failed) -> None:
    assert failed.ran.stderr == ""
    assert "Traceback" not in failed.ran.stdout
    assert "\x1b" not in failed.ran.stdout


def test_the_output_of_a_model_goes_to_its_log_only(failed: Failed) -> None:
    log = (failed.project.root / "cache/v1/logs/Prints@cpu/export.log").read_bytes()
    assert log.count("ä".encode()) >= 8 * 500_000
    assert b"\xff" * 100 in log
    assert "ää" not in failed.ran.stdout


def test_a_job_whose_environment_torch_reads_at_import_gets_a_process_of_its_own(failed: Failed) -> None:
    [line] = {line for line in failed.project.log("Spawned@cpu").splitlines() if line.startswith("threads")}
    assert line.startswith("threads 1 ")
    assert "batchexport.workers.child" in line


def test_no_process_outlives_the_run_not_even_one_that_a_model_started(failed: Failed) -> None:
    assert failed.project.processes() == {}


def test_nothing_is_left_in_staging(failed: Failed) -> None:
    assert list((failed.project.root / "cache" / "v1" / "staging").iterdir()) == []


def test_failures_are_not_cached_and_good_results_are(failed: Failed) -> None:
    again = failed.project.run("-k", "raises or Good or LeavesAProcess or Prints")
    assert again.outcomes() == {
        "raises@cpu": "failed",
        "Good@cpu": "cached",
        "Prints@cpu": "cached",
        "LeavesAProcess@cpu": "built",
    }
    stages = again.jobs["LeavesAProcess@cpu"]["stages"]
    assert "uncacheable: model code runs another program" in stages["export"]["reason"]
