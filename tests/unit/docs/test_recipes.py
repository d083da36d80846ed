"""The files of docs/nightly/ as services read them; tests/process/test_nightly.py runs their commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

NIGHTLY = Path(__file__).parents[3] / "docs" / "nightly"
WORKFLOWS = ("github.yml", "gitlab-ci.yml")


def scripts(form: Any) -> list[str]:
    """The shell scripts of a workflow of GitHub, or of the jobs of GitLab."""
    if isinstance(form, list):
        return [script for item in form for script in scripts(item)]
    if not isinstance(form, dict):
        return []
    found = [script for value in form.values() for script in scripts(value)]
    return found + [
        "\n".join([value] if isinstance(value, str) else value)
        for key, value in form.items()
        if key in {"run", "before_script", "script", "after_script"}
    ]


def done(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, **more)


@pytest.mark.parametrize(
    ("name", "schema", "right", "mistake"),
    [
        ("github.yml", "vendor.github-workflows", "timeout-minutes: 300", "timeout-minutes: long"),
        ("gitlab-ci.yml", "vendor.gitlab-ci", "when: always", "when: sometimes"),
    ],
)
def test_a_workflow_is_what_its_service_accepts(
    name: str, schema: str, right: str, mistake: str, tmp_path: Path
) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: make venv")
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema)
    checked = done(*command, NIGHTLY / name)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    wrong = tmp_path / name
    wrong.write_text((NIGHTLY / name).read_text().replace(right, mistake))
    assert done(*command, wrong).returncode == 1, "the check finds a mistake"


@pytest.mark.parametrize("name", [*WORKFLOWS, "nightly.sh"])
def test_scripts_are_bash(name: str) -> None:
    text = (NIGHTLY / name).read_text(encoding="utf-8")
    found = [text] if name.endswith(".sh") else scripts(yaml.safe_load(text))
    assert any("batchexport run " in script for script in found)
    for script in found:
        assert done("bash", "-n", "-c", script).stderr == ""


def test_units_are_what_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    home = tmp_path / "home"
    script = home / "models" / "nightly.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(NIGHTLY / "nightly.sh", script)
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for name in ("batchexport-nightly.service", "batchexport-nightly.timer"):
        shutil.copy(NIGHTLY / name, tmp_path)
    command = ("systemd-analyze", "--user", "--man=no", "verify", tmp_path / "batchexport-nightly.timer")
    checked = done(*command, env=environment)
    if "Failed to initialize manager" in checked.stderr:
        pytest.skip("systemd-analyze can't verify units of a user here")
    assert (checked.returncode, checked.stderr) == (0, "")
    script.unlink()
    service = ("systemd-analyze", "--user", "--man=no", "verify", tmp_path / "batchexport-nightly.service")
    assert "is not executable" in done(*service, env=environment).stderr, "the check finds a mistake"


def test_the_line_for_cron_has_a_time_and_a_command() -> None:
    (line,) = [one for one in (NIGHTLY / "crontab").read_text().splitlines() if re.match(r"[\d*]", one)]
    *times, command = line.split(None, 5)
    assert all(re.fullmatch(r"\*|\d+", one) for one in times) and len(times) == 5
    assert done("sh", "-n", "-c", command).stderr == ""


def test_the_dockerfile_passes_hadolint(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("hadolint")
    if not command.is_file():
        pytest.skip("hadolint is not installed: make venv")
    checked = done(command, NIGHTLY / "Dockerfile")
    assert (checked.returncode, checked.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((NIGHTLY / "Dockerfile").read_text().replace("--no-cache-dir", ""))
    assert "DL3042" in done(command, wrong).stdout, "the check finds a mistake"
