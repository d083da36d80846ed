"""The generated model package: what each entry is built from, and which of it each entry uses.

Invariant: `USES` names all that an entry may depend on, so that an edit of anything else must leave it alone.
Values in templates ($GAIN) are what edits change.
"""

from __future__ import annotations

from collections.abc import Mapping

CHAIN = '''"""$DOC"""
import torch
from torch import nn

from models.block import Block


class Chain(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, width=4, lift=0.0):
        super().__init__()
        self.lift = lift
        self.blocks = nn.ModuleList([Block(width) for _ in range(2)])

    def forward(self, x):
        $LOCAL = x
        for block in self.blocks:
            $LOCAL = block($LOCAL)
        return $LOCAL + self.lift
'''

BLOCK = '''"""$DOC"""
from torch import nn

from models.tuning import GAIN


def squash(x, factor=$FACTOR):
    """x, scaled."""
    return x * factor


class Block(nn.Module):
    """A layer."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        $LOCAL = self.linear(x)
        return squash($LOCAL) * GAIN
'''

TUNING = '''"""$DOC"""
GAIN = $GAIN
'''

SENSES = '''"""$DOC"""
import codecs
import glob
import importlib
import importlib.resources
import importlib.util
import linecache
import mmap
import os
import pathlib
import pkgutil
import runpy
import sys

import numpy
import torch

READ = {}
READ["open"] = lambda path: open(path).read()
READ["open binary"] = lambda path: open(path, "rb").read().decode()
READ["pathlib"] = lambda path: pathlib.Path(path).read_text()
READ["absolute"] = lambda path: pathlib.Path(path).absolute().read_bytes().decode()
READ["os.open"] = lambda path: os.read(os.open(path, os.O_RDONLY), 4096).decode()
READ["linecache"] = lambda path: "".join(linecache.getlines(os.path.abspath(path)))
READ["mmap"] = lambda path: mmap.mmap(open(path, "rb").fileno(), 0, access=mmap.ACCESS_READ)[:].decode()
READ["numpy"] = lambda path: numpy.fromfile(path, dtype=numpy.uint8).tobytes().decode()
READ["codecs"] = lambda path: codecs.open(path, encoding="utf-8").read()
READ["pkgutil"] = lambda path: pkgutil.get_data("models", "../" + path).decode()
READ["resources"] = lambda path: importlib.resources.files("models").joinpath("../" + path).read_text()
READ["bytes path"] = lambda path: open(os.fsencode(path)).read()
READ["update"] = lambda path: open(path, "r+").read()



def mapped(path):
    """The text of a file that native code opens."""
    return bytes(torch.from_file(path, False, os.stat(path).st_size, dtype=torch.uint8).numpy()).decode()


READ["torch"] = mapped

THERE = {}
THERE["exists"] = lambda path: os.path.exists(path)
THERE["isfile"] = lambda path: os.path.isfile(path)
THERE["pathlib"] = lambda path: pathlib.Path(path).exists()
THERE["is_file"] = lambda path: pathlib.Path(path).is_file()
THERE["access"] = lambda path: os.access(path, os.R_OK)
THERE["lexists"] = lambda path: os.path.lexists(path)
THERE["glob"] = lambda path: bool(glob.glob(path))
THERE["listdir"] = lambda path: os.path.basename(path) in os.listdir(os.path.dirname(path))
THERE["scandir"] = lambda path: any(path == item.path for item in os.scandir(os.path.dirname(path)))
THERE["bytes path"] = lambda path: os.path.exists(os.fsencode(path))
THERE["walk"] = lambda path: any(os.path.basename(path) in files for _, _, files in os.walk(os.path.dirname(path)))


def opens(path):
    """Whether the file can be opened."""
    try:
        open(path).close()
    except OSError:
        return False
    return True


THERE["open"] = opens

NAMES = {}
NAMES["glob"] = lambda folder: glob.glob(folder + "/*.txt")
NAMES["listdir"] = lambda folder: [os.path.join(folder, name) for name in os.listdir(folder)]
NAMES["scandir"] = lambda folder: [item.path for item in os.scandir(folder)]
NAMES["iterdir"] = lambda folder: [str(path) for path in pathlib.Path(folder).iterdir()]
NAMES["rglob"] = lambda folder: [str(path) for path in pathlib.Path(folder).rglob("*.txt")]
NAMES["walk"] = lambda folder: [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
NAMES["bytes path"] = lambda folder: [os.path.join(folder, os.fsdecode(name)) for name in os.listdir(folder.encode())]

VARIABLE = {}
VARIABLE["get"] = lambda name: os.environ.get(name)
VARIABLE["getenv"] = lambda name: os.getenv(name)
VARIABLE["in"] = lambda name: os.environ[name] if name in os.environ else None
VARIABLE["bytes"] = lambda name: os.environb.get(name.encode(), b"").decode() or None
VARIABLE["copy"] = lambda name: os.environ.copy().get(name)
VARIABLE["expandvars"] = lambda name: os.path.expandvars("$${" + name + "}").replace("$${" + name + "}", "") or None
VARIABLE["setdefault"] = lambda name: os.environ.setdefault(name, "1.0")

LATE = {}
LATE["import_module"] = lambda name: importlib.import_module(name)
LATE["__import__"] = lambda name: __import__(name, fromlist=["finish"])


def executed(name):
    """The module as a namespace, its file executed."""
    found = {}
    with open(name.replace(".", "/") + ".py", "rb") as file:
        exec(compile(file.read(), name, "exec"), found)
    return type("Executed", (), {"finish": staticmethod(found["finish"])})


def found(name):
    """The module, through its spec."""
    spec = importlib.util.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(name):
    """The module, run as a script."""
    space = runpy.run_path(name.replace(".", "/") + ".py")
    return type("Ran", (), {"finish": staticmethod(space["finish"])})


LATE["spec"] = found
LATE["script"] = ran
LATE["exec"] = executed

TRIED = {}


def tried(name):
    """The module, or None where there is none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


TRIED["import"] = tried
TRIED["find_spec"] = lambda name: importlib.import_module(name) if importlib.util.find_spec(name) else None


def read_text(path):
    """The text of a file."""
    return READ["$READ"](path)


def is_there(path):
    """Whether there is such a file."""
    return THERE["$THERE"](path)


def listed(folder):
    """The text files of a folder."""
    return sorted(name for name in NAMES["$NAMES"](folder) if name.endswith(".txt"))


def variable(name, default):
    """An environment variable."""
    value = VARIABLE["$VARIABLE"](name)
    return default if value is None else value


def late(name):
    """A module, imported now."""
    return LATE["$LATE"](name)


def optional(name):
    """A module, if there is one."""
    return TRIED["$TRIED"](name)
'''

