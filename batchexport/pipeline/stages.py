"""The entry point of the pipeline: run a task in a folder and always leave a `result.json` there."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors  # noqa: F401 - so that its reader can be replaced
import torch
import torch._inductor.package
import torch.export
import torch.export.pt2_archive._package

from batchexport.dependencies.observations import InputChanged
from batchexport.dependencies.observer import Observer
from batchexport.dependencies.preloaded import take_stock
from batchexport.pipeline.build import ARCHIVES
from batchexport.pipeline.checkpoint import weight_files
from batchexport.pipeline.compile import compile_stage
from batchexport.pipeline.draft import findings
from batchexport.pipeline.export import export_stage
from batchexport.pipeline.failure import Kind, StageFailure, classified
from batchexport.pipeline.model_structure import first_party_modules
from batchexport.pipeline.pack import pack_stage
from batchexport.pipeline.place import place_of
from batchexport.pipeline.suggest import suggest_stage
from batchexport.pipeline.verify import verify_stage
from batchexport.pipeline.warm_up import warm_up_compiles, warm_up_exports

RESULT = "result.json"
_DRAFT_SECONDS = 60.0
_STAGES: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    "export": export_stage,
    "compile": compile_stage,
    "pack": pack_stage,
    "suggest": suggest_stage,
    "verify": verify_stage,
}


def warm(tools: Mapping[str, str] | None = None) -> list[str]:
    """Prepare the fork server, once for all its children; this must not run a tensor operation.

    With the `tools` of a compile it prepares compiles for CPUs. Returns the files of the first-party modules that are
    loaded by then, mostly none: an edit of one reaches no child. Raises WarmUpFailed where no child that compiles may
    be forked any more.
    """
    try:
        if tools is None:
            warm_up_exports()
        else:
            warm_up_compiles(tools)
    finally:
        take_stock()
    return [str(module.__file__) for module in first_party_modules()]


def run(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Run the stage that `task` describes and write its result into `folder`; also returns it.

    The result is `{"ok": true, "output": …, "dependencies": […], "uncacheable": […], "key_seconds": …,
    "seconds": …}` or `{"ok": false, "error": {kind, message, remedy, traceback}, …}`.
    """
    started = time.perf_counter()
    result = _result(task, folder)
    result["seconds"] = round(time.perf_counter() - started, 4)
    result["preloaded"] = task.get("preloaded", False)
    _leave(result, folder)
    return result


def _leave(result: Mapping[str, Any], folder: str) -> None:
    partial = Path(folder, RESULT + ".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(Path(folder, RESULT))


def _add_findings(failure: StageFailure, report: str, folder: str) -> None:
    """Add what a draft export finds to a failure, which stands in the folder already, whatever happens meanwhile."""
    if failure.draft is None:
        return
    _leave({"ok": False, "error": failure.to_json()}, folder)
    try:
        failure.findings = findings(failure.draft, Path(report), _DRAFT_SECONDS)
    except Exception:  # the failure is told in any case
        sys.stderr.write(traceback.format_exc())


def _result(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    observer: Observer | None = None
    sys.argv = ["batchexport"]  # code that parses it must not read the worker's arguments
    try:
        torch.set_num_threads(task["worker_threads"])
        if task["stage"] == "export":
            _import_from(task["root"])
            observer = Observer(
                root=task["root"],
                ignored=(*task["ignored"], task["temporary"]),
                own_environment=frozenset(task["own_environment"]),
                output_dir=task["output_dir"],
                cache=task["cache"],
            )
            observer.install()
            if task["spec"]["weights"]:
                for path in weight_files(os.path.join(task["root"], task["spec"]["weights"])):
                    observer.declare(path, weights=True)
            for path in (*task["data"], *_archives(task["spec"])):
                observer.declare(os.path.join(task["root"], path))
        elif task["modules"]:
            _import_from(task["root"])
        output = _STAGES[task["stage"]](task, folder)
        ended = time.perf_counter()
        dependencies = [dependency.to_row() for dependency in observer.dependencies()] if observer else []
        # The time it takes to compute what this result is made of.
        keys = time.perf_counter() - ended + output.get("stats", {}).get("seconds", {}).get("identity", 0.0)
        uncacheable = observer.uncacheable if observer else []
    except InputChanged as error:
        return {"ok": False, "changed": str(error)}
    except StageFailure as failure:
        sys.stderr.write(traceback.format_exc())
        failure.where = place_of(failure, task["root"])
        _add_findings(failure, task["draft_report"], folder)
        return {"ok": False, "error": failure.to_json()}
    except (Exception, SystemExit) as error:
        sys.stderr.write(traceback.format_exc())
        exits = isinstance(error, SystemExit)
        kind, doing = (Kind.EXPORT, "running model code") if exits else (Kind.INTERNAL, "batchexport itself failed")
        unforeseen = classified(error, kind, doing)
        unforeseen.where = place_of(error, task["root"])
        return {"ok": False, "error": unforeseen.to_json()}
    return {
        "ok": True,
        "output": output,
        "dependencies": dependencies,
        "uncacheable": uncacheable,
        "key_seconds": round(keys, 4),
    }


def _archives(spec: Mapping[str, Any]) -> list[str]:
    """Return the files that torch's native reader opens, which no hook observes."""
    return [spec["model"]] if spec["model"].endswith(ARCHIVES) else []


def _import_from(root: str) -> None:
    """Put the manifest's folder first on the import path."""
    sys.path[:] = [root, *(entry for entry in sys.path if entry != root)]
