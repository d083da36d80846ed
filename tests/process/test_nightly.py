"""docs/nightly/ as docs/nightly.md describes it: a job that fails, and the steps of workflows."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support.pages import put_on_path
from support.projects import GUARD

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
NIGHTLY = ROOT / "docs" / "nightly"
MODELS = """
import torch

class Good(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

class Bad(Good):
    def forward(self, input):
        raise RuntimeError("no night for this")
"""
MANIFEST = """
schema = 1

[defaults]
inputs.input = { shape = ["batch", 4] }
dims.batch = { min = 1, max = 8 }
compile.format = "none"

[[entry]]
name = "good"
model = "models:Good"

[[entry]]
name = "bad"
model = "models:Bad"
"""


class Nights:
    """A folder with models, and the script run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models.py").write_text(MODELS)
        (folder / "manifest.toml").write_text(MANIFEST)
        self.bin = put_on_path(folder)

    def done(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program with a short PATH, as cron does, in the folder of the manifest."""
        path = f"{self.bin}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **variables}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=GUARD, check=False
        )

    def night(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.done(str(NIGHTLY / "nightly.sh"), "manifest.toml", *words, **variables)

    def kept(self) -> list[Path]:
        return sorted((self.folder / "reports").glob("20*"))


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return Nights(tmp_path_factory.mktemp("nights"))


def test_a_night_with_a_failure_exits_with_1_and_keeps_all_reports(nights: Nights) -> None:
    ended = nights.night()
    (night,) = nights.kept()
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "no night for this" in ended.stdout
    assert ended.stdout.splitlines()[-1] == f"nightly: exit code 1, see ./reports/{night.name}"
    assert {one.name for one in night.iterdir()} == {"gc.log", "index.html", "junit.xml", "report.json", "run.log"}
    jobs = json.loads((night / "report.json").read_text())["jobs"]
    assert {job["name"]: job["ok"] for job in jobs} == {"good@cpu": True, "bad@cpu": False}
    assert os.readlink(nights.folder / "reports" / "latest") == night.name


def test_a_good_night_prints_nothing_and_keeps_as_many_nights_as_it_is_told(nights: Nights) -> None:
    (before,) = nights.kept()
    ended = nights.night("-k", "good", NIGHTLY_KEEP="1", NIGHTLY_CACHE="1B")
    (night,) = nights.kept()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert night != before
    assert "bad@cpu" in (night / "changes.txt").read_text()
    assert "everything cached" in (night / "run.log").read_text()
    assert "the limit is 1 B" in (night / "gc.log").read_text()


def test_a_night_that_meets_the_one_before_does_nothing(nights: Nights) -> None:
    before = nights.kept()
    with (nights.folder / "reports" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = nights.night()
    assert (ended.returncode, ended.stdout) == (75, "")
    assert ended.stderr == "nightly: the night before is not over yet, nothing is done\n"
    assert nights.kept() == before


def test_a_mistake_in_the_manifest_is_told_with_its_code(nights: Nights) -> None:
    ended = nights.night("--tag", "none-such")
    assert ended.returncode == 2
    assert "none-such" in ended.stdout


def test_the_steps_of_the_workflows_and_the_line_of_cron_run(nights: Nights) -> None:
    good, _, bad = MANIFEST.rpartition("[[entry]]")
    assert "models:Bad" in bad
    (nights.folder / "manifest.toml").write_text(good)  # which is built; the rest of this test starts no process
    steps = yaml.safe_load((NIGHTLY / "github.yml").read_text())["jobs"]["export"]["steps"]
    job = yaml.safe_load((NIGHTLY / "gitlab-ci.yml").read_text())["nightly-export"]
    for script in (
        "\n".join(step["run"] for step in steps if "batchexport " in step.get("run", "") and "pip" not in step["run"]),
        "\n".join([*job["script"], *job["after_script"]]),
    ):
        done = nights.done("bash", "-e", "-c", script, BATCHEXPORT_CACHE_DIR=str(nights.folder / "cache"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "everything cached" in done.stdout and "the limit is 5.0 GiB" in done.stdout
        reports = nights.folder / "nightly"
        assert {one.name for one in reports.iterdir()} == {"index.html", "junit.xml", "report.json"}
        shutil.rmtree(reports)
    shutil.copy(NIGHTLY / "nightly.sh", nights.folder)
    line = (NIGHTLY / "crontab").read_text().splitlines()[-1].split(None, 5)[5]
    before = len(nights.kept())
    done = nights.done("sh", "-c", line.replace("/srv/models", str(nights.folder)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(nights.kept()) == before + 1
