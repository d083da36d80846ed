"""The project that a trial begins with: every model once, one of them as two entries, one with two checkpoints."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from random import Random
from typing import Any

from differential import package
from differential.package import THIRD, M, P
from differential.source import Source
from differential.weights import GATED, checkpoint, tensors
from differential.world import Link, State

X = {"x": {"shape": ["batch", 4]}}
COMPILED = ("chain-a", "ckpt", "tied")
WAYS = ("READ", "THERE", "NAMES", "VARIABLE", "LATE", "TRIED")


def ways(name: str) -> list[str]:
    """The ways that `models/senses.py` knows to do one thing, READ for instance."""
    lead = f'{name}["'
    return [line[len(lead) :].partition('"')[0] for line in package.SENSES.splitlines() if line.startswith(lead)]


def begin(rng: Random, *, compiled: bool) -> State:
    """The first state. `compiled`: a few entries, which are compiled; else all, which are not."""

    def source(template: str, **values: str) -> Source:
        return Source(template=template, values={"DOC": "A file of the laboratory.", "LOCAL": "y", **values})

    files: dict[str, Any] = {
        M + "__init__.py": source('"""$DOC"""\n'),
        M + "chain.py": source(package.CHAIN),
        M + "block.py": source(package.BLOCK, FACTOR="0.500000000000"),
        M + "tuning.py": source(package.TUNING, GAIN="1.500000000000"),
        M + "senses.py": source(package.SENSES, **{way: rng.choice(ways(way)) for way in WAYS}),
        M + "reader.py": source(package.READER),
        M + "late.py": source(package.LATE, FINISH="1.25"),
        M + "ckpt.py": source(package.CKPT),
        M + "tied.py": source(package.TIED, TIED="weight", SPREAD="1.0", LIFTED="1.0"),
        M + "given.py": source(package.GIVEN, VALUE="1.5"),
        M + "outside.py": source(package.OUTSIDE),
        M + "gated.py": source(package.GATED, START="0.0"),
        M + "gate_help.py": source(package.GATE_HELP, HELP="1.5"),
        M + "gate_late.py": source(package.LATE, FINISH="1.5"),
        P + "data/scale.json": b'{"scale": 1.000000000000}',
        P + "data/parts/one.txt": b"0.5",
        P + "data/override/README": b"",
        P + "data/flags/README": b"",
        P + "data/target-0": b"0.25",
        P + "data/link": Link("target-0"),
        P + "data/gated/gate": b"",
        P + "data/gated/scale.json": b'{"scale": 1.000000000000}',
        P + "data/gated/parts/one.txt": b"0.5",
        P + "data/gated/override/README": b"",
        P + "data/card.json": b"{}",
        P + "data/inputs.safetensors": tensors({"x": (3, 4)}, 0),
        M + "asker.py": source(package.ASKER),
        P + "data/asked/v1/value": b"1.25",
        P + "data/asked/v10/value": b"1.25",
        P + "data/asked/latest": Link("v1"),
        P + "data/asked/large": Link("store/large"),
        P + "data/asked/sizes/one": b"1",
        P + "data/asked/sizes/two": b"22",
        P + "data/asked/tree/file": b"",
        P + "data/asked/a.db": database(1),
        P + "declared/one.txt": b"",
        P + "weights/base.safetensors": checkpoint(1),
        P + "weights/tuned.safetensors": checkpoint(2),
        P + "weights/gated.safetensors": tensors(GATED, 3),
        "first/README": b"",
        "side/labside.py": source(package.SIDE, BIAS="0.5"),
    }
    files |= distribution("1.0", "0.25")
    entries: dict[str, dict[str, Any]] = {
        "chain-a": {"model": "models.chain:Chain", "kwargs": {"width": 4}, "inputs": X},
        "chain-b": {
            "model": "models.chain:Chain",
            "kwargs": {"width": 6},
            "inputs": {"x": {"shape": ["batch", 6]}},
            "seed": 1,
        },
        "reader": {"model": "models.reader:Reader", "inputs": X},
        "ckpt": {
            "model": "models.ckpt:Ckpt",
            "inputs": X,
            "checkpoints": {"base": "weights/base.safetensors", "tuned": "weights/tuned.safetensors"},
        },
        "tied": {
            "model": "models.tied:Tied",
            "inputs": {"ids": {"shape": ["batch"], "dtype": "int64", "range": [0, 16]}},
            "export": {"extra_files": {"card.json": "data/card.json"}},
        },
        "fed": {"model": "models.given:Given", "inputs": "data/inputs.safetensors"},
        "made": {"model": "models.given:Given", "inputs": "models.given:inputs"},
        "outside": {"model": "models.outside:Outside", "inputs": X, "data": ["declared/*.txt"]},
        "asker": {"model": "models.asker:Asker", "inputs": X},
        "gated": {"model": "models.gated:Gated", "inputs": X, "weights": "weights/gated.safetensors"},
    }
    if compiled:
        entries = {name: table for name, table in entries.items() if name in COMPILED}
    for name, table in entries.items():
        table["name"] = name
        if isinstance(table["inputs"], dict):
            table["dims"] = {"batch": {"min": 1, "max": 16, "example": 3}}
        table["compile"] = {} if compiled else {"format": "none"}
    return State(
        files=files,
        entries=entries,
        env={"LAB_GAIN": "1.5", "LOGNAME": "ann"},
        path=["first", "side", THIRD.rstrip("/")],
    )


def distribution(version: str, offset: str) -> dict[str, Any]:
    """The files of the installed distribution `labdist`."""
    code = Source(template=package.DIST, values={"DOC": "Installed.", "OFFSET": offset})
    digest = base64.urlsafe_b64encode(hashlib.sha256(code.text()).digest()).rstrip(b"=").decode()
    info = f"labdist-{version}.dist-info"
    record = f"labdist/__init__.py,sha256={digest},{len(code.text())}\n{info}/METADATA,,\n{info}/RECORD,,\n"
    metadata = f"Metadata-Version: 2.1\nName: labdist\nVersion: {version}\n"
    return {
        THIRD + "labdist/__init__.py": code,
        THIRD + f"{info}/METADATA": metadata.encode(),
        THIRD + f"{info}/RECORD": record.encode(),
    }


def database(number: int) -> bytes:
    """The bytes of an SQLite database with this number in its only row."""
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (h)")
    connection.execute("insert into t values (?)", (number,))
    connection.commit()
    return connection.serialize()


def declared(state: State) -> str:
    """The state, for a person who wants to see it."""
    return json.dumps({"entries": state.entries, "env": state.env, "path": state.path}, indent=1)
