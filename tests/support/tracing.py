"""What the kernel was asked while model code ran, as strace saw it, held against the account of the observer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.observing import Seen, observe

SETUP = """
import json, os, pickle, sqlite3, struct, tarfile, wave, zipfile
from pathlib import Path
import numpy, torch, yaml
from safetensors.torch import save_file
for folder in ("data", "data/deep", "package", "plugins", "v1"):
    os.makedirs(folder, exist_ok=True)
Path("data/a.json").write_text('{"h": 8}')
Path("data/a.txt").write_text("h 8\\nw 9\\n")
Path("data/a.csv").write_text("h,w\\n8,9\\n")
Path("data/a.ini").write_text("[a]\\nh = 8\\n")
Path("data/a.toml").write_text("h = 8\\n")
Path("data/a.yaml").write_text("h: 8\\n")
Path("data/a.xml").write_text("<a><h>8</h></a>")
Path("data/deep/b.json").write_text("{}")
Path("package/__init__.py").write_text("")
Path("package/inner.py").write_text("H = 8\\n")
Path("package/h.txt").write_text("8")
Path("plugins/one.py").write_text("H = 8\\n")
pickle.dump({"h": 8}, open("data/a.pickle", "wb"))
numpy.save("data/a.npy", numpy.ones(8)); numpy.savez("data/a.npz", h=numpy.ones(8))
numpy.savetxt("data/a.dat", numpy.ones(8)); numpy.ones(8).tofile("data/a.bin")
torch.save({"h": torch.ones(8)}, "data/a.pt")
torch.save({"h": torch.ones(8)}, "data/old.pt", _use_new_zipfile_serialization=False)
torch.jit.script(torch.nn.Linear(2, 2)).save("data/script.pt")
torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), "data/exported.pt2")
with torch.package.PackageExporter("data/package.pt") as exporter:
    exporter.save_pickle("data", "h.pkl", {"h": 8})
save_file({"h": torch.ones(8)}, "data/a.safetensors")
with zipfile.ZipFile("data/a.zip", "w") as archive:
    archive.writestr("h.txt", "8"); archive.writestr("zipped.py", "H = 8")
with tarfile.open("data/a.tar.gz", "w:gz") as archive: archive.add("data/a.txt")
with wave.open("data/a.wav", "wb") as sound: sound.setparams((1, 2, 8, 0, "NONE", "")); sound.writeframes(b"0" * 16)
database = sqlite3.connect("data/a.db"); database.execute("create table t (h)"); database.commit(); database.close()
os.symlink("a.json", "data/link.json"); os.symlink("missing.json", "data/dangling.json"); os.symlink("data", "latest")
import ctypes, subprocess
Path("lib.c").write_text("int h(void) { return 8; }\\n")
subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", "data/libh.so", "lib.c"], check=True)
Path("user.c").write_text("int h(void); int g(void) { return h(); }\\n")
subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", "data/libg.so", "user.c", "-Ldata", "-lh",
                "-Wl,-rpath,$ORIGIN"], check=True)