# Ways to get at a late module that go to its file, so that no other module can come to shadow it.
BY_FILE = ("script", "exec")

READER = '''"""$DOC"""
import json

from torch import nn

from models import senses


class Reader(nn.Module):
    """Numbers from files, some of them read late."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = json.loads(senses.read_text("data/scale.json"))["scale"]
        self.shift = sum(float(senses.read_text(path)) for path in senses.listed("data/parts"))
        if senses.is_there("data/override/scale.json"):
            self.scale = json.loads(senses.read_text("data/override/scale.json"))["scale"]
        self.flag = 2.0 if senses.is_there("data/flags/on") else 1.0
        self.link = float(senses.read_text("data/link"))

    def forward(self, x):
        $LOCAL = self.linear(x) * self.scale + self.shift
        extra = senses.optional("models.extra")
        $LOCAL = $LOCAL * self.flag - self.link
        if extra is not None:
            $LOCAL = $LOCAL + extra.EXTRA
        return senses.late("models.late").finish($LOCAL)
'''

LATE = '''"""$DOC"""


def finish(x):
    """The last step."""
    return x * $FINISH
'''

CKPT = '''"""$DOC"""
import torch
from torch import nn


class Ckpt(nn.Module):
    """Weights from a file: a small bias, a number and a buffer among them."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(4, 16)
        self.small = nn.Linear(16, 4)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        $LOCAL = self.small(torch.relu(self.wide(x)))
        return $LOCAL * self.scale - self.mean
'''

TIED = '''"""$DOC"""
import torch
from torch import nn


class Tied(nn.Module):
    """An embedding and a head that may share their weight."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16, bias=False)
        weight = self.embed.weight
        self.head.weight = $TIED
        self.register_buffer("spread", torch.tensor([$SPREAD] * 8), persistent=False)

    def forward(self, ids):
        $LOCAL = torch.tensor([$LIFTED, 0.5, -0.25, 1.0, 0.0, 0.125, 2.0, -1.0])
        return self.head(self.embed(ids) * self.spread + $LOCAL)
'''

OUTSIDE = '''"""$DOC"""
import labdist
import labside
from torch import nn

from models import senses


class Outside(nn.Module):
    """Numbers from elsewhere: a distribution, the import path, the environment."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.gain = float(senses.variable("LAB_GAIN", "1.0"))

    def forward(self, x):
        $LOCAL = self.linear(x) * self.gain + labside.BIAS + labdist.OFFSET
        extra = senses.optional("labextra")
        return $LOCAL if extra is None else $LOCAL + extra.EXTRA
'''

