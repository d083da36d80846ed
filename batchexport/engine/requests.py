"""Build the request for a child, with all it needs to run one stage: task, folder, log, environment and files."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.archives import vet
from batchexport.core.job import Job, Manifest
from batchexport.engine.job_run import JobRun
from batchexport.planning.lookup import Miss, PackWeights, SwapWeights
from batchexport.store.errors import BlobDamaged, BlobMissing, translate_os_errors
from batchexport.store.layout import ensure_real_dir
from batchexport.store.outputs import FILES
from batchexport.store.results import Result, Results
from batchexport.store.store import Record, Store
from batchexport.toolchain.probe import COMPILER, REACHING, compiler_path, import_path
from batchexport.workers.launchers import installed_launcher, log_variable
from batchexport.workers.protocol import StageRequest

_DRAFT_REPORT = "draft_export.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequests:
    """Build the requests of one run.

    Stored files are checked and linked into a child's folder under the names that torch expects. A stage runs with
    `worker_threads` threads and its code is compiled for `code_threads`, unless the entry's environment sets a number.
    `memory` is the bytes that all children may hold together, None for no limit. `compilers` is the folder of what
    compilers make once per toolchain.
    """

    manifest: Manifest
    store: Store
    results: Results
    worker_threads: int
    code_threads: int
    compilers: Path
    memory: int | None = None

    def server_environment(self) -> dict[str, str]:
        """Return the environment of the fork server, with every variable that torch reads when it is imported.

        Raises DiskFull, StoreError.
        """
        with translate_os_errors(self.store.layout.root):
            for folder in ("tmp", "cache"):  # compilers must not write through a link to somewhere else
                ensure_real_dir(self.compilers / folder)
            if (server_log := self.store.layout.logs / "forkserver.log").is_symlink():
                server_log.unlink()
        with contextlib.suppress(OSError):  # delivering outputs meets the same error and reports it
            # Make it before any model runs: one that lists the parent folder would else see it appear.
            self.manifest.output_dir.mkdir(parents=True, exist_ok=True)
        return {**os.environ, **self._server_settings()}

    def for_stage(self, run: JobRun, stage: str, miss: Miss, folder: Path, device: str | None = None) -> StageRequest:
        """Return the request for the stage that `miss` describes, to run in `folder`, and on a device if one is given.

        Raises BlobMissing, BlobDamaged, StoreError, UnsafeArchive.
        """
        return self.request(run.job, stage, folder, self._task(run, stage, miss, folder), device)

    def request(
        self, job: Job, stage: str, folder: Path, task: Mapping[str, Any], device: str | None = None
    ) -> StageRequest:
        """Return the request for `task`, on the device of this UUID or on none; makes the child's folders."""
        temporary = str(self.store.temporary(folder))
        environment = {**self._settings(), "TMPDIR": temporary, **job.export.env}
        if stage == "compile":
            environment |= log_variable(str(folder))
        # Over the entry's own value: CUDA reads it when it starts, and a device has one child at a time.
        environment["CUDA_VISIBLE_DEVICES"] = device or ""
        log = self.log(job, stage)
        ensure_real_dir(log.parent)
        draft_report = log.with_name(_DRAFT_REPORT)
        for stale in (log, *((draft_report,) if stage == "export" else ())):
            stale.unlink(missing_ok=True)
        return StageRequest(
            id=f"{job.name}:{stage}",
            folder=str(folder),
            log=str(log),
            environment=environment,
            # CUDA maps far more than it uses, and how much of that counts as data depends on the driver.
            memory_limit=self.memory if device is None else None,
            # torch has read these before a child is forked, so such a child must import torch itself.
            spawn=any(name.startswith(REACHING) or name in COMPILER for name in job.export.env),
            task={
                "stage": stage,
                "root": str(self.manifest.root),
                "temporary": temporary,
                "worker_threads": _threads(job, self.worker_threads),
                "draft_report": str(draft_report),
                **task,
            },
        )

    def record(self, kind: str, result: Result) -> Record:
        """Return the record of a result. Raises BlobMissing where it is gone."""
        record = self.results.record(kind, result.key)
        if record is None:
            raise BlobMissing(result.key)
        return record

    def log(self, job: Job, stage: str) -> Path:
        """Return the file that takes all output of a stage of a job."""
        return self.store.layout.logs / job.folder / f"{stage}.log"

    def reproduce(self, job: Job, stage: str) -> str:
        """Return a command with which the user can run that stage alone, in one process."""
        words = ["batchexport", "run", str(self.manifest.path), "--cache-dir", str(self.store.layout.root)]
        words += ["--only", job.name, "--stage", stage, "--in-process"]
        return shlex.join(words)

    def export_task(self, job: Job, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the task of an export; see `pipeline.export.export_stage`. Raises UnsafeArchive."""
        root = self.manifest.root
        if job.export.model.endswith((".pt2", ".pt")):
            vet(root / job.export.model)
        layout = self.store.layout
        ours = (
            layout.objects,
            layout.entries,
            layout.index,
            layout.staging,
            self.compilers,
            layout.locks,
            layout.logs,
        )
        data = [str(root / path) for path in job.export.data_files(root)]
        return {
            "spec": job.export.to_json(),
            "entry": job.entry,
            "samples": job.verify.samples,
            "base": base,
            "data": data,
            "ignored": sorted({read(str(folder)) for folder in ours for read in (os.path.abspath, os.path.realpath)}),
            "output_dir": str(self.manifest.output_dir),
            "cache": str(layout.root),
            "own_environment": sorted({*self._server_settings(), *job.export.env}),
        }

    def compile_task(self, job: Job, export: Result, exported: Path) -> dict[str, Any]:
        """Return the task of a compile; see `pipeline.compile.compile_stage`.

        Its `tools` are the program that starts the compiler and the folder of the toolchain; None for a compiler that
        the job names, or where there can be no launcher.
        """
        launcher = None if _own_compiler(job) else installed_launcher(str(self.compilers), compiler_path())
        return {
            "spec": job.compile.to_json(),
            "exported": str(exported),
            "skeleton": export.export_facts.concrete_program,
            "modules": list(export.export_facts.modules),
            "threads": _threads(job, self.code_threads),
            "tools": None if launcher is None else {"launcher": launcher, "folder": str(self.compilers)},
        }

    def pack_task(self, job: Job, export: Result, exported: Path, code: Mapping[str, Any]) -> dict[str, Any]:
        """Return the task of packing new weights; see `pipeline.pack.pack_stage`."""
        return {**self.compile_task(job, export, exported), "stage": "pack", "code": code}

    def verify_task(
        self, job: Job, export: Result, *, exported: Path, reference: Path, compiled: Path | None
    ) -> dict[str, Any]:
        """Return the task of a verify; see `pipeline.verify.verify_stage`."""
        return {
            "spec": job.verify.to_json(),
            "target": job.target,
            "exported": str(exported),
            "reference": str(reference),
            "compiled": str(compiled) if compiled else None,
            "skeleton": export.export_facts.concrete_program,
            "modules": list(export.export_facts.modules),
        }

    def _server_settings(self) -> dict[str, str]:
        return {
            **self._settings(),
            "PYTHONHASHSEED": "0",
            # OpenBLAS starts its threads when NumPy is imported, and a server with threads can't fork safely.
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(import_path()),
            # Inductor puts its precompiled headers below the temporary folder that is set when it is imported.
            "TMPDIR": str(self.compilers / "tmp"),
            # Without it `torch.cuda.is_available()` starts CUDA in the server, and no child could use a device.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        }

    def _settings(self) -> dict[str, str]:
        threads = str(self.worker_threads)
        return {
            "TORCHINDUCTOR_CACHE_DIR": str(self.compilers / "cache"),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def _task(self, run: JobRun, stage: str, miss: Miss, folder: Path) -> dict[str, Any]:
        if stage == "export":
            base = self._base(miss, folder) if isinstance(miss, SwapWeights) else None
            return self.export_task(run.job, base)
        assert run.export is not None
        export = self.record("export", run.export)
        exported = self._linked(export, "exported", folder / FILES["exported"])
        if isinstance(miss, PackWeights):
            return self.pack_task(run.job, run.export, exported, self._code(miss.code, folder))
        if stage == "compile":
            return self.compile_task(run.job, run.export, exported)
        compiled = None
        if run.compiled is not None:
            record = self.record("compile", run.compiled)
            compiled = self._linked(record, "compiled", folder / FILES[run.job.compile.format])
        return self.verify_task(
            run.job,
            run.export,
            exported=exported,
            reference=self._linked(export, "reference", folder / "reference.pt"),
            compiled=compiled,
        )

    def _base(self, miss: SwapWeights, folder: Path) -> dict[str, Any]:
        """Describe, for `pipeline.weight_swap`, the export whose graph may be reused and the code to pack with."""
        record = self.record("export", miss.base)
        names = ("program", "skeleton", "modules", "likeness", "warnings", "auto")
        facts = {name: miss.base.facts[name] for name in names}
        stored = {name: record.data[name] for name in ("state", "stats")}
        exported = str(self._linked(record, "exported", folder / "base.pt2"))
        code = None if miss.code is None else self._code(miss.code, folder)
        return {**facts, **stored, "exported": exported, "code": code}

    def _code(self, code: Result, folder: Path) -> dict[str, Any]:
        """Describe compiled code without its weights, for `pipeline.pack`; links its files into `folder`."""
        record, files = self.record("code", code), folder / "code"
        files.mkdir()
        for name in record.files:
            self._linked(record, name, files / name)
        return {**code.facts, "folder": str(files), "frozen_file": str(files / "frozen.bin")}

    def _linked(self, record: Record, name: str, path: Path) -> Path:
        try:
            path.symlink_to(self.store.path(record, name))
        except (BlobMissing, BlobDamaged):
            self.results.forget(record.kind, record.key)
            raise
        return path


def _own_compiler(job: Job) -> bool:
    """Return True if the job's environment may name another compiler than that of this process."""
    return "PATH" in job.export.env or any(name in COMPILER for name in job.export.env)


def _threads(job: Job, otherwise: int) -> int:
    """Return the first number of the job's OMP_NUM_THREADS, a list with one per level of nesting, or `otherwise`."""
    first = job.export.env.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else otherwise
