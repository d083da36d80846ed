"""README.md, docs/index.md and docs/guide.md as a reader follows them, in one folder and with one run that builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from support.pages import ROOT, Block, blocks, put_on_path, to_run
from support.projects import GUARD

pytestmark = [pytest.mark.process, pytest.mark.torch]

THIS = "tests/process/test_pages.py"
README, INDEX, GUIDE = "README.md", "docs/index.md", "docs/guide.md"
MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class MLP(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 4))

    def forward(self, x):
        return self.layers(x)


class Tagger(nn.Module):
    def __init__(self, words=100):
        super().__init__()
        self.words = nn.Embedding(words, 8)
        self.tags = nn.Linear(8, 3)

    def forward(self, ids):
        return self.tags(self.words(ids))


class Merge(nn.Module):
    def forward(self, small, large):
        return nn.functional.interpolate(small, scale_factor=2) + large


class Undecided(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1
"""


class Reader:
    """A folder with the models that the pages speak of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[str] = []
        (folder / "models.py").write_text(MODELS)
        words = nn.Embedding(100, 8).weight
        tags = nn.Linear(8, 3)
        state = {"words.weight": words, "tags.weight": tags.weight, "tags.bias": tags.bias}
        state = {f"module.{name}": value.detach() for name, value in state.items()}
        torch.save({"model": state, "epoch": 3}, folder / "last.pt")
        self.bin = put_on_path(folder)

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=False,
        )


def entries_of(page: str) -> str:
    """The entries of a page; those of the guide are not compiled, as one compile shows as much as ten."""
    text = ""
    for block in blocks(page, language="toml"):
        if "[[entry]]" not in block.text or "[pools" in block.text or "transformers:" in block.text:
            continue
        entry = block.text.replace("schema = 1\n", "")
        text += re.sub(r"(?m)^(model = .*)$", r'\1\ncompile.format = "none"', entry) if page == GUIDE else entry
    return text


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader who has done the first steps, with the entries of README and guide in the same manifest."""
    made = Reader(tmp_path_factory.mktemp("reader"))
    (first,) = to_run(README, THIS, language="sh")
    assert to_run(INDEX, THIS, language="sh")[0].text == first.text
    init, run = first.lines_to_type()
    done = made.types("bash", "-c", init)
    assert done.returncode == 0, done.stderr
    with (made.folder / "manifest.toml").open("a") as manifest:
        manifest.write("\n" + entries_of(README) + entries_of(GUIDE))
    done = made.types("bash", "-c", run)
    assert done.returncode == 0, done.stdout + done.stderr
    made.log += done.stdout.splitlines()
    return made


def test_a_first_run_prints_what_the_readme_shows(reader: Reader) -> None:
    (shown,) = to_run(README, THIS, language="console")
    assert shown.lines_to_type() == ["batchexport run manifest.toml"]
    _, job, last = (re.sub(r"\d+\.\d+", "0.0", line) for line in shown.text.splitlines())
    printed = [re.sub(r"\d+\.\d+", "0.0", line) for line in reader.log]
    assert re.split(" +", job) in [re.split(" +", line) for line in printed]
    head, tail = re.sub(r"\d+ jobs?: \d+", "N", last).split(" ok, ")[0], last.rpartition(" in ")[2]
    assert re.sub(r"\d+ jobs?: \d+", "N", printed[-1]).startswith(head) and printed[-1].endswith(tail)


def test_the_first_result_is_called_as_the_index_says(reader: Reader) -> None:
    (block,) = to_run(INDEX, THIS, language="python")
    called = reader.types(sys.executable, "-c", block.text)
    assert called.stdout == "torch.Size([5, 2])\n", called.stderr


def test_every_entry_of_the_guide_is_delivered_or_fails_as_it_says(reader: Reader) -> None:
    listed = reader.types("bash", "-c", "batchexport ls manifest.toml").stdout
    jobs = {name: state for state, name in re.findall(r"^(\w+) +(\S+)@cpu", listed, re.M)}
    assert jobs == {
        "net": "delivered",
        "mlp": "delivered",
        "tagger": "delivered",
        "merge": "delivered",
        "trained": "delivered",
        **{f"sizes[words={words},{dtype}]": "delivered" for words in (100, 1000) for dtype in ("keep", "bfloat16")},
        "undecided": "missing",
    }


@pytest.mark.parametrize("block", to_run(GUIDE, THIS, language="sh"), ids=lambda block: block.place)
def test_the_commands_of_the_guide_work(reader: Reader, block: Block) -> None:
    done = reader.types("bash", "-ec", block.text)
    assert done.returncode == 0, done.stdout + done.stderr