ASKER = '''"""$DOC"""
import getpass
import importlib.metadata
import os
import pathlib
import sqlite3

from torch import nn


def number(path):
    """The number in a file."""
    return float(pathlib.Path(path).read_text())


def version(name):
    """The version of a distribution, 0 where it is not installed."""
    try:
        return float(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return 0.0


class Asker(nn.Module):
    """Numbers from answers of the system rather than from the bytes of files."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        folder = pathlib.Path("data/asked/latest").resolve()
        self.link = number(folder / "value") + len(folder.name)
        self.dangling = number("data/asked/large") if os.path.exists("data/asked/large") else 0.5
        self.size = max(os.path.getsize(f"data/asked/sizes/{name}") for name in os.listdir("data/asked/sizes"))
        self.folders = sum(len(folders) for _, folders, _ in os.walk("data/asked/tree"))
        self.names = len([name for name in os.environ if name.startswith("ASK_")])
        self.user = len(getpass.getuser())
        self.version = version("labmeta")
        uri = "file:data/asked/a.db?mode=ro"
        self.row = sqlite3.connect(uri, uri=True).execute("select h from t").fetchone()[0]

    def forward(self, x):
        $LOCAL = self.linear(x) * self.link + self.dangling * self.size - self.folders
        return $LOCAL * (1 + self.names) + self.user * (1 + self.version) + self.row
'''

GATED = '''"""$DOC"""
import fcntl
import json

from torch import nn

from models import gate_help, senses


class Gated(nn.Module):
    """Waits, once all is read, for as long as somebody else holds the gate."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = json.loads(senses.read_text("data/gated/scale.json"))["scale"]
        self.shift = sum(float(senses.read_text(path)) for path in senses.listed("data/gated/parts"))
        if senses.is_there("data/gated/override/shift"):
            self.shift = float(senses.read_text("data/gated/override/shift"))
        self.flag = 2.0 if senses.is_there("data/gated/on") else 1.0
        self.extra = senses.optional("models.gate_extra")
        self.labopt = senses.optional("labopt")

    def forward(self, x):
        $LOCAL = gate_help.help(self.linear(x)) * self.scale + self.shift * self.flag + $START
        with open("data/gated/gate") as gate:
            print("at the gate", flush=True)
            fcntl.flock(gate, fcntl.LOCK_SH)
        for extra in (self.extra, self.labopt):
            if extra is not None:
                $LOCAL = $LOCAL + extra.EXTRA
        return senses.late("models.gate_late").finish($LOCAL)
'''

GATE_HELP = '''"""$DOC"""


def help(x):
    """A step."""
    return x * $HELP
'''

GIVEN = '''"""$DOC"""
import torch
from torch import nn


class Given(nn.Module):
    """Takes inputs that the manifest only names."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x)


def inputs():
    """Inputs, made here."""
    return {"x": torch.full((3, 4), $VALUE)}
'''

DIST = '''"""$DOC"""
OFFSET = $OFFSET
'''

SIDE = '''"""$DOC"""
BIAS = $BIAS
'''

EXTRA = """EXTRA = $EXTRA
"""

P = "project/"
M = P + "models/"
THIRD = "third/site-packages/"

# By prefix of a path, or a word that `World.meaning` knows.
_SENSES = (M + "senses", M + "__init__")
USES: Mapping[str, tuple[str, ...]] = {
    "chain-a": (M + "chain", M + "block", M + "tuning", M + "__init__"),
    "chain-b": (M + "chain", M + "block", M + "tuning", M + "__init__"),
    "reader": (
        M + "reader", M + "late", M + "extra", *_SENSES,
        P + "data/scale.json", P + "data/parts", P + "data/override", P + "data/flags", P + "data/link",
    ),
    "ckpt": (M + "ckpt", M + "__init__"),
    "tied": (M + "tied", M + "__init__", P + "data/card.json"),
    "fed": (M + "given", M + "__init__", P + "data/inputs.safetensors"),
    "made": (M + "given", M + "__init__"),
    "outside": (
        M + "outside", P + "labextra", P + "labside", P + "declared/", "side/", "first/", THIRD, "LAB_GAIN", *_SENSES,
    ),
    "asker": (M + "asker", M + "__init__", P + "data/asked/", "ASK_", "LOGNAME", THIRD + "labmeta"),
    "gated": (M + "gate", P + "labopt", P + "data/gated/", *_SENSES),
}  # fmt: skip
