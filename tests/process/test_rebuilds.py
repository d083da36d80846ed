"""Rebuilds: a change rebuilds exactly the jobs that depend on it and is named in their reasons."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save_file

from support.projects import Project, Ran
from support.settled import weights

pytestmark = pytest.mark.process


def reasons(ran: Ran) -> dict[str, str]:
    """Return the reason of each export that was built."""
    stages = {name: job["stages"]["export"] for name, job in ran.jobs.items()}
    return {name: stage["reason"] for name, stage in stages.items() if stage["outcome"] == "built"}


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def check(ran: Ran, expected: dict[str, str]) -> None:
    """Assert that exactly these jobs were exported again, each for its own reason."""
    assert ran.code == 0
    found = reasons(ran)
    assert found.keys() == expected.keys()
    for name, words in expected.items():
        assert [word for word in set(expected.values()) if word in found[name]] == [words], found[name]
    assert {name for name, outcome in ran.outcomes().items() if outcome == "cached"} == ran.jobs.keys() - expected


def test_each_changed_file_rebuilds_the_jobs_that_load_it_and_is_named(settled: Project) -> None:
    edit(settled, "helped.py", "nn.Linear(4, 2)", "nn.Linear(4, 3)")
    edit(settled, "data.json", "3.0", "4.0")
    save_file(weights(2.0), settled.root / "weights.safetensors")
    edit(settled, "manifest.toml", 'model = "twin:Model"', 'model = "twin:Model"\nseed = 5')
    check(
        settled.run(),
        {
            "helped@cpu": "helped.py changed",
            "reads@cpu": "data.json changed",
            "weighed@cpu": "weights.safetensors changed",
            "twin@cpu": "seed 0 → 5",
        },
    )


def test_a_shared_file_rebuilds_all_jobs_that_use_it_and_no_others(settled: Project) -> None:
    edit(settled, "helper.py", "2 * x", "3 * x")
    settled.write("tables/one.txt", "2")
    check(
        settled.run_alone(env={"OF_THE_MODEL": "2", "OF_NOBODY": "2"}),
        {
            "helped@cpu": "helper.py changed",
            "twin@cpu": "helper.py changed",
            "declares@cpu": "tables/one.txt changed",
            "listens@cpu": "OF_THE_MODEL changed",
        },
    )


def test_a_new_file_rebuilds_the_jobs_that_looked_for_it(settled: Project) -> None:
    settled.write("helper/__init__.py", "def scale(x):\n    return 5 * x\n")
    settled.write("tables/two.txt", "2")
    edit(settled, "reads.py", "Reads a file.", "Reads one file.")
    ran = settled.run()
    check(
        ran,
        {
            "helped@cpu": "helper/__init__.py appeared",
            "twin@cpu": "helper/__init__.py appeared",
            "declares@cpu": "tables/two.txt",
            "reads@cpu": "reads.py changed",
        },
    )
    # Early cutoff: a changed docstring gives the same archive, which was verified before.
    assert ran.outcomes("verify") == {
        "helped@cpu": "built",
        "twin@cpu": "built",
        **dict.fromkeys(["declares@cpu", "reads@cpu", "listens@cpu", "tells@cpu", "weighed@cpu"], "cached"),
    }


QUIET: dict[str, Callable[[Project], object]] = {
    "nothing": lambda p: None,
    "a comment and blank lines": lambda p: edit(p, "helped.py", "# doubles", "# doubles its input\n\n"),
    "the same bytes at another time": lambda p: os.utime(p.root / "helper.py", (time.time(), time.time() - 1000)),
    "a file that no model reads": lambda p: p.write("notes.txt", "a note"),
    "a module that no model imports": lambda p: p.write("other.py", "1 / 0"),
    "a comment in the manifest": lambda p: edit(p, "manifest.toml", "[[entry]]", "# a comment\n[[entry]]"),
}


@pytest.mark.parametrize("change", QUIET)
def test_a_change_without_effect_rebuilds_nothing_and_starts_no_process(settled: Project, change: str) -> None:
    QUIET[change](settled)
    log = settled.root / "cache" / "v1" / "logs" / "forkserver.log"
    log.unlink(missing_ok=True)
    ran = settled.run()
    assert ran.code == 0
    assert ran.built() == set()
    assert set(ran.outcomes().values()) == {"cached"}
    assert not log.exists()


def test_a_removed_or_damaged_output_is_delivered_again_without_a_build(settled: Project) -> None:
    gone, damaged = (settled.root / "dist" / name / "exported.pt2" for name in ("helped@cpu", "twin@cpu"))
    before = gone.read_bytes(), damaged.read_bytes()
    gone.unlink()
    damaged.write_bytes(before[1][:-1] + b"?")
    ran = settled.run()
    assert ran.code == 0
    assert ran.built() == set()
    assert (gone.read_bytes(), damaged.read_bytes()) == before


def test_new_weights_reuse_the_stored_graph_and_equal_a_clean_run(settled: Project) -> None:
    save_file(weights(5.0), settled.root / "weights.safetensors")
    ran = settled.run()
    assert ran.built() == {"weighed@cpu"}
    assert reasons(ran)["weighed@cpu"].endswith("other inputs same; the stored graph takes them")
    delivered = {path.name: path.read_bytes() for path in (settled.root / "dist" / "weighed@cpu").glob("*.pt2")}
    assert delivered
    settled.run("--cache-dir", "clean", "--only", "weighed@cpu")
    for name, content in delivered.items():
        assert (settled.root / "dist" / "weighed@cpu" / name).read_bytes() == content


def test_with_new_weights_and_new_code_the_model_is_exported_again(settled: Project) -> None:
    save_file(weights(6.0), settled.root / "weights.safetensors")
    edit(settled, "weighed.py", "class Model", "LIMIT = 1\n\n\nclass Model")
    ran = settled.run()
    assert "weighed@cpu" in ran.built()
    assert "stored graph" not in reasons(ran)["weighed@cpu"]


# It stores what it knows of its weights where nothing is compared: in a library.
KNOWS = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        if not torch.compiler.is_exporting():
            torch.known_to_be_positive = bool(self.linear.weight.sum() > 0)
        y = self.linear(x)
        return y + 1 if torch.known_to_be_positive else y
"""


def test_a_stored_graph_that_fails_verification_with_new_weights_is_exported_again(settled: Project) -> None:
    settled.write("knows.py", KNOWS)
    manifest = settled.root / "manifest.toml"
    entry = (
        'name = "knows"\nmodel = "knows:Model"\nweights = "knows.safetensors"\ninputs = { x = { shape = [3, 4] } }\n'
    )
    manifest.write_text(f"{manifest.read_text()}\n[[entry]]\n{entry}")
    save_file({"linear.weight": torch.ones(2, 4), "linear.bias": torch.ones(2)}, settled.root / "knows.safetensors")
    assert settled.run().code == 0
    save_file({"linear.weight": -torch.ones(2, 4), "linear.bias": torch.ones(2)}, settled.root / "knows.safetensors")
    ran = settled.run()
    assert ran.code == 0, ran
    reason = "the stored graph does not fit the new weights: exported.pt2 at the example: output"
    assert reasons(ran)["knows@cpu"].startswith(reason)
    delivered = (settled.root / "dist" / "knows@cpu" / "exported.pt2").read_bytes()
    assert settled.run().built() == set()
    settled.run("--cache-dir", "clean", "--only", "knows@cpu")
    assert (settled.root / "dist" / "knows@cpu" / "exported.pt2").read_bytes() == delivered
