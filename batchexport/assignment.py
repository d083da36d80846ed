"""An assignment gives a child its files: checked blobs, linked into its folder under the names torch expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchexport.jobrun import JobRun
from batchexport.planning.lookup import Miss
from batchexport.store.errors import BlobDamaged, BlobMissing
from batchexport.store.outputs import FILES
from batchexport.store.results import Result, Results
from batchexport.store.store import Record, Store
from batchexport.workplace import Workplace


class Assignments:
    """Makes the requests of one run's children."""

    def __init__(self, workplace: Workplace, results: Results) -> None:
        self._workplace = workplace
        self._results = results
        self._store: Store = workplace.store

    def request(self, run: JobRun, stage: str, miss: Miss, folder: Path, device: str | None = None) -> dict[str, Any]:
        """The request for a stage, to be worked on in `folder`, maybe on a device.

        Raises BlobMissing, BlobDamaged, StoreError.
        """
        return self._workplace.request(run.job, stage, folder, self._task(run, stage, miss, folder), device)

    def record(self, kind: str, result: Result) -> Record:
        """The record behind a result. Raises BlobMissing where it is gone."""
        record = self._results.record(kind, result.key)
        if record is None:
            raise BlobMissing(result.key)
        return record

    def _task(self, run: JobRun, stage: str, miss: Miss, folder: Path) -> dict[str, Any]:
        if stage == "export":
            base = None if miss.base is None else self._base(miss.base, miss.around, folder)
            return self._workplace.export_task(run.job, base)
        assert run.export is not None
        export = self.record("export", run.export)
        exported = self._linked(export, "exported", folder / FILES["exported"])
        if stage == "compile" and miss.code is None:
            return self._workplace.compile_task(run.job, run.export, exported)
        if miss.code is not None:
            return self._workplace.pack_task(run.job, run.export, exported, self._code(miss.code, folder))
        compiled = None
        if run.compiled is not None:
            record = self.record("compile", run.compiled)
            compiled = self._linked(record, "compiled", folder / FILES[run.job.compile.format])
        return self._workplace.verify_task(
            run.job,
            run.export,
            exported=exported,
            reference=self._linked(export, "reference", folder / "reference.pt"),
            compiled=compiled,
        )

    def _base(self, base: Result, around: Result | None, folder: Path) -> dict[str, Any]:
        """An earlier export, for `pipeline.reweigh`, and code to pack the weights around."""
        record = self.record("export", base)
        facts = {name: base.facts[name] for name in ("program", "skeleton", "modules", "likeness")}
        stored = {name: record.data[name] for name in ("state", "stats")}
        exported = str(self._linked(record, "exported", folder / "base.pt2"))
        code = None if around is None else self._code(around, folder)
        return {**facts, **stored, "exported": exported, "code": code}

    def _code(self, code: Result, folder: Path) -> dict[str, Any]:
        """Compiled code without its weights, for `pipeline.pack`."""
        record, files = self.record("code", code), folder / "code"
        files.mkdir()
        for name in record.files:
            self._linked(record, name, files / name)
        return {**code.facts, "folder": str(files), "frozen_file": str(files / "frozen.bin")}

    def _linked(self, record: Record, name: str, path: Path) -> Path:
        try:
            path.symlink_to(self._store.path(record, name))
        except (BlobMissing, BlobDamaged):
            self._results.forget(record.kind, record.key)
            raise
        return path