os.remove("lib.c"); os.remove("user.c")
import _bisect, shutil
shutil.copy(_bisect.__file__, "data/fast.so"); shutil.copy(_bisect.__file__, "data/other.so")
from tokenizers import Tokenizer, models
Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save("data/tokenizer.json")
Path("data/config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
import h5py
with h5py.File("data/a.h5", "w") as file: file["h"] = 8
import io, sentencepiece
with open("data/a.model", "wb") as file:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g h"] * 9), model_writer=file, vocab_size=12, minloglevel=9)
"""

WAYS = {
    "open": 'open("data/a.json").read()',
    "Path.read_bytes": 'from pathlib import Path; Path("data/a.json").read_bytes()',
    "os.open": 'import os; os.read(os.open("data/a.json", os.O_RDONLY), 9)',
    "os.open at a folder": "import os; d = os.open('data', 0); os.close(os.open('a.json', 0, dir_fd=d))",
    "json": 'import json; json.load(open("data/a.json"))',
    "pickle": 'import pickle; pickle.load(open("data/a.pickle", "rb"))',
    "csv": 'import csv; list(csv.reader(open("data/a.csv")))',
    "configparser": 'import configparser; configparser.ConfigParser().read(["data/a.ini", "data/no.ini"])',
    "tomllib": 'import tomllib; tomllib.load(open("data/a.toml", "rb"))',
    "yaml": 'import yaml; yaml.safe_load(open("data/a.yaml"))',
    "xml": 'import xml.etree.ElementTree as E; E.parse("data/a.xml")',
    "linecache": 'import linecache; linecache.getlines("data/a.txt")',
    "fileinput": 'import fileinput; list(fileinput.input("data/a.txt"))',
    "shelve": "import dbm\ntry: dbm.open('data/a', 'r')\nexcept Exception: pass",
    "wave": 'import wave; wave.open("data/a.wav").readframes(8)',
    "zipfile": 'import zipfile; zipfile.ZipFile("data/a.zip").read("h.txt")',
    "zip on the import path": 'import sys; sys.path.append("data/a.zip"); import zipped',
    "tarfile": 'import tarfile; tarfile.open("data/a.tar.gz").getmembers()',
    "mmap": 'import mmap; f = open("data/a.bin", "r+b"); mmap.mmap(f.fileno(), 0)[:]',
    "sqlite": 'import sqlite3; sqlite3.connect("data/a.db").execute("select * from t").fetchall()',
    "sqlite URI": 'import sqlite3; sqlite3.connect("file:data/a.db?mode=ro", uri=True).execute("select * from t")',
    "sqlite attach": "import sqlite3; sqlite3.connect(':memory:').execute(\"attach 'data/a.db' as a\")",
    "numpy.load": 'import numpy; numpy.load("data/a.npy")',
    "numpy.load, npz": 'import numpy; numpy.load("data/a.npz")["h"]',
    "numpy.load, mapped": 'import numpy; numpy.load("data/a.npy", mmap_mode="r")[0]',
    "numpy.memmap": 'import numpy; numpy.memmap("data/a.bin", dtype="uint8")[0]',
    "numpy.fromfile": 'import numpy; numpy.fromfile("data/a.bin")',
    "numpy.loadtxt": 'import numpy; numpy.loadtxt("data/a.dat")',
    "torch.load": 'import torch; torch.load("data/a.pt")',
    "torch.load, any object": 'import torch; torch.load("data/a.pt", weights_only=False)',
    "torch.load, mapped": 'import torch; torch.load("data/a.pt", mmap=True)',
    "torch.load, file": 'import torch; torch.load(open("data/a.pt", "rb"))',
    "torch.load, old": 'import torch; torch.load("data/old.pt")',
    "torch.load, on meta": 'import torch; torch.load("data/a.pt", map_location="meta")',
    "torch.jit.load": 'import torch; torch.jit.load("data/script.pt")',
    "torch.export.load": 'import torch; torch.export.load("data/exported.pt2")',
    "torch.package": 'import torch; torch.package.PackageImporter("data/package.pt").load_pickle("data", "h.pkl")',
    "torch.from_file": 'import torch; torch.from_file("data/a.bin", size=8)',
    "UntypedStorage.from_file": 'import torch; torch.UntypedStorage.from_file("data/a.bin", False, 8)',
    "torch reader": 'import torch; torch._C.PyTorchFileReader("data/a.pt").get_all_records()',
    "safetensors.torch": 'from safetensors.torch import load_file; load_file("data/a.safetensors")',
    "safetensors.numpy": 'from safetensors.numpy import load_file; load_file("data/a.safetensors")',
    "safe_open": 'from safetensors import safe_open; safe_open("data/a.safetensors", "pt").keys()',
    "tokenizers": 'from tokenizers import Tokenizer; Tokenizer.from_file("data/tokenizer.json")',
    "AutoConfig": 'from transformers import AutoConfig; AutoConfig.from_pretrained("data")',
    "tokenizer of a folder": "from transformers import PreTrainedTokenizerFast as T\n"
    'T(tokenizer_file="data/tokenizer.json")',
    "h5py": 'import h5py; h5py.File("data/a.h5")["h"][()]',
    "h5py, closed": 'import h5py\nwith h5py.File("data/a.h5") as f: f["h"][()]',
    "sentencepiece": 'import sentencepiece; sentencepiece.SentencePieceProcessor(model_file="data/a.model")',
    "pandas, hdf": 'import pandas, h5py; pandas.DataFrame(h5py.File("data/a.h5").keys())',
    "pandas": 'import pandas; pandas.read_csv("data/a.csv")',
    "importlib.resources": 'import importlib.resources as r; r.files("package").joinpath("h.txt").read_text()',
    "pkgutil.get_data": 'import pkgutil; pkgutil.get_data("package", "h.txt")',
    "pkgutil.iter_modules": 'import pkgutil; [m.name for m in pkgutil.iter_modules(["plugins"])]',
    "import a submodule": "import package.inner",
    "import from a path": "import importlib.util as u; s = u.spec_from_file_location('one', 'plugins/one.py')\n"
    "s.loader.exec_module(u.module_from_spec(s))",
    "runpy": 'import runpy; runpy.run_path("plugins/one.py")',
    "exec": 'exec(compile(open("plugins/one.py").read(), "plugins/one.py", "exec"))',
    "an optional module": "try: import package.missing\nexcept ImportError: pass",
    "CDLL": 'import ctypes; ctypes.CDLL("./data/libh.so").h()',
    "CDLL, a library behind a library": 'import ctypes; ctypes.CDLL("./data/libg.so").g()',
    "LoadLibrary": 'import ctypes, os; ctypes.cdll.LoadLibrary(os.path.abspath("data/libh.so"))',
    "fopen": 'import ctypes; ctypes.CDLL(None).fopen(b"data/a.bin", b"rb")',
    "open of the C library": 'import ctypes; ctypes.CDLL(None).open(b"data/a.bin", 0)',
    "listdir": 'import os; os.listdir("data")',
    "scandir": 'import os; [e.name for e in os.scandir("data")]',
    "walk": 'import os; list(os.walk("data"))',
    "fwalk": 'import os; list(os.fwalk("data"))',
    "glob": 'import glob; glob.glob("data/*.json"); glob.glob("data/**/*.json", recursive=True)',
    "Path.rglob": 'from pathlib import Path; list(Path("data").rglob("*.json"))',
    "Path.iterdir": 'from pathlib import Path; [p.is_file() for p in Path("data").iterdir()]',
    "listing of a descriptor": 'import os; os.listdir(os.open("data", os.O_RDONLY))',
    "exists": 'import os; os.path.exists("data/a.json"); os.path.exists("data/none")',
    "isdir": 'import os; os.path.isdir("data"); os.path.isfile("data")',
    "getsize": 'import os; os.path.getsize("data/a.json")',
    "Path.stat": 'from pathlib import Path; Path("data/a.json").stat().st_mtime',
    "lstat": 'import os; os.lstat("data/link.json").st_size; os.path.islink("data/link.json")',
    "stat at a folder": 'import os; os.stat("a.json", dir_fd=os.open("data", os.O_RDONLY)).st_size',
    "access": 'import os; os.access("data/a.json", os.X_OK); os.access("data/none", os.F_OK)',
    "readlink": 'import os; os.readlink("data/link.json")',
    "realpath": 'import os; os.path.realpath("latest/link.json")',
    "Path.resolve": 'from pathlib import Path; Path("latest/link.json").resolve()',
    "a dangling link": 'import os; os.path.exists("data/dangling.json")',
    "shutil.copy": 'import shutil; shutil.copy("data/a.json", "copy.json")',
    "shutil.copytree": 'import shutil; shutil.copytree("package", "copied")',
    "filecmp": 'import filecmp; filecmp.cmp("data/a.json", "data/a.txt", shallow=False)',
    "hashlib": 'import hashlib; hashlib.file_digest(open("data/a.json", "rb"), "sha256")',
    "a thread": "import threading as t; x = t.Thread(target=lambda: open('data/a.json').read()); x.start(); x.join()",
    "another folder": 'import os; os.chdir("data"); open("a.json").read(); os.stat("deep/b.json").st_size',
}

CALL = re.compile(r'^\d+ +(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>(?:, )?)?(?:"((?:[^"\\]|\\.)*)")?(.*)$')


def calls(root: Path, trace: str) -> Iterator[tuple[str, str, str]]:
    """Yield what was asked between the two marks: call, absolute path, and the rest of the line."""
    watching = False
    for line in trace.splitlines():
        if '"/observed-begins"' in line or '"/observed-ends"' in line:
            watching = "begins" in line
        elif watching and (match := CALL.match(line)) is not None:
            name, folder, path, rest = match.groups()
            if name == "getdents64" or path:
                yield name, str(Path(folder or root, path or "")), rest


def unaccounted(root: Path, trace: str, seen: Seen) -> set[str]:
    """Return what was looked at in the project and is not in the account."""
    subjects = {str(root / subject) for kind, subject, *_ in seen.found if kind not in ("modules", "environment")}
    listed = {str(root / subject) for kind, subject, *_ in seen.found if kind in ("listing", "kinds")}
    absent = {str(root / subject) for kind, subject, *_ in seen.found if kind == "absent"}
    packages = {str(Path(path).parent) for path in subjects if path.endswith(".py")} | {str(root)}
    names = {name for kind, subject, *rest in seen.found if kind == "modules" for name in rest[0].split()}
    names |= {subject for kind, subject, *_ in seen.found if kind in ("no-module", "namespace")}
    missing = set()
    for name, found, rest in calls(root, trace):
        path = str(Path(*Path(found).parts))
        if not path.startswith(f"{root}/") or "__pycache__" in path or "O_WRONLY" in rest or "O_CREAT" in rest:
            continue
        if name in ("mkdir", "rename", "unlink", "chmod", "utimensat", "chdir", "execve", "fchmodat", "mkdirat"):
            continue
        is_way = any(subject.startswith(f"{path}/") for subject in subjects)
        is_import = str(Path(path).parent) in packages and Path(path).name.partition(".")[0] in names
        is_below_nothing = any(str(parent) in absent for parent in Path(path).parents)
        is_listing = name == "getdents64" and (path in listed or path in packages)
        if path in subjects or is_way or is_import or is_listing or is_below_nothing:
            continue
        if str(Path(path).parent) in listed and name != "openat":  # of which the kinds count
            continue
        missing.add(f"{name} {path.removeprefix(f'{root}/')}")
    return missing


def observe_traced(
    root: Path, code: str, trace: Path, server: subprocess.Popen[str], before: str = ""
) -> tuple[Seen, str]:
    """Run model code under the observer; return what it saw, and what strace saw."""
    start = trace.stat().st_size if trace.exists() else 0
    seen = observe(root, code, server=server, before=before)
    with trace.open(errors="replace") as file:
        file.seek(start)
        return seen, file.read()
